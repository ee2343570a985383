"""Topics as a real pipeline writes them, in memory, for tests that then forge some of it."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final, cast

import numpy as np

from schemas.framing import Headers
from schemas.records import decode_record, encode_record
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder, encode_transactions_json
from stream_scorer.audit.auditor import Auditor
from stream_scorer.audit.recompute.recomputer import Recomputer
from stream_scorer.audit.recompute.stated import StatedScores
from stream_scorer.audit.records.columns import Inputs, OutcomeKind, Outcomes
from stream_scorer.audit.records.input_reader import InputReader
from stream_scorer.audit.records.outcome_reader import OutcomeReader
from stream_scorer.audit.records.score_reader import ScoreReader
from stream_scorer.audit.run import AuditRun, OnLost
from stream_scorer.audit.state import AuditState
from stream_scorer.audit.verdict import Verdict
from stream_scorer.kafka.driver import Message
from stream_scorer.kafka.messages import Records
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.model.by_version import BundlesByVersion
from stream_scorer.model.store.memory_store import MemoryStore
from stream_scorer.state.history_source import HistorySource, NoHistorySource
from stream_scorer.state.inputs import AcceptedInputs, Choose, InputFaults, InputRows, Refused
from stream_scorer.stream.ports import Polled
from tests.support.factories import make_batch, make_bundle, publish
from tests.support.scoring_kit import DLQ, INPUT, NOW_MS, OUTPUT, make_pipeline, make_value

PARTITIONS = 2
EACH = 24
"""Inputs of one partition; every fourth offset holds none."""

_READ = 7  # records read at a time


@dataclass(frozen=True, slots=True)
class Sent:
    """A record as it is on a topic; it has the driver's methods in :func:`as_message`."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    time: int = NOW_MS

    def with_header(self, name: str, value: bytes | None) -> Sent:
        """The record with one header set, or left out for None."""
        kept = tuple(h for h in self.headers if h[0] != name)
        return replace(self, headers=kept if value is None else (*kept, (name, value)))


class _Message:
    def __init__(self, partition: int, offset: int, sent: Sent) -> None:
        self._place = (partition, offset)
        self._sent = sent

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]

    def key(self) -> bytes | None:
        return self._sent.key

    def value(self) -> bytes | None:
        return self._sent.value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return list(self._sent.headers) or None

    def timestamp(self) -> tuple[int, int]:
        return 1, self._sent.time


def as_records(partition: int, rows: list[tuple[int, Sent]]) -> Records:
    """Records as the driver would give them."""
    return Records([as_message(partition, offset, sent) for offset, sent in rows])


def as_message(partition: int, offset: int, sent: Sent) -> Message:
    """A record as the driver would give it."""
    return cast("Message", _Message(partition, offset, sent))


VERSION: Final = "v3"
REVIEW: Final = 0.3


@cache
def _store() -> MemoryStore:
    """A store whose third version is the one that scored."""
    store = MemoryStore()
    for _ in range(3):
        published = publish(store, review=REVIEW)
    assert published == VERSION
    return store


