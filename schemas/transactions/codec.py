"""Decodes transactions from every wire format to columns, and encodes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.avro import kernel as avro_kernel
from schemas.avro.plan import DecodePlan, Target
from schemas.avro.writer import encode_avro
from schemas.batch import TransactionBatch, blank_batch, empty_batch, with_text
from schemas.body_faults import BAD_TIME, INFINITE, MESSAGES, MISSING
from schemas.contracts import (
    AMOUNT,
    NUMBER_INDEX,
    TEXT_COLUMNS,
    TIME,
    load_schema,
    schema_fingerprint,
    time_fault,
)
from schemas.framing import (
    MAX_RECORD_BYTES,
    FramingError,
    Headers,
    alike_frames,
    prefix,
    read_frame,
)
from schemas.json.codec import Decoded, RowReader, encode_json, finish, parse_json, read_plain
from schemas.layout import Layout
from schemas.lookalikes import describe_bytes, describe_confluent, describe_object
from schemas.rejections import Rejection, Stage
from schemas.resolver import SchemaKey, SchemaResolver
from schemas.spans import Spans
from schemas.transactions.reference import Reference, decode_by_reference, first_fault
from schemas.transactions.writers import Writers
from schemas.writer_schema import UnreadableSchema, plain_types

_INVALID: Final = (MISSING, INFINITE)
_PADDING: Final = bytes(4096)  # so that the last records are read in runs too
_AMOUNT_FIELD: Final = -2  # the kernel's code for "the amount, whichever field it is"


class _Group(NamedTuple):
    """The records of a batch that share a writer's schema and a framing length."""

    key: SchemaKey
    body_start: int


class _Rows(NamedTuple):
    """A batch's records by how they are decoded."""

    ways: dict[_Group, DecodePlan | Reference]
    rows: dict[_Group, list[int]]
    json: list[int]


class TransactionDecoder:
    """Decodes whole batches of records; keeps the plans of the writers seen last."""

    def __init__(self, resolver: SchemaResolver) -> None:
        self._writers = Writers(resolver)

    def decode(
        self,
        values: Sequence[bytes | None],
        headers: Sequence[Headers],
        layout: Layout | None = None,
    ) -> Decoded:
        """Decode records to columns; an invalid record becomes a rejection.

        ``layout`` lists the number columns that are needed. The batch keeps only these if all
        records can be read in the fast way, and else every column. What is rejected, and why, does
        not depend on it.

        Any error of the resolver other than ``UnknownSchema`` (such as a registry that does not
        answer) propagates: it says nothing about the records.
        """
        size = np.array([len(v) if v else 0 for v in values], np.int64)
        joinable = values
        if (size > MAX_RECORD_BYTES).any():  # they are rejected below, and never copied
            joinable = [v if v and len(v) <= MAX_RECORD_BYTES else b"" for v in values]
            size[size > MAX_RECORD_BYTES] = 0
        spans = Spans(np.cumsum(size) - size, size)
        joined = b"".join([*(v or b"" for v in joinable), _PADDING])
        rejections: list[Rejection] = []
        ways, groups, json_rows = self._group(values, headers, joined, spans, rejections)
        is_all_planned = not json_rows and all(isinstance(w, DecodePlan) for w in ways.values())
        batch = blank_batch(len(values), layout) if is_all_planned else empty_batch(len(values))
        reader = RowReader(batch, strict=False, text_start=len(joined))
        for group, rows in groups.items():
            way, where = ways[group], np.array(rows, np.int64)
            begin, end = spans.begin[where] + group.body_start, spans.begin[where] + size[where]
            if isinstance(way, DecodePlan):
                rejections += _decode_by_plan(joined, where, begin, end, way, batch)
            else:
                rejections += decode_by_reference(joined, where, begin, end, way, reader)
        if json_rows:
            where = np.array(json_rows, np.int64)
            begin, end = spans.begin[where], spans.begin[where] + size[where]
            is_read = read_plain(joined, where, begin, end, batch)
            rejections += _decode_json(values, where[~is_read].tolist(), reader)
        rejections.sort(key=lambda r: r.index)
        text = joined + reader.text if reader.text else joined
        return finish(replace(with_text(batch, text), records=spans), rejections)

    def _group(
        self,
        values: Sequence[bytes | None],
        headers: Sequence[Headers],
        joined: bytes,
        spans: Spans,
        rejections: list[Rejection],
    ) -> _Rows:
        """The records by writer; one without known framing or schema becomes a rejection."""
        groups: dict[_Group, list[int]] = {}
        json_rows: list[int] = []
        todo = np.ones(len(values), np.bool_)
        for alike in alike_frames(headers, joined, spans):
            with suppress(FramingError):  # each record of the group is rejected below
                if (group := _frame(values[alike[0]], None)) is not None:
                    groups.setdefault(group, []).extend(alike.tolist())
                    todo[alike] = False
        for i in np.flatnonzero(todo).tolist():
            try:
                group = _frame(values[i], headers[i])
            except FramingError as error:
                is_tombstone = values[i] is None
                rejections.append(
                    Rejection(i, Stage.FRAMING, str(error), is_tombstone=is_tombstone)
                )
            else:
                (json_rows if group is None else groups.setdefault(group, [])).append(i)
        found, unknown = self._writers.find(dict.fromkeys(group.key for group in groups))
        ways: dict[_Group, DecodePlan | Reference] = {}
        for group, rows in groups.items():
            way = found.get(group.key)
            if way is None or isinstance(way, UnreadableSchema):
                reason = unknown[group.key] if way is None else str(way)
                rejections += [
                    Rejection(row, Stage.SCHEMA, reason + describe_confluent(values[row] or b""))
                    for row in rows
                ]
            else:
                ways[group] = way
        return _Rows(ways, {group: groups[group] for group in ways}, json_rows)


