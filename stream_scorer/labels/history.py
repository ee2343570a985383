"""All labels of one transaction."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stream_scorer.labels.standing import StandingLabels
from stream_scorer.labels.topic import DecodedLabels, OnProgress, read_topic
from stream_scorer.settings import GroupSettings

MOST_SHOWN: Final = 1_000
"""The last labels of a transaction that are kept; all are counted."""

_FIELDS: Final = (
    "label", "origin", "decided_by", "decided_at", "note", "score", "review_threshold",
    "block_threshold", "model_version", "source", "supersedes",
)  # fmt: skip


@dataclass(slots=True)
class History:
    """The labels of one transaction, in the order in which they were read.

    Attributes:
        transaction_id: the transaction.
        labels: the last of them, each with its partition and offset.
        total: how many there are.
        stands: partition and offset of the one that stands.
        bad: records of the topic that are no labels.
        named: the first of those.
    """

    transaction_id: int
    labels: deque[tuple[int, int, dict[str, Any]]] = field(
        default_factory=lambda: deque(maxlen=MOST_SHOWN)
    )
    total: int = 0
    stands: tuple[int, int] | None = None
    bad: int = 0
    named: tuple[str, ...] = ()

    def observe(self, partition: int, offset: int, label: Mapping[str, Any]) -> None:
        """Keep a label if it is of the transaction."""
        if label["transaction_id"] == self.transaction_id:
            self.total += 1
            self.labels.append((partition, offset, {name: label.get(name) for name in _FIELDS}))

    def settle(self, standing: StandingLabels) -> None:
        """Note which label stands, once all records were read."""
        self.bad, self.named = standing.bad, standing.named
        for row in standing.last[standing.last["id"] == self.transaction_id]:
            self.stands = int(row["partition"]), int(row["offset"])

    def as_json(self) -> dict[str, Any]:
        """The history as JSON. Fields of JSON labels may be of any type; such ones are None."""
        return {
            "transaction_id": self.transaction_id,
            "total": self.total,
            "labels": [
                {
                    "record": f"{partition}-{offset}",
                    "stands": (partition, offset) == self.stands,
                    **{name: _plain(name, value) for name, value in label.items()},
                }
                for partition, offset, label in self.labels
            ],
        }


def read_history(
    settings: GroupSettings,
    transaction_id: int,
    on_progress: OnProgress = lambda _done, _total: None,
) -> History:
    """All labels of a transaction, up to the topic's end as of now.

    Raises:
        UsageError, RetryableError, FatalError: as :func:`stream_scorer.labels.topic.read_topic`.
    """
    history = History(transaction_id)
    found = DecodedLabels(settings.labels_topic, history.observe)
    read_topic(settings, settings.labels_topic, found, on_progress)
    history.settle(found.standing())
    return history


def _plain(name: str, value: Any) -> Any:
    """A field if it has the type of the contract."""
    if name in ("score", "review_threshold", "block_threshold"):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if is_number and abs(value) <= 1e300 else None
    if name == "source":
        return _source(value)
    if name == "decided_at":
        return value
    return value if isinstance(value, str) else None


def _source(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, Mapping):
        return None
    topic, partition, offset = (value.get(name) for name in ("topic", "partition", "offset"))
    is_place = isinstance(topic, str) and type(partition) is int and type(offset) is int
    return {"topic": topic, "partition": partition, "offset": offset} if is_place else None
