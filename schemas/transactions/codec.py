"""Decodes transactions from every wire format to columns, and encodes them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import fastavro
import numpy as np
from numpy.typing import NDArray

from schemas.avro import kernel as avro_kernel
from schemas.avro.plan import DecodePlan, build_plan
from schemas.avro.writer import encode_avro
from schemas.batch import TransactionBatch, blank_batch, empty_batch, with_text
from schemas.contracts import (
    AMOUNT,
    NUMBER_INDEX,
    TEXT_COLUMNS,
    AvroSchema,
    load_schema,
    schema_fingerprint,
)
from schemas.framing import (
    MAX_RECORD_BYTES,
    Format,
    FramingError,
    Headers,
    Spans,
    UnknownSchema,
    alike_frames,
    prefix,
    read_frame,
)
from schemas.json.codec import Decoded, RowReader, encode_json, finish, parse_json, read_plain
from schemas.rejections import Rejection, Stage
from schemas.resolver import SchemaResolver
from schemas.writer_schema import UnreadableSchema, parse_writer, plain_types

_MESSAGES: Final = {
    avro_kernel.TRUNCATED: "the body ends inside {}",
    avro_kernel.TRAILING: "bytes are left over after the last field",
    avro_kernel.BAD_BRANCH: "{} has a union index its schema does not have",
    avro_kernel.BAD_VARINT: "{} has an integer of more than 64 bits",
    avro_kernel.BAD_LENGTH: "{} has a length beyond the body",
    avro_kernel.BAD_BOOLEAN: "{} has a boolean that is neither 0 nor 1",
    avro_kernel.INCOMPATIBLE: "{} has a type that cannot be read as ours",
    avro_kernel.MISSING: "{} is missing",
    avro_kernel.INFINITE: "{} is infinite",
}
_INVALID: Final = (avro_kernel.MISSING, avro_kernel.INFINITE)
_PADDING: Final = bytes(4096)  # so that the last records are read in runs too
_MAX_WRITERS: Final = 1000  # a registry has far fewer; a resolver that copies schemas has no limit
_AMOUNT_FIELD: Final = -2  # the kernel's code for "the amount, whichever field it is"


class _Group(NamedTuple):
    """The records of a batch that share a writer's schema and a framing length."""

    writer: int
    body_start: int


class _Reference(NamedTuple):
    """Writer's and reader's schema for the reference decoder."""

    writer: AvroSchema
    reader: AvroSchema


class _Writer(NamedTuple):
    """How records of one writer's schema are decoded: a plan, the reference decoder, or not."""

    schema: AvroSchema  # kept alive, so that its id is not reused
    way: DecodePlan | _Reference | UnreadableSchema


