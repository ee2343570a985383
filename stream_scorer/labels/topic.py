"""Labels from the labels topic, as far as it was written when the reading began."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from schemas.framing import Format, FramingError, Headers, read_frame
from schemas.records import UndecodableRecord, decode_record
from schemas.resolver import SchemaResolver
from stream_scorer.kafka.messages import Records, by_partition
from stream_scorer.kafka.reader import committed_spans, read_spans
from stream_scorer.kafka.topics import require_topics
from stream_scorer.kafka.unreadable import PassedBatch
from stream_scorer.labels.labels import ORIGINS, VALUES, Labels, build_labels
from stream_scorer.labels.order import stands_over
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.runtime.text import printable
from stream_scorer.settings import GroupSettings

log = logging.getLogger(__name__)

CONTRACT: Final = "fraud_label"
READER_GROUP: Final = "-labels"  # added to the scorers' group id; it never joins or commits
STALL_SECONDS: Final = 30.0
"""Reading gives up when no record arrives for this long: an open Kafka transaction ends sooner."""

PREFIX: Final = "kafka://"
"""Before the name of a topic, where a source of labels is named."""

_NAMED: Final = 5  # bad records in the log, and their reasons
_SHOWN_CHARS: Final = 200
_INT64: Final = np.iinfo(np.int64)


def read_labels(settings: GroupSettings, topic: str) -> Labels:
    """All labels of a topic up to its end as of now, committed ones alone.

    Raises:
        UsageError: no broker answers, or there is no such topic.
        RetryableError: the topic could not be read to its end, or the Schema Registry fails.
        FatalError: login failed, or this user is not authorized.
    """
    group = settings.kafka_group_id + READER_GROUP
    partitions = require_topics(settings, [topic])[topic]
    spans = committed_spans(settings, group, topic, partitions)
    found = DecodedLabels(topic)
    with using_resolver(settings, CONTRACT) as resolver:
        for messages in read_spans(
            settings, group, topic, spans, STALL_SECONDS, on_unreadable=found.add_unreadable
        ):
            for partition, records in by_partition(messages):
                found.add(partition, records, resolver)
    ends = {str(p): [span.low, span.high] for p, span in spans.items()}
    return found.build({"source": f"{PREFIX}{topic}", "offsets": ends})


@dataclass(slots=True)
class DecodedLabels:
    """Collects the last label of each transaction; bad records are counted and named, never fatal.

    Attributes:
        topic: for messages.
        bad: records that are no labels.
    """

    topic: str
    bad: int = 0
    records: int = 0
    _last: dict[int, tuple[int, int, int, int, int]] = field(default_factory=dict)

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
            transaction, decided_at = label["transaction_id"], label["decided_at"]
            old = self._last.get(transaction)
            if old is None or stands_over(
                decided_at, label.get("supersedes"), old[1], f"{old[0]}:{old[4]}"
            ):
                value_and_origin = VALUES[label["label"]], ORIGINS.index(label["origin"])
                self._last[transaction] = (partition, decided_at, *value_and_origin, offset)

    def add_unreadable(self, partition: int, passed: PassedBatch) -> None:
        """Count a batch of records that the client cannot unpack."""
        self._refuse(f"{partition}-{passed.begin}", "a batch that cannot be unpacked")

    def build(self, facts: dict[str, Any]) -> Labels:
        """The labels, once all records were added."""
        if self.bad:
            log.warning(
                "%s: %d of %d records are no labels and were skipped",
                self.topic, self.bad, self.records,
            )  # fmt: skip
        last = np.array(list(self._last.values()), np.int64).reshape(-1, 5)
        ids = np.array(list(self._last), np.int64)
        labels = build_labels(
            ids, last[:, 2].astype(np.int8), last[:, 3].astype(np.int8), last[:, 1], facts
        )
        labels.facts.update(records=self.records, bad_records=self.bad)
        return labels

    def _refuse(self, place: str, reason: str) -> None:
        self.bad += 1
        if self.bad <= _NAMED:
            shown = printable(reason)[:_SHOWN_CHARS]
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


def _from_json(value: bytes) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as error:
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
