"""Reads inputs and outcomes of an audit from Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from schemas.transactions.codec import TransactionDecoder
from stream_scorer.audit.recompute.recomputer import ReadInputs
from stream_scorer.audit.records.columns import Inputs, OutcomeKind, Outcomes
from stream_scorer.audit.records.input_reader import InputReader
from stream_scorer.audit.records.outcome_reader import OutcomeReader
from stream_scorer.audit.records.score_reader import ScoreReader
from stream_scorer.audit.run import OnLost
from stream_scorer.audit.scope import Scope
from stream_scorer.kafka.messages import by_partition
from stream_scorer.kafka.reader import read_spans
from stream_scorer.kafka.spans import Spans
from stream_scorer.kafka.unreadable import PassedBatch
from stream_scorer.state.inputs import Choose, InputFaults, InputRows, Refused, read_inputs


class Sampling(NamedTuple):
    """Which outcomes are looked into: one in ``sample``, and one in ``recompute``; 0: none."""

    sample: int
    recompute: int


@dataclass(frozen=True, slots=True)
class AuditTopics:
    """Reads inputs and outcomes from the topics.

    Attributes:
        scope: the topics as they were when the audit began.
        reader: reads inputs.
        scores: reads scores.
        sampling: which records are looked into.
        stall_seconds: give up when no record arrives for this long.
    """

    scope: Scope
    reader: InputReader
    scores: ScoreReader
    sampling: Sampling
    stall_seconds: float

    def reader_of_accepted(self, decoder: TransactionDecoder) -> ReadInputs:
        """Reads the accepted inputs of a stripe again, decoded."""

        def read(
            spans: Spans, refused: Refused, choose: Choose | None, faults: InputFaults
        ) -> Iterator[InputRows]:
            settings, group, seconds = self.scope.settings, self.scope.group, self.stall_seconds
            return read_inputs(
                settings, group, spans, decoder, refused,
                choose=choose, stall_seconds=seconds, faults=faults,
            )  # fmt: skip

        return read

    def inputs(self, spans: Spans) -> Iterator[Inputs]:
        """The inputs of the spans, each partition in offset order."""
        settings = self.scope.settings
        group = self.scope.group
        passed: list[tuple[int, PassedBatch]] = []
        for batch in read_spans(
            settings,
            group,
            settings.input_topic,
            spans,
            self.stall_seconds,
            on_unreadable=lambda partition, unread: passed.append((partition, unread)),
        ):
            yield from self._passed(passed, spans)
            for partition, records in by_partition(batch):
                yield self.reader.read(partition, records)
        yield from self._passed(passed, spans)

    def _passed(self, passed: list[tuple[int, PassedBatch]], spans: Spans) -> Iterator[Inputs]:
        """The inputs of batches that cannot be read, before the records that follow them."""
        for partition, batch in passed:
            end = min(batch.next_offset, spans[partition].high)
            yield self.reader.passed(partition, replace(batch, next_offset=end))
        passed.clear()

    def outcomes(
        self, kind: OutcomeKind, spans: Spans, on_lost: OnLost
    ) -> Iterator[tuple[Outcomes, list[int]]]:
        """Batches of outcomes, each with the offsets of unreadable ones in the same partition."""
        settings, group = self.scope.settings, self.scope.group
        reader = OutcomeReader(kind, settings.input_topic, self.scores, *self.sampling)
        topic = self.scope.topic(kind)
        for batch in read_spans(settings, group, topic, spans, self.stall_seconds, on_lost):
            for partition, records in by_partition(batch):
                outcomes, unreadable = reader.read(partition, records)
                yield outcomes, [place.offset for place in unreadable]

    def inputs_now(self) -> Spans:
        """The offsets that the input partitions hold now."""
        return self.scope.inputs_now()
