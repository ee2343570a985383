"""Labels from the labels topic, as far as it was written when the reading began."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np

from schemas.framing import Format, FramingError, Headers, read_frame
from schemas.records import UndecodableRecord, decode_record
from schemas.resolver import SchemaResolver
from stream_scorer.kafka.messages import Records, by_partition
from stream_scorer.kafka.reader import committed_spans, read_spans
from stream_scorer.kafka.spans import Spans
from stream_scorer.kafka.topics import require_topics
from stream_scorer.kafka.unreadable import PassedBatch
from stream_scorer.labels.labels import ORIGINS, VALUES, Labels, build_labels
from stream_scorer.labels.seen import SeenDecisions
from stream_scorer.labels.standing import StandingLabels, StandingTable
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.runtime.text import printable
from stream_scorer.settings import GroupSettings

log = logging.getLogger(__name__)

CONTRACT: Final = "fraud_label"
READER_GROUP: Final = "-labels"  # added to the scorers' group id; it never joins or commits
STALL_SECONDS: Final = 30.0
"""Reading gives up when no record arrives for this long: an open Kafka transaction ends sooner."""

ID_HEADER: Final = "decision-id"
"""Names a decision of the desk. Two dashboards may both write one that was sent to both: the first
record in a partition counts."""

KIND_HEADER: Final = "decision-kind"
WITHDRAW: Final = b"withdraw"

PREFIX: Final = "kafka://"
"""Before the name of a topic, where a source of labels is named."""

OnProgress = Callable[[int, int], None]

_NAMED: Final = 5  # bad records in the log, and their reasons
_SHOWN_CHARS: Final = 200
_INT64: Final = np.iinfo(np.int64)


def read_labels(settings: GroupSettings, topic: str) -> Labels:
    """The last label of each transaction, up to the topic's end as of now, committed ones alone.

    Raises:
        UsageError, RetryableError, FatalError: as :func:`read_topic`.
    """
    found = DecodedLabels(topic)
    spans = read_topic(settings, topic, found)
    ends = {str(p): [span.low, span.high] for p, span in spans.items()}
    return found.build({"source": f"{PREFIX}{topic}", "offsets": ends})


def read_standing(
    settings: GroupSettings, topic: str, on_progress: OnProgress = lambda _done, _total: None
) -> StandingLabels:
    """The labels that stand, of transactions and of origins, up to the topic's end as of now.

    ``on_progress`` is called with the offsets read so far and those to read.

    Raises:
        UsageError, RetryableError, FatalError: as :func:`read_topic`.
    """
    found = DecodedLabels(topic)
    read_topic(settings, topic, found, on_progress)
    return found.standing()


class Collector(Protocol):
    """Takes the records of a labels topic."""

    def add(self, partition: int, records: Records, resolver: SchemaResolver) -> None:
        """Take records of one partition, in offset order."""
        ...

    def add_unreadable(self, partition: int, passed: PassedBatch) -> None:
        """Take a batch of records that the client cannot unpack."""
        ...


def read_topic(
    settings: GroupSettings,
    topic: str,
    into: Collector,
    on_progress: OnProgress = lambda _done, _total: None,
) -> Spans:
    """Pass all records of a topic up to its end as of now to ``into``; returns what was read.

    Raises:
        UsageError: no broker answers, or there is no such topic.
        RetryableError: the topic could not be read to its end, or the Schema Registry fails.
        FatalError: login failed, or this user is not authorized.
    """
    group = settings.kafka_group_id + READER_GROUP
    partitions = require_topics(settings, [topic])[topic]
    spans = committed_spans(settings, group, topic, partitions)
    done = {partition: span.low for partition, span in spans.items()}
    total = sum(span.high - span.low for span in spans.values())
    with using_resolver(settings, CONTRACT) as resolver:
        for messages in read_spans(
            settings, group, topic, spans, STALL_SECONDS, on_unreadable=into.add_unreadable
        ):
            for partition, records in by_partition(messages):
                into.add(partition, records, resolver)
                done[partition] = int(records.offsets[-1]) + 1
            on_progress(sum(done[p] - span.low for p, span in spans.items()), total)
    return spans


@dataclass(slots=True)
class DecodedLabels:
    """Collects the labels that stand; bad records are counted and named, never fatal.

    Attributes:
        topic: for messages.
        observe: called with partition, offset and each label that could be decoded.
        bad: records that are no labels.
        named: the first of them, with the reason.
        records: all records.
    """

    topic: str
    observe: Callable[[int, int, dict[str, Any]], None] = lambda _partition, _offset, _label: None
    bad: int = 0
    named: list[str] = field(default_factory=list)
    records: int = 0
    _table: StandingTable = field(default_factory=StandingTable)
    _seen: SeenDecisions = field(default_factory=SeenDecisions)

    def add(self, partition: int, records: Records, resolver: SchemaResolver) -> None:
        """Decode records of one partition, in offset order."""
        faults = records.faults()
        rows: Iterable[tuple[int, bytes | None, Headers]] = zip(
            records.offsets.tolist(), records.values, records.headers, strict=True
        )
        for row, (offset, value, headers) in enumerate(rows):
            self.records += 1
            try:
                if row in faults:
                    raise UndecodableRecord(faults[row])
                label = decode_label(value, headers, resolver)
            except UndecodableRecord as error:
                self._refuse(f"{partition}-{offset}", str(error))
                continue
            if self._seen.is_repeated(partition, decision_id(headers)):
                continue
            self._table.add(partition, offset, label, is_withdrawal=is_withdrawal(headers))
            self.observe(partition, offset, label)

    def add_unreadable(self, partition: int, passed: PassedBatch) -> None:
        """Count a batch of records that the client cannot unpack."""
        self._refuse(f"{partition}-{passed.begin}", "a batch that cannot be unpacked")

    def standing(self) -> StandingLabels:
        """The labels that stand, once all records were added."""
        if self.bad:
            log.warning(
                "%s: %d of %d records are no labels and were skipped",
                self.topic, self.bad, self.records,
            )  # fmt: skip
        return self._table.build(self.records, self.bad, tuple(self.named))

    def build(self, facts: dict[str, Any]) -> Labels:
        """The last label of each transaction, once all records were added."""
        last = self.standing().last
        labels = build_labels(last["id"], last["value"], last["origin"], last["decided_at"], facts)
        labels.facts.update(records=self.records, bad_records=self.bad)
        return labels

    def _refuse(self, place: str, reason: str) -> None:
        self.bad += 1
        if self.bad <= _NAMED:
            shown = printable(reason)[:_SHOWN_CHARS]
            self.named.append(f"{place}: {shown}")
            log.warning("%s %s is not a label: %s", self.topic, place, shown)


def decode_label(
    value: bytes | None, headers: Headers = None, resolver: SchemaResolver | None = None
) -> dict[str, Any]:
    """A label in any wire format: Avro by header, Confluent framing or single object, or JSON.

    Raises:
        UndecodableRecord: it is not a label.
    """
    if not value:
        raise UndecodableRecord("the value is empty")
    try:
        is_json = read_frame(value, headers).format is Format.JSON
    except FramingError as error:
        raise UndecodableRecord(str(error)) from error
    return _from_json(value) if is_json else decode_record(CONTRACT, value, resolver, headers)


def decision_id(headers: Headers) -> bytes | None:
    """The id of the decision of the desk in a record. None if it has none."""
    return _last_header(headers, ID_HEADER) or None


def is_withdrawal(headers: Headers) -> bool:
    """Whether a label takes back the decision before it."""
    return _last_header(headers, KIND_HEADER) == WITHDRAW


def _last_header(headers: Headers, wanted: str) -> bytes | None:
    """The header of a name that counts: the last one."""
    found = [value for name, value in headers or () if name == wanted][-1:]
    return found[0] if found and isinstance(found[0], bytes) else None


def _from_json(value: bytes) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except RecursionError:
        raise UndecodableRecord("JSON with too many levels") from None
    except ValueError as error:
        raise UndecodableRecord(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UndecodableRecord("not a JSON object")
    for name in ("transaction_id", "decided_at"):
        number = found.get(name)
        if type(number) is not int or not _INT64.min <= number <= _INT64.max:
            raise UndecodableRecord(f"{name} is not a whole number of 64 bits")
    for name, words in (("label", tuple(VALUES)), ("origin", ORIGINS[:-1])):
        if found.get(name) not in words:
            raise UndecodableRecord(f"{name} is not one of {', '.join(words)}")
    return found