@dataclass(slots=True)
class Topics:
    """An audit's source: inputs by partition and offset, outcomes by kind and partition."""

    given: dict[int, dict[int, Sent]]
    written: dict[tuple[OutcomeKind, int], list[Sent]]
    sample: int = 1
    versions: Collection[str] | None = None
    recompute: int = 0
    bundles: BundlesByVersion = field(default_factory=lambda: BundlesByVersion(_store()))
    histories: HistorySource = field(default_factory=NoHistorySource)
    removed: dict[int, int] = field(default_factory=dict)
    """Inputs before these offsets are removed before they are read again, by partition."""
    state: AuditState = field(default_factory=AuditState)
    """Of the last audit."""
    _scores: ScoreReader = field(init=False)

    def scores(self, partition: int) -> list[Sent]:
        """The scores in one partition; change them as you like."""
        return self.written[OutcomeKind.SCORE, partition]

    def dead_letters(self, partition: int) -> list[Sent]:
        """The dead letters in one partition; change them as you like."""
        return self.written[OutcomeKind.DEAD_LETTER, partition]

    def spans(self) -> Spans:
        return {p: Span(0, max(rows) + 1) for p, rows in self.given.items()}

    def ends(self) -> dict[OutcomeKind, Spans]:
        return {
            kind: {p: Span(0, len(rows)) for (k, p), rows in self.written.items() if k is kind}
            for kind in OutcomeKind
        }

    def inputs(self, spans: Spans) -> Iterator[Inputs]:
        reader = InputReader(DLQ, TransactionDecoder(LocalSchemas()), self.sample)
        for partition, span in spans.items():
            held = sorted(self.given[partition].items())
            rows = [(o, sent) for o, sent in held if span.low <= o < span.high]
            for start in range(0, len(rows), _READ):
                part = rows[start : start + _READ]
                yield reader.read(partition, as_records(partition, part))

    def outcomes(
        self, kind: OutcomeKind, spans: Spans, on_lost: OnLost
    ) -> Iterator[tuple[Outcomes, list[int]]]:
        del on_lost
        reader = OutcomeReader(kind, INPUT, self._scores, self.sample, self.recompute)
        for partition, span in spans.items():
            rows = list(enumerate(self.written[kind, partition]))[span.low : span.high]
            for start in range(0, len(rows), _READ):
                part = as_records(partition, rows[start : start + _READ])
                outcomes, unreadable = reader.read(partition, part)
                yield outcomes, [place.offset for place in unreadable]

    def accepted(
        self, spans: Spans, refused: Refused, choose: Choose | None, faults: InputFaults
    ) -> Iterator[InputRows]:
        """The inputs again, as they are decoded to be scored."""
        decoder = TransactionDecoder(LocalSchemas())
        reader = AcceptedInputs(INPUT, decoder, refused, None, choose, faults)
        for partition, span in spans.items():
            low = self.removed.get(partition, 0)
            if low > span.low:
                faults.removed(INPUT, partition, span.low, low)
            held = sorted(self.given[partition].items())
            rows = [(o, sent) for o, sent in held if max(low, span.low) <= o < span.high]
            for start in range(0, len(rows), _READ):
                part = as_records(partition, rows[start : start + _READ])
                if (found := reader.read(partition, part)) is not None:
                    yield found

    def inputs_now(self) -> Spans:
        return self.spans()

    def judge(self, stripe: int = 1000) -> Verdict:
        """Audit the topics."""
        self._scores = ScoreReader(LocalSchemas("fraud_score"), INPUT, self.versions)
        self.state = AuditState()
        auditor, spans, ends = Auditor(self.state), self.spans(), self.ends()
        recomputer = None
        if self.recompute:
            self.state.stated = StatedScores(self.recompute)
            recomputer = Recomputer(self.state.stated, self.bundles, self.histories, self.accepted)
        lows = {(kind, p): 0 for kind, partitions in ends.items() for p in partitions}
        auditor.begin_run(spans, {p: span.high for p, span in spans.items()}, lows)
        run = AuditRun(auditor, self, ends, stripe_offsets=stripe, recomputer=recomputer)
        return run.run()


def edit_score(sent: Sent, **changes: Any) -> Sent:
    """The score with other fields."""
    fields = decode_record("fraud_score", sent.value) | changes
    return replace(sent, value=encode_record("fraud_score", fields))


def make_topics() -> Topics:
    """Two partitions that a pipeline scored; the last inputs of each cannot be scored."""
    given, written = _originals()
    return Topics(
        {p: dict(rows) for p, rows in given.items()},
        {key: list(rows) for key, rows in written.items()},
    )


@cache
def _originals() -> tuple[dict[int, dict[int, Sent]], dict[tuple[OutcomeKind, int], list[Sent]]]:
    offsets = [o for o in range(EACH * 2) if o % 4 != 3][:EACH]
    given = {p: dict(zip(offsets, _inputs(p), strict=True)) for p in range(PARTITIONS)}
    rows = [(p, o, sent) for p, held in given.items() for o, sent in held.items()]
    headers: list[Headers] = [list(sent.headers) or None for _, _, sent in rows]
    polled = Polled(
        INPUT,
        [sent.value for _, _, sent in rows],
        [sent.key for _, _, sent in rows],
        headers,
        np.array([p for p, _, _ in rows], np.int32),
        np.array([o for _, o, _ in rows], np.int64),
        None,
    )
    outcome = make_pipeline().process(polled, make_bundle(VERSION, review=REVIEW), NOW_MS)
    assert 0 < outcome.flagged < outcome.scored < len(rows)
    written: dict[tuple[OutcomeKind, int], list[Sent]] = {
        (kind, p): [] for kind in OutcomeKind for p in range(PARTITIONS)
    }
    for record in outcome.records:
        kind = OutcomeKind.SCORE if record.topic == OUTPUT else OutcomeKind.DEAD_LETTER
        sent_headers = tuple(cast("list[tuple[str, bytes | None]]", record.headers))
        sent = Sent(record.key, record.value, sent_headers, NOW_MS + 5)
        written[kind, record.partition].append(sent)
    return given, written


def _inputs(partition: int) -> list[Sent]:
    rng = random.Random(partition)
    batch = make_batch(EACH, partition + 1)
    values: list[bytes | None] = [*encode_transactions_json(batch)]
    for row in range(0, EACH, 2):
        timed = {"event_time": NOW_MS + row} if row % 4 else {}
        values[row] = make_value(1000 * partition + row, amount=float(row + 1), **timed)
    infinite = b'{"TransactionID": 1, "TransactionDT": 1, "TransactionAmt": 1e999}'
    values[-4:] = [b"garbage", None, infinite, make_value(7)[:-1]]
    return [Sent(str(rng.randrange(9999)).encode(), v, (("traceparent", b"00"),)) for v in values]
