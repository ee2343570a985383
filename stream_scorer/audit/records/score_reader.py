"""Reads the source coordinates and the content of scores."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

import fastavro
import numpy as np
from numpy.typing import NDArray

from schemas.batch import NO_EVENT_TIME
from schemas.framing import CONFLUENT_MAGIC, SINGLE_OBJECT_MAGIC
from schemas.records import UndecodableRecord
from schemas.resolver import SchemaResolver, UnknownSchema
from schemas.scores.kernel import (
    OTHER_HEAD,
    TRAILING,
    UNREADABLE,
    changed_texts,
    equal_texts,
    find_sources,
)
from schemas.scores.program import SLOTS, Slot, build_program
from schemas.scores.sampling import MAX_SHARE, choose
from schemas.writer_schema import UnreadableSchema, parse_writer
from stream_scorer.audit.records.columns import EARLIEST_TIME, NOT_STATED, Mark
from stream_scorer.audit.records.results import NO_REASONS, UNREAD, Results, empty_results
from stream_scorer.audit.records.score_checks import Extras, VersionBook, are_plausible
from stream_scorer.audit.records.score_facts import ScoreFacts, SourceCoordinates, facts_of

_STACK_DEPTH: Final = 16


class SourceColumns(NamedTuple):
    """What outcomes state about their inputs and themselves.

    Attributes:
        partitions: int64 ``[n]``; -1 where the outcome names no input of the input topic.
        offsets: int64 ``[n]``.
        versions: index into the reader's ``version_names``, int32 ``[n]``.
        is_readable: bool ``[n]``; where it is False, the other columns are meaningless.
        transactions: transaction ids, int64 ``[n]``; 0 where there is none.
        event_times: int64 ``[n]``; ``NOT_STATED`` where there is none.
        marks: :class:`Mark` bits, uint8 ``[n]``.
        results: what scores state about their model's result.
        may_have_context: False where a score states no context, bool ``[n]``.
    """

    partitions: NDArray[np.int64]
    offsets: NDArray[np.int64]
    versions: NDArray[np.int32]
    is_readable: NDArray[np.bool_]
    transactions: NDArray[np.int64]
    event_times: NDArray[np.int64]
    marks: NDArray[np.uint8]
    results: Results
    may_have_context: NDArray[np.bool_]


def unattributed(size: int) -> SourceColumns:
    """Columns for ``size`` readable outcomes without marks and without a known input."""
    return SourceColumns(
        np.full(size, -1, np.int64),
        np.full(size, -1, np.int64),
        np.full(size, -1, np.int32),
        np.ones(size, np.bool_),
        np.zeros(size, np.int64),
        np.full(size, NOT_STATED, np.int64),
        np.zeros(size, np.uint8),
        empty_results(size),
        np.ones(size, np.bool_),
    )


class _Writer(NamedTuple):
    schema: Any
    program: NDArray[np.int64] | None


class ScoreReader:
    """Reads the source coordinates of scores, each with the schema it was written with.

    Schemas are parsed once per framing prefix. A compiled loop reads well-formed scores; the
    reference decoder decides on all others.

    Args:
        resolver: finds the writers' schemas.
        input_topic: the topic whose records are the inputs.
        versions: the model versions that exist, if that is known.
    """

    def __init__(
        self,
        resolver: SchemaResolver,
        input_topic: str = "",
        versions: Collection[str] | None = None,
    ) -> None:
        self._resolver = resolver
        self._topic = input_topic
        self._topic_bytes = np.frombuffer(input_topic.encode(), np.uint8)
        self._writers: dict[bytes, _Writer] = {}
        self._book = VersionBook(versions)
        self.needs_registry = False
        """There are scores that only a Schema Registry has the schema of."""
        self._stack = np.zeros(_STACK_DEPTH, np.int64)

    @property
    def version_names(self) -> tuple[str, ...]:
        """The model versions seen so far."""
        return self._book.names

    def source(self, value: bytes | None) -> SourceCoordinates:
        """Coordinates of a score's input.

        Raises:
            UndecodableRecord: the value is not a score.
            RetryableError: the registry does not answer.
        """
        return self._decode(value).source

    def sources(self, values: Sequence[bytes | None]) -> SourceColumns:
        """Read the columns of many scores at once.

        Raises:
            RetryableError: the registry does not answer.
        """
        found = unattributed(len(values))
        left = np.arange(len(values))
        seen: set[bytes] = set()
        while len(left):
            head = _head(values[left[0]])
            program = self._program(head) if head not in seen else None
            seen.add(head)
            if program is None:  # no compiled loop for this schema: the reference decoder
                rows = np.array([i for i in left.tolist() if _head(values[i]) == head])
                self._one_by_one(values, rows, found)
            else:
                rows = self._all_at_once(values, left, head, program, found)
            left = np.setdiff1d(left, rows, assume_unique=True)
        return found

    def _all_at_once(
        self,
        values: Sequence[bytes | None],
        rows: NDArray[np.int64],
        head: bytes,
        program: NDArray[np.int64],
        found: SourceColumns,
    ) -> NDArray[np.int64]:
        """Read those of ``rows`` that have this framing; returns the rows that were read."""
        chosen = values if len(rows) == len(values) else [values[i] for i in rows.tolist()]
        present = [value or b"" for value in chosen]
        starts = np.zeros(len(present) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, present), np.int64, len(present)), out=starts[1:])
        joined = b"".join(present)
        buf = np.frombuffer(joined, np.uint8)
        places = np.zeros((len(present), SLOTS), np.int64)
        states = np.zeros(len(present), np.uint8)
        find_sources(
            buf, starts, np.frombuffer(head, np.uint8), program, self._stack, places, states
        )
        self._one_by_one(values, rows[states == UNREADABLE], found)
        is_read = (states != UNREADABLE) & (states != OTHER_HEAD)
        if is_read.all():
            self._keep(joined, buf, places, rows, found)
        elif is_read.any():
            self._keep(joined, buf, places[is_read], rows[is_read], found)
        found.marks[rows[states == TRAILING]] |= np.uint8(Mark.TRAILING)
        done: NDArray[np.int64] = rows[states != OTHER_HEAD]
        return done

    def _keep(
        self, joined: bytes, buf: Any, places: Any, rows: NDArray[np.int64], found: SourceColumns
    ) -> None:
        flags = np.zeros(len(rows), np.bool_)
        equal_texts(buf, places[:, Slot.TOPIC], places[:, Slot.TOPIC + 1], self._topic_bytes, flags)
        offsets, partitions = places[:, Slot.OFFSET], places[:, Slot.PARTITION]
        is_ours = flags & (offsets >= 0) & (partitions >= 0)
        found.partitions[rows] = np.where(is_ours, partitions, -1)
        found.offsets[rows] = np.where(is_ours, offsets, -1)
        found.transactions[rows] = places[:, Slot.TRANSACTION]
        found.results.read(rows, places)
        found.may_have_context[rows] = places[:, Slot.CONTEXT] != 0
        found.event_times[rows] = np.choose(
            places[:, Slot.EVENT_STATED],
            [NOT_STATED, np.maximum(places[:, Slot.EVENT_TIME], EARLIEST_TIME), NO_EVENT_TIME],
        )
        review, block = _doubles(places, Slot.REVIEW), _doubles(places, Slot.BLOCK)
        is_plausible = are_plausible(
            _doubles(places, Slot.SCORE),
            places[:, Slot.DECISION],
            places[:, Slot.IS_FLAGGED],
            (review, block),
            Extras(
                places[:, Slot.REASONS] != 0,
                places[:, Slot.CONTEXT] != 0,
                is_sampled := places[:, Slot.IS_SAMPLED] != 0,
                self._eligible(is_sampled, is_ours, partitions, offsets),
            ),
        )
        marks = np.where(is_plausible, 0, Mark.IMPLAUSIBLE).astype(np.uint8)
        begins, lengths = places[:, Slot.VERSION], places[:, Slot.VERSION + 1]
        changed_texts(buf, begins, lengths, flags)
        thresholds = places[:, Slot.REVIEW : Slot.BLOCK + 1]
        flags[1:] |= (thresholds[1:] != thresholds[:-1]).any(axis=1)
        starts = np.flatnonzero(flags)
        lengths_of_runs = np.diff(starts, append=len(rows))
        judged = [
            self._book.judge(joined[begin : begin + length], low, high)
            for begin, length, low, high in zip(
                begins[starts].tolist(),
                lengths[starts].tolist(),
                review[starts].tolist(),
                block[starts].tolist(),
                strict=True,
            )
        ]
        found.versions[rows] = np.repeat([code for code, _ in judged], lengths_of_runs)
        found.marks[rows] = marks | np.repeat(
            np.array([mark for _, mark in judged], np.uint8), lengths_of_runs
        )

    def _eligible(
        self,
        is_sampled: NDArray[np.bool_],
        is_ours: NDArray[np.bool_],
        partitions: NDArray[np.int64],
        offsets: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Whether sampled scores may be; what is of another topic has a fault of its own."""
        found = np.ones(len(is_sampled), np.bool_)
        rows = np.flatnonzero(is_sampled & is_ours)
        if len(rows):
            found[rows] = choose(self._topic, partitions[rows], offsets[rows], MAX_SHARE)
        return found

    def _one_by_one(
        self, values: Sequence[bytes | None], rows: NDArray[np.int64], found: SourceColumns
    ) -> None:
        for row in rows.tolist():
            try:
                facts = self._decode(values[row])
            except UndecodableRecord:
                found.is_readable[row] = False
                continue
            source = facts.source
            if source.topic == self._topic and source.offset >= 0 and source.partition >= 0:
                found.partitions[row], found.offsets[row] = source.partition, source.offset
            found.transactions[row], found.event_times[row] = facts.transaction, facts.event_time
            version = facts.version.encode("utf-8", "surrogatepass")
            thresholds = facts.result.review, facts.result.block
            found.versions[row], mark = self._book.judge(version, *thresholds)
            found.marks[row] = facts.marks | mark
            found.results.set(row, facts.result)

    def read_reasons(
        self, values: Sequence[bytes | None], rows: NDArray[np.int64], found: SourceColumns
    ) -> None:
        """Set the hashes of the reasons of readable scores; only flagged ones have any."""
        found.results.reasons[rows] = NO_REASONS
        for row in rows[found.results.decisions[rows] != 0].tolist():
            try:
                found.results.reasons[row] = self._decode(values[row]).result.reasons
            except UndecodableRecord:  # the compiled reader accepts what it need not look at
                found.results.reasons[row] = UNREAD

    def _program(self, head: bytes) -> NDArray[np.int64] | None:
        try:
            return self._writer(head).program
        except UndecodableRecord:
            return None

    def _decode(self, value: bytes | None) -> ScoreFacts:
        if not value:
            raise UndecodableRecord("the value is empty")
        head = _head(value)
        writer = self._writer(head)
        try:
            body = io.BytesIO(value[len(head) :])
            score = fastavro.schemaless_reader(body, writer.schema)
            return facts_of(score, has_more=bool(body.read(1)))
        except Exception as error:  # untrusted bytes can raise anything
            raise UndecodableRecord(f"not readable by its schema: {error}") from error

    def _writer(self, head: bytes) -> _Writer:
        if known := self._writers.get(head):
            return known
        try:
            if head.startswith(SINGLE_OBJECT_MAGIC):
                schema = self._resolver.by_fingerprint(head[2:])
            elif head.startswith(CONFLUENT_MAGIC):
                schema = self._resolver.by_id(int.from_bytes(head[1:], "big"))
            else:
                raise UndecodableRecord(f"no known framing starts with {head[:4].hex(' ')}")
            parsed = parse_writer(schema)
        except (UnknownSchema, UnreadableSchema) as error:
            if head.startswith(CONFLUENT_MAGIC) and isinstance(error, UnknownSchema):
                self.needs_registry = True
            raise UndecodableRecord(str(error)) from error
        return self._writers.setdefault(head, _Writer(parsed, build_program(parsed)))


def _doubles(places: NDArray[np.int64], slot: Slot) -> NDArray[np.float64]:
    """A column whose integers are the bits of doubles."""
    return places[:, slot].copy().view(np.float64)


def _head(value: bytes | None) -> bytes:
    """The framing, which identifies the schema that the rest was written with."""
    if not value:
        return b""
    return value[:10] if value.startswith(SINGLE_OBJECT_MAGIC) else value[:5]
