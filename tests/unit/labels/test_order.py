"""Which label stands does not depend on when it reached its topic."""

from __future__ import annotations

import pytest

from stream_scorer.labels.order import stands_over


@pytest.mark.parametrize(
    ("decided_at", "supersedes", "stands"),
    [
        (20, None, True),
        (10, None, True),  # of two at once, the later record
        (9, None, False),
        (9, "0:7", True),  # its author saw the other one, and has a clock that is behind
        (9, "0:70", False),
        (20, "0:3", True),
    ],
)
def test_what_was_seen_counts_first_and_then_the_time(
    decided_at: int, supersedes: str | None, stands: bool
) -> None:
    assert stands_over(decided_at, supersedes, 10, "0:7") == stands
