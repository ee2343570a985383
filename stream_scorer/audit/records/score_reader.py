"""Reads the source coordinates, model version and transaction id of scores."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import fastavro
import numpy as np
from numpy.typing import NDArray

from schemas.framing import CONFLUENT_MAGIC, SINGLE_OBJECT_MAGIC
from schemas.records import UndecodableRecord
from schemas.resolver import SchemaResolver, UnknownSchema
from schemas.scores.kernel import (
    OTHER_HEAD,
    READ,
    UNREADABLE,
    changed_texts,
    equal_texts,
    find_sources,
)
from schemas.scores.program import DECISIONS, SLOTS, Slot, build_program
from schemas.writer_schema import UnreadableSchema, parse_writer
from stream_scorer.audit.records.columns import NOT_SAMPLED

_STACK_DEPTH: Final = 16


class SourceCoordinates(NamedTuple):
    """The coordinates of an outcome's input, as the outcome states them."""

    topic: str
    partition: int
    offset: int


class SourceColumns(NamedTuple):
    """What outcomes state about their inputs and themselves.

    Attributes:
        partitions: int64 ``[n]``; -1 where the outcome names no input of the input topic.
        offsets: int64 ``[n]``.
        versions: index into the reader's ``version_names``, int32 ``[n]``.
        is_readable: bool ``[n]``; where it is False, the other columns are meaningless.
        transactions: transaction ids, int64 ``[n]``; ``NOT_SAMPLED`` where there is none.
        is_plausible: see :func:`are_plausible`, bool ``[n]``.
    """

    partitions: NDArray[np.int64]
    offsets: NDArray[np.int64]
    versions: NDArray[np.int32]
    is_readable: NDArray[np.bool_]
    transactions: NDArray[np.int64]
    is_plausible: NDArray[np.bool_]


class ScoreFacts(NamedTuple):
    """What one score states about its input and itself."""

    source: SourceCoordinates
    version: str
    transaction: int
    is_plausible: bool


def unattributed(size: int) -> SourceColumns:
    """Columns for ``size`` readable, plausible outcomes that are not attributed to any input."""
    return SourceColumns(
        np.full(size, -1, np.int64),
        np.full(size, -1, np.int64),
        np.full(size, -1, np.int32),
        np.ones(size, np.bool_),
        np.full(size, NOT_SAMPLED, np.int64),
        np.ones(size, np.bool_),
    )


def are_plausible(
    scores: NDArray[np.float64],
    decisions: NDArray[np.int64],
    is_flagged: NDArray[np.int64],
    review: NDArray[np.float64],
    block: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Whether scores are probabilities and consistent with their own decision.

    How the decision follows from score and thresholds is specified in the schema's documentation.
    """
    expected = (scores >= review).astype(np.int64)
    expected[scores >= block] = DECISIONS.index("BLOCK")
    is_probability = (scores >= 0) & (scores <= 1)  # False for NaN
    found: NDArray[np.bool_] = (
        is_probability & (decisions == expected) & (is_flagged == (expected > 0))
    )
    return found


class _Writer(NamedTuple):
    schema: Any
    program: NDArray[np.int64] | None


class ScoreReader:
    """Reads the source coordinates of scores, each with the schema it was written with.

    Schemas are parsed once per framing prefix. A compiled loop reads well-formed scores; the
    reference decoder decides on all others.
    """

    def __init__(self, resolver: SchemaResolver, input_topic: str = "") -> None:
        self._resolver = resolver
        self._topic = input_topic
        self._topic_bytes = np.frombuffer(input_topic.encode(), np.uint8)
        self._writers: dict[bytes, _Writer] = {}
        self._versions: dict[str, int] = {}
        self._stack = np.zeros(_STACK_DEPTH, np.int64)

    @property
    def version_names(self) -> tuple[str, ...]:
        """The model versions seen so far."""
        return tuple(self._versions)

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
        if (states == READ).all():
            self._keep(joined, buf, places, rows, found)
        elif (states == READ).any():
            self._keep(joined, buf, places[states == READ], rows[states == READ], found)
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
        found.is_plausible[rows] = are_plausible(
            _doubles(places, Slot.SCORE),
            places[:, Slot.DECISION],
            places[:, Slot.IS_FLAGGED],
            _doubles(places, Slot.REVIEW),
            _doubles(places, Slot.BLOCK),
        )
        begins, lengths = places[:, Slot.VERSION], places[:, Slot.VERSION + 1]
        changed_texts(buf, begins, lengths, flags)
        starts = np.flatnonzero(flags)
        codes = [
            self._version(joined[begin : begin + length].decode("utf-8", "backslashreplace"))
            for begin, length in zip(begins[starts].tolist(), lengths[starts].tolist(), strict=True)
        ]
        found.versions[rows] = np.repeat(codes, np.diff(starts, append=len(rows)))

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
            found.versions[row] = self._version(facts.version)
            found.transactions[row] = facts.transaction
            found.is_plausible[row] = facts.is_plausible

    def _version(self, name: str) -> int:
        return self._versions.setdefault(name, len(self._versions))

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
            score = fastavro.schemaless_reader(io.BytesIO(value[len(head) :]), writer.schema)
            source = score["source"]
            found = SourceCoordinates(
                str(source["topic"]), int(source["partition"]), int(source["offset"])
            )
            return ScoreFacts(found, str(score["model_version"]), *_content(score))
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
            raise UndecodableRecord(str(error)) from error
        return self._writers.setdefault(head, _Writer(parsed, build_program(parsed)))


def _doubles(places: NDArray[np.int64], slot: Slot) -> NDArray[np.float64]:
    """A column whose integers are the bits of doubles."""
    return places[:, slot].copy().view(np.float64)


def _content(score: Any) -> tuple[int, bool]:
    """The transaction id, and whether the score is plausible; False if a field is missing."""
    names = ("score", "decision", "is_flagged", "review_threshold", "block_threshold")
    if not {"transaction_id", *names} <= score.keys() or score["decision"] not in DECISIONS:
        return score.get("transaction_id", NOT_SAMPLED), False
    value, decision, is_flagged, review, block = (score[name] for name in names)
    return score["transaction_id"], bool(
        are_plausible(
            np.array([value], np.float64),
            np.array([DECISIONS.index(decision)], np.int64),
            np.array([is_flagged], np.int64),
            np.array([review], np.float64),
            np.array([block], np.float64),
        )[0]
    )


def _head(value: bytes | None) -> bytes:
    """The framing, which identifies the schema that the rest was written with."""
    if not value:
        return b""
    return value[:10] if value.startswith(SINGLE_OBJECT_MAGIC) else value[:5]