def _frame(value: bytes | None, headers: Headers) -> _Group | None:
    """The group of a record; None for JSON.

    Raises:
        FramingError: the value has no known framing, or is too long.
    """
    if value is None:
        raise FramingError("the value is null (a tombstone)")
    if len(value) > MAX_RECORD_BYTES:
        raise FramingError(
            f"the value has {len(value)} bytes, more than the {MAX_RECORD_BYTES} allowed"
        )
    frame = read_frame(value, headers)
    return None if frame.key is None else _Group(frame.key, frame.body_start)


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
    slot, absent_numbers, amount = _places(plan, batch.layout)
    avro_kernel.decode_avro(
        buf,
        begin,
        end,
        rows,
        plan.target,
        slot,
        plan.is_union,
        plan.first,
        plan.kind,
        plan.size,
        plan.usable,
        plan.run_first,
        plan.run_kind,
        plan.run_null,
        plan.run_room,
        absent_numbers,
        plan.absent_texts,
        amount,
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
        if error[row] == BAD_TIME:
            reason = time_fault(int(batch.times[row])) or ""
            yield Rejection(int(row), Stage.VALIDATE, reason, TIME)
            continue
        yield _explain(int(row), int(error[row]), int(where[row]), plan.names)
    for row in np.flatnonzero(not_ascii & (error == 0)):
        if (bad := _not_utf8(joined, batch, int(row))) is not None:
            yield Rejection(int(row), Stage.DECODE, f"{bad} is not valid UTF-8", bad)


def _places(
    plan: DecodePlan, layout: Layout | None
) -> tuple[NDArray[np.uint32], NDArray[np.int64], int]:
    """Where the writer's fields go, which cells it does not have, and the cell of the amount."""
    amount = NUMBER_INDEX[AMOUNT]
    if layout is None:
        return plan.slot, plan.absent_numbers, amount
    slot, is_number = plan.slot.copy(), plan.target == Target.NUMBER
    slot[is_number] = layout.positions[slot[is_number]]
    absent = layout.positions[plan.absent_numbers].astype(np.int64)
    return slot, absent, layout.at(amount)


def _explain(row: int, code: int, where: int, names: Sequence[str]) -> Rejection:
    name = AMOUNT if where == _AMOUNT_FIELD else names[where] if where >= 0 else None
    stage = Stage.VALIDATE if code in _INVALID else Stage.DECODE
    return Rejection(row, stage, MESSAGES[code].format(name), name)


def _not_utf8(joined: bytes, batch: TransactionBatch, row: int) -> str | None:
    for column, name in enumerate(TEXT_COLUMNS):
        start, length = int(batch.starts[row, column]), int(batch.lengths[row, column])
        if length > 0:
            try:
                joined[start : start + length].decode("utf-8")
            except UnicodeDecodeError:
                return name
    return None


def _decode_json(
    values: Sequence[bytes | None], rows: list[int], reader: RowReader
) -> Iterable[Rejection]:
    for row in rows:
        try:
            parsed = parse_json(values[row] or b"")
        except ValueError as error:
            hint = describe_bytes(values[row] or b"")
            yield Rejection(row, Stage.DECODE, f"not JSON: {error}"[:300] + hint)
            continue
        for found in first_fault(row, reader.read(row, parsed)):
            hint = describe_object(parsed)
            yield replace(found, reason=found.reason + hint) if hint else found


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
