"""Labels from the labels topic, and which of them stands for a flagged transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from dashboard.cache.flag import format_flag_id
from dashboard.cases.case import LABELS
from dashboard.cases.events import MAX_TEXT
from dashboard.cases.log import LogRecord, Place
from schemas.framing import Headers
from schemas.records import UndecodableRecord
from schemas.resolver import SchemaResolver
from stream_scorer.labels import topic as labels_topic
from stream_scorer.labels.topic import decode_label

ID_HEADER: Final = labels_topic.ID_HEADER
KIND_HEADER: Final = labels_topic.KIND_HEADER
REASONS_HEADER: Final = "decision-reasons"

DECIDE: Final = "decide"
WITHDRAW: Final = labels_topic.WITHDRAW.decode()

_MAX_ID_CHARS: Final = 512  # a key of 128 characters, and a flag id with the longest topic name
_MAX_REASONS: Final = 20


@dataclass(frozen=True, slots=True)
class Label:
    """One record of the labels topic.

    Attributes:
        target: the flag id that it is about, or ``#`` and the transaction id if it names no source.
        is_external: a chargeback or reversal, not a decision of an analyst.
    """

    place: Place
    time: int
    target: str
    transaction_id: int
    decision_id: str | None
    origin: str
    label: str
    kind: str
    by: str
    decided_at: int
    note: str | None
    reasons: tuple[str, ...]
    supersedes: str | None

    @property
    def is_external(self) -> bool:
        """Whether it is a chargeback or reversal."""
        return self.origin != "ANALYST"

    @property
    def is_withdrawal(self) -> bool:
        """Whether it takes back the decision before it."""
        return self.kind == WITHDRAW


def target_of(transaction_id: int) -> str:
    """The target of labels that name a transaction and no source."""
    return f"#{transaction_id}"


def read_label(record: LogRecord, resolver: SchemaResolver, input_topic: str) -> Label:
    """The label in a record, with texts cut to a bounded size.

    Raises:
        UndecodableRecord: it is not a label.
    """
    if record.fault:
        raise UndecodableRecord(record.fault)
    found = decode_label(record.value, record.headers, resolver)
    headers = _texts(record.headers)
    transaction_id = int(found["transaction_id"])
    try:
        source = found.get("source")
        target = _flag_id(source, input_topic) if source else target_of(transaction_id)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise UndecodableRecord(f"its source has no coordinates: {error}") from error
    decided_at = int(found["decided_at"])
    return Label(
        record.place,
        record.time if record.time > 0 else decided_at,  # a record may have no time
        _cut(target, _MAX_ID_CHARS) or "",
        transaction_id,
        headers.get(ID_HEADER, "")[:_MAX_ID_CHARS] or None,
        found["origin"],
        found["label"],
        WITHDRAW if headers.get(KIND_HEADER) == WITHDRAW else DECIDE,
        _cut(found.get("decided_by"), _MAX_ID_CHARS) or "unknown",
        decided_at,
        _cut(found.get("note")),
        _reasons(headers.get(REASONS_HEADER)),
        _cut(found.get("supersedes"), 64),
    )


def latest(labels: Iterable[Label]) -> Label | None:
    """The label that stands, of those that stand in each partition.

    There are several only if partitions were added, or a label names no source. A label that
    another one names as superseded does not stand; of the others, the later decision does.
    """
    found = list(labels)
    superseded = {one.supersedes for one in found}
    standing = [one for one in found if str(one.place) not in superseded] or found
    return max(standing, key=lambda one: (one.decided_at, one.place), default=None)


def external_label(label: Label | None) -> str | None:
    """What a chargeback or reversal says."""
    return label.label if label is not None and label.label in LABELS[:2] else None


def _flag_id(source: Mapping[str, Any], input_topic: str) -> str:
    where = str(source["topic"]), int(source["partition"]), int(source["offset"])
    return format_flag_id(*where, input_topic)


def _texts(headers: Headers) -> dict[str, str]:
    """Our own headers as text; the last one of a name counts."""
    own = (ID_HEADER, KIND_HEADER, REASONS_HEADER)
    return {
        name: value.decode("utf-8", "replace")
        for name, value in headers or ()
        if name in own and isinstance(value, bytes)
    }


def _reasons(text: str | None) -> tuple[str, ...]:
    if not text:
        return ()
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return ()
    if not isinstance(found, list):
        return ()
    return tuple(_cut(reason) or "" for reason in found[:_MAX_REASONS])


def _cut(value: Any, most: int = MAX_TEXT) -> str | None:
    """A text of bounded size. JSON may hold half of a surrogate pair, which SQLite refuses."""
    if not value:
        return None
    return str(value)[:most].encode("utf-8", "replace").decode("utf-8")