class TransactionDecoder:
    """Decodes whole batches of records; keeps the plans of the writers seen so far."""

    def __init__(self, resolver: SchemaResolver) -> None:
        self._resolver = resolver
        self._writers: dict[int, _Writer] = {}

    def decode(self, values: Sequence[bytes | None], headers: Sequence[Headers]) -> Decoded:
        """Decode records to columns; an invalid record becomes a rejection.

        Any error of the resolver other than ``UnknownSchema`` (such as a registry that does not
        answer) propagates: it says nothing about the records.
        """
        if len(self._writers) > _MAX_WRITERS:
            self._writers.clear()
        size = np.array([len(v) if v else 0 for v in values], np.int64)
        joinable = values
        if (size > MAX_RECORD_BYTES).any():  # they are rejected below, and never copied
            joinable = [v if v and len(v) <= MAX_RECORD_BYTES else b"" for v in values]
            size[size > MAX_RECORD_BYTES] = 0
        spans = Spans(np.cumsum(size) - size, size)
        joined = b"".join([*(v or b"" for v in joinable), _PADDING])
        rejections: list[Rejection] = []
        groups, json_rows = self._groups(values, headers, joined, spans, rejections)
        ways = {group: self._writers[group.writer].way for group in groups}
        is_all_planned = not json_rows and all(isinstance(w, DecodePlan) for w in ways.values())
        batch = blank_batch(len(values)) if is_all_planned else empty_batch(len(values))
        reader = RowReader(batch, strict=False, text_start=len(joined))
        for group, rows in groups.items():
            way, where = ways[group], np.array(rows, np.int64)
            begin, end = spans.begin[where] + group.body_start, spans.begin[where] + size[where]
            if isinstance(way, DecodePlan):
                rejections += _decode_by_plan(joined, where, begin, end, way, batch)
            elif isinstance(way, _Reference):
                bodies = zip(rows, begin.tolist(), end.tolist(), strict=True)
                rejections += _decode_by_reference(joined, bodies, way, reader)
        if json_rows:
            where = np.array(json_rows, np.int64)
            begin, end = spans.begin[where], spans.begin[where] + size[where]
            is_read = read_plain(joined, where, begin, end, batch)
            rejections += _decode_json(values, where[~is_read].tolist(), reader)
        rejections.sort(key=lambda r: r.index)
        text = joined + reader.text if reader.text else joined
        return finish(with_text(batch, text), rejections)

    def _groups(
        self,
        values: Sequence[bytes | None],
        headers: Sequence[Headers],
        joined: bytes,
        spans: Spans,
        rejections: list[Rejection],
    ) -> tuple[dict[_Group, list[int]], list[int]]:
        """Rows by group, and the JSON rows; a record without known framing becomes a rejection."""
        groups: dict[_Group, list[int]] = {}
        json_rows: list[int] = []
        todo = np.ones(len(values), np.bool_)
        for alike in alike_frames(headers, joined, spans):
            with suppress(_Refused):  # each record of the group is rejected below
                group = self._frame(values[alike[0]], None)
                if group is not None:
                    groups.setdefault(group, []).extend(alike.tolist())
                    todo[alike] = False
        for i in np.flatnonzero(todo).tolist():
            try:
                group = self._frame(values[i], headers[i])
            except _Refused as refused:
                is_tombstone = values[i] is None
                rejections.append(
                    Rejection(i, refused.stage, str(refused), is_tombstone=is_tombstone)
                )
            else:
                (json_rows if group is None else groups.setdefault(group, [])).append(i)
        return groups, json_rows

    def _frame(self, value: bytes | None, headers: Headers) -> _Group | None:
        """The group of a record; None for JSON."""
        if value is None:
            raise _Refused(Stage.FRAMING, "the value is null (a tombstone)")
        if len(value) > MAX_RECORD_BYTES:
            raise _Refused(
                Stage.FRAMING,
                f"the value has {len(value)} bytes, more than the {MAX_RECORD_BYTES} allowed",
            )
        try:
            found = read_frame(value, headers, self._resolver)
        except FramingError as error:
            raise _Refused(Stage.FRAMING, str(error)) from None
        except UnknownSchema as error:
            raise _Refused(Stage.SCHEMA, str(error)) from None
        if found.format is Format.JSON:
            return None
        return _Group(self._writer_key(found.schema), found.body_start)

    def _writer_key(self, schema: AvroSchema) -> int:
        # Resolvers return the same object for the same schema, and it is kept alive here, so its
        # id identifies it. A refusal is kept too: planning again for each record is slow.
        key = id(schema)
        if key not in self._writers:
            self._writers[key] = _Writer(schema, _way(schema))
        if isinstance(way := self._writers[key].way, UnreadableSchema):
            raise _Refused(Stage.SCHEMA, str(way))
        return key


def _way(schema: AvroSchema) -> DecodePlan | _Reference | UnreadableSchema:
    try:
        plan = build_plan(schema)
        return plan if plan is not None else _reference(parse_writer(schema))
    except UnreadableSchema as error:
        return error.with_traceback(None)


def _reference(writer: AvroSchema) -> _Reference:
    # With the writer's name: the reference decoder compares names, and the name cannot change the
    # meaning of the fields.
    ours = {**plain_types(load_schema("transaction")), "name": writer["name"], "namespace": ""}
    return _Reference(writer, fastavro.parse_schema(ours))


