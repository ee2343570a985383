"""Writes the labels of a file to the labels topic, without those that it has already."""

from __future__ import annotations

import hashlib
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from schemas.contracts import load_schema
from schemas.records import encode_record
from stream_scorer.kafka.clients import open_producer
from stream_scorer.kafka.driver import KafkaError, KafkaException
from stream_scorer.labels.label_lines import CLOCK_SKEW_MS, LabelLine
from stream_scorer.labels.standing import Rows, StandingLabels
from stream_scorer.labels.topic import CONTRACT, DecodedLabels, OnProgress, read_topic
from stream_scorer.runtime.registry import register_schema
from stream_scorer.settings import GroupSettings

FLUSH_SECONDS: Final = 30.0  # for records in flight at the end
_QUEUE_FULL_SECONDS: Final = 0.1
_REPORT_EVERY: Final = 1_000  # labels
_DECIDED_BY: Final = "labels import"


@dataclass(slots=True)
class Known:
    """What the labels topic says before an import, of one origin.

    Attributes:
        origin: the origin of the labels to import.
        standing: the labels that stand, of all origins.
        contents: digests of all labels of the origin that were ever written.
    """

    origin: str
    standing: StandingLabels
    contents: Sequence[int]

    def choose(self, lines: Iterable[LabelLine], now_ms: int) -> Chosen:
        """Which lines to write: what was not written before, and is not older than what stands.

        A label of the topic from the future is one of a wrong clock. It keeps no other one out.
        """
        listed = list(lines)
        digests = np.array([digest(*line) for line in listed], np.uint64)
        known = np.isin(digests, np.array(self.contents, np.uint64))
        before = self.standing.of_origin(self.origin)
        chosen, older, latest = list[LabelLine](), 0, now_ms + CLOCK_SKEW_MS
        for line, is_known in zip(listed, known.tolist(), strict=True):
            if is_known:
                continue
            last = _find(before, line.transaction_id)
            if last is not None and line.decided_at < last["decided_at"] <= latest:
                older += 1
            else:
                chosen.append(line)
        return Chosen(chosen, int(known.sum()), older)

    def replaced_by(self, line: LabelLine) -> str | None:
        """The place of the label of the same origin that a line replaces.

        Other origins keep theirs: what each of them said last is a figure of its own.
        """
        last = _find(self.standing.of_origin(self.origin), line.transaction_id)
        return None if last is None else f"{last['partition']}:{last['offset']}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The lines to write, and the number of those that were written before or are older."""

    lines: Sequence[LabelLine]
    already: int
    older: int


@dataclass(slots=True)
class Written:
    """Labels sent to the topic; each is delivered or failed in the end."""

    sent: int = 0
    delivered: int = 0
    failed: int = 0
    first_error: str | None = None
    is_stopped: bool = field(default=False)

    def on_delivery(self, error: KafkaError | None, _message: object) -> None:
        """The producer's delivery callback."""
        if error is None:
            self.delivered += 1
            return
        self.failed += 1
        self.first_error = self.first_error or error.str()


def digest(transaction_id: int, label: str, decided_at: int, note: str | None) -> int:
    """The content of a label of one origin as 64 bits, by which it is recognised."""
    content = f"{transaction_id}\0{label}\0{decided_at}\0{note or ''}"
    found = hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(found, "little")


def read_known(
    settings: GroupSettings, origin: str, on_progress: OnProgress = lambda _done, _total: None
) -> Known:
    """Read the labels topic before an import.

    Raises:
        UsageError, RetryableError, FatalError: as :func:`stream_scorer.labels.topic.read_topic`.
    """
    contents = array("Q")

    def observe(_partition: int, _offset: int, label: Mapping[str, Any]) -> None:
        if label["origin"] == origin:
            note = label.get("note")
            text = note if isinstance(note, str) else None
            contents.append(
                digest(label["transaction_id"], label["label"], label["decided_at"], text)
            )

    found = DecodedLabels(settings.labels_topic, observe)
    read_topic(settings, settings.labels_topic, found, on_progress)
    return Known(origin, found.standing(), contents)


def write_labels(
    settings: GroupSettings,
    known: Known,
    lines: Sequence[LabelLine],
    on_progress: OnProgress = lambda _done, _total: None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Written:
    """Write labels and wait for their delivery. It may be stopped: a repetition writes the rest.

    Raises:
        RetryableError, FatalError: the Schema Registry fails or refuses.
    """
    topic = settings.labels_topic
    schema_id = register_schema(settings, topic, load_schema(CONTRACT))
    producer = open_producer(settings)
    written = Written()
    for number, line in enumerate(lines):
        if is_stopping():
            written.is_stopped = True
            break
        value = encode_record(CONTRACT, _record(line, known), schema_id)
        while True:
            try:
                producer.produce(
                    topic, value, str(line.transaction_id).encode(), on_delivery=written.on_delivery
                )
            except BufferError:
                producer.poll(_QUEUE_FULL_SECONDS)
                continue
            except KafkaException as error:
                written.on_delivery(error.args[0], None)
            break
        written.sent += 1
        if number % _REPORT_EVERY == 0:
            producer.poll(0)
            on_progress(written.delivered, len(lines))
    deadline = time.monotonic() + FLUSH_SECONDS
    while producer.flush(0.2) and time.monotonic() < deadline:
        on_progress(written.delivered, len(lines))
    if lost := written.sent - written.delivered - written.failed:
        written.failed += lost
        written.first_error = written.first_error or (
            f"no acknowledgement within {FLUSH_SECONDS:.0f} s"
        )
    on_progress(written.delivered, len(lines))
    return written


def _record(line: LabelLine, known: Known) -> dict[str, Any]:
    return {
        "transaction_id": line.transaction_id,
        "label": line.label,
        "origin": known.origin,
        "decided_by": _DECIDED_BY,
        "decided_at": line.decided_at,
        "note": line.note,
        "supersedes": known.replaced_by(line),
    }


def _find(rows: Rows, transaction_id: int) -> Any:
    """The row of a transaction; None if there is none."""
    at = int(np.searchsorted(rows["id"], transaction_id))
    return rows[at] if at < len(rows) and rows["id"][at] == transaction_id else None
