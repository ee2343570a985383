"""Columns to Avro bodies: the compiled writer for transactions."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.avro_plan import DecodePlan, Kind, Target, build_plan
from schemas.batch import TransactionBatch
from schemas.compiled import compiled, inlined
from schemas.contracts import load_schema

_ID, _TIME, _EVENT_TIME, _NUMBER, _TEXT = 1, 2, 3, 4, 5
_NO_TIME = np.iinfo(np.int64).min
_MAX_FIELD_BYTES: Final = 11  # a union index and the longest varint; a double needs nine


@inlined
def put_varint(out: Any, p: int, value: Any) -> int:
    """Write a zig-zag varint at ``p``; the position after it."""
    word = (np.uint64(value) << np.uint64(1)) ^ np.uint64(np.int64(value) >> np.int64(63))
    while word >= np.uint64(0x80):
        out[p] = np.uint8(word & np.uint64(0x7F)) | np.uint8(0x80)
        p += 1
        word >>= np.uint64(7)
    out[p] = np.uint8(word)
    return p + 1


@compiled
def _write(  # noqa: C901 - one compiled loop
    head: NDArray[np.uint8],
    target: NDArray[np.int8],
    slot: NDArray[np.int32],
    is_union: NDArray[np.bool_],
    ids: NDArray[np.int64],
    times: NDArray[np.int64],
    event_times: NDArray[np.int64],
    numbers: NDArray[np.uint64],
    missing: NDArray[np.bool_],
    text: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> None:
    p = 0
    for row in range(ids.shape[0]):
        for k in range(head.shape[0]):
            out[p] = head[k]
            p += 1
        for f in range(target.shape[0]):
            to = target[f]
            s = slot[f]
            if to == _ID:
                p = put_varint(out, p, ids[row])
                continue
            if to == _TIME:
                p = put_varint(out, p, times[row])
                continue
            if to == _EVENT_TIME:
                absent = event_times[row] == _NO_TIME
            elif to == _NUMBER:
                absent = missing[row, s]
            else:
                absent = lengths[row, s] < 0
            if is_union[f]:
                out[p] = 0 if absent else 2  # our unions are [null, type]
                p += 1
                if absent:
                    continue
            if to == _EVENT_TIME:
                p = put_varint(out, p, event_times[row])
            elif to == _NUMBER:
                bits = numbers[row, s]
                for k in range(8):
                    out[p + k] = np.uint8((bits >> np.uint64(8 * k)) & np.uint64(0xFF))
                p += 8
            else:
                length = lengths[row, s]
                p = put_varint(out, p, length)
                for k in range(length):
                    out[p + k] = text[starts[row, s] + k]
                p += length
        ends[row] = p


@cache
def _own_plan() -> DecodePlan:
    plan = build_plan(load_schema("transaction"))
    if plan is None or (plan.kind == Kind.FIXED).any() or (plan.target == Target.SKIP).any():
        raise AssertionError("the transaction schema is flat and all its fields are columns")
    return plan


def encode_avro(batch: TransactionBatch, head: bytes) -> list[bytes]:
    """``head`` and the Avro body of each transaction, by our own schema."""
    plan = _own_plan()
    if len(batch) == 0:
        return []
    strings = int(np.maximum(batch.lengths, 0).sum())
    room = len(batch) * (len(head) + len(plan.names) * _MAX_FIELD_BYTES) + strings
    out = np.empty(room, np.uint8)
    ends = np.empty(len(batch), np.int64)
    _write(
        np.frombuffer(head, np.uint8),
        plan.target,
        plan.slot,
        plan.is_union,
        batch.ids,
        batch.times,
        batch.event_times,
        batch.numbers.view(np.uint64),
        np.isnan(batch.numbers),
        batch.text,
        batch.starts,
        batch.lengths,
        out,
        ends,
    )
    data = out[: ends[-1]].tobytes()
    stops = ends.tolist()
    return [data[a:b] for a, b in zip([0, *stops[:-1]], stops, strict=True)]