class _Refused(Exception):
    def __init__(self, stage: Stage, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage


def _decode_by_plan(
    joined: bytes,
    rows: NDArray[np.int64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    plan: DecodePlan,
    batch: TransactionBatch,
) -> Iterable[Rejection]:
    n = len(batch)
    error, where = np.zeros(n, np.int8), np.zeros(n, np.int32)
    not_ascii = np.zeros(n, np.bool_)
    buf = np.frombuffer(joined, np.uint8)
    avro_kernel.decode_avro(
        buf,
        begin,
        end,
        rows,
        plan.target,
        plan.slot,
        plan.is_union,
        plan.first,
        plan.kind,
        plan.size,
        plan.usable,
        plan.run_first,
        plan.run_kind,
        plan.run_null,
        plan.run_room,
        plan.absent_numbers,
        plan.absent_texts,
        NUMBER_INDEX[AMOUNT],
        batch.ids,
        batch.times,
        batch.event_times,
        batch.numbers,
        batch.starts,
        batch.lengths,
        error,
        where,
        not_ascii,
    )
    for row in np.flatnonzero(error):
        yield _explain(int(row), int(error[row]), int(where[row]), plan.names)
    for row in np.flatnonzero(not_ascii & (error == 0)):
        if (bad := _not_utf8(joined, batch, int(row))) is not None:
            yield Rejection(int(row), Stage.DECODE, f"{bad} is not valid UTF-8", bad)


def _explain(row: int, code: int, where: int, names: Sequence[str]) -> Rejection:
    name = AMOUNT if where == _AMOUNT_FIELD else names[where] if where >= 0 else None
    stage = Stage.VALIDATE if code in _INVALID else Stage.DECODE
    return Rejection(row, stage, _MESSAGES[code].format(name), name)


def _not_utf8(joined: bytes, batch: TransactionBatch, row: int) -> str | None:
    for column, name in enumerate(TEXT_COLUMNS):
        start, length = int(batch.starts[row, column]), int(batch.lengths[row, column])
        if length > 0:
            try:
                joined[start : start + length].decode("utf-8")
            except UnicodeDecodeError:
                return name
    return None


def _decode_by_reference(
    joined: bytes, bodies: Iterable[tuple[int, int, int]], by: _Reference, reader: RowReader
) -> Iterable[Rejection]:
    """Decode record by record (row, begin, end) with fastavro, for nested writers' schemas."""
    for row, begin, end in bodies:
        body = io.BytesIO(joined[begin:end])
        try:
            record = fastavro.schemaless_reader(body, by.writer, by.reader)
        except Exception as error:  # fastavro raises any exception type for untrusted bytes
            why = str(error).partition(" from <_io.")[0] or type(error).__name__  # no addresses
            yield Rejection(row, Stage.DECODE, f"cannot be read with its schema: {why}"[:300])
            continue
        if body.read(1):
            yield Rejection(row, Stage.DECODE, _MESSAGES[avro_kernel.TRAILING])
            continue
        yield from _first_fault(row, reader.read(row, record))


def _decode_json(
    values: Sequence[bytes | None], rows: list[int], reader: RowReader
) -> Iterable[Rejection]:
    for row in rows:
        try:
            parsed = parse_json(values[row] or b"")
        except ValueError as error:
            yield Rejection(row, Stage.DECODE, f"not JSON: {error}"[:300])
            continue
        yield from _first_fault(row, reader.read(row, parsed))


def _first_fault(row: int, faults: Sequence[tuple[str | None, str, Stage]]) -> Iterable[Rejection]:
    if faults:
        name, reason, stage = faults[0]
        yield Rejection(row, stage, reason, name)


def encode_transactions(batch: TransactionBatch, schema_id: int | None = None) -> list[bytes]:
    """Each transaction as Avro: Confluent framing with a schema id, else single-object."""
    head = prefix(schema_fingerprint(load_schema("transaction")), schema_id)
    return encode_avro(batch, head)


def encode_transactions_json(batch: TransactionBatch) -> list[bytes]:
    """Each transaction as a JSON object, without missing columns."""
    return encode_json(batch)


def schema_text(contract: str) -> str:
    """A contract's schema as registered."""
    return json.dumps(load_schema(contract))


__all__ = [
    "Decoded",
    "TransactionDecoder",
    "encode_transactions",
    "encode_transactions_json",
    "plain_types",
    "schema_text",
]
