"""Which of two analysts' labels of a transaction stands. Pure; one rule for desk and training.

The order of the topic alone does not say it, as it does for chargebacks. A decision that waited
while Kafka was down is written behind one that was made later on another dashboard.
"""

from __future__ import annotations


def stands_over(decided_at: int, supersedes: str | None, before_at: int, before_place: str) -> bool:
    """Whether a label replaces one that is before it on the topic.

    It does if whoever made it saw the other one, or decided no earlier. Clocks of two dashboards
    differ, so what was seen counts first.

    Args:
        decided_at: of the label, epoch milliseconds.
        supersedes: the place that the label names, ``partition:offset``.
        before_at: when the other one was decided.
        before_place: where the other one is.
    """
    return supersedes == before_place or decided_at >= before_at
