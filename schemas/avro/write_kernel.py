"""The compiled loops that write Avro: transactions and scores.

They are in one file because numba recompiles a function only when the function's own file changed,
not when a function it calls in another file changed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled, inlined

_ID, _TIME, _EVENT_TIME, _NUMBER = 1, 2, 3, 4  # copies of plan.Target
_NO_TIME = np.iinfo(np.int64).min


@inlined
def _put_varint(out: Any, p: int, value: Any) -> int:
    """Write a zig-zag varint at ``p``; returns the position after it."""
    word = (np.uint64(value) << np.uint64(1)) ^ np.uint64(np.int64(value) >> np.int64(63))
    while word >= np.uint64(0x80):
        out[p] = np.uint8(word & np.uint64(0x7F)) | np.uint8(0x80)
        p += 1
        word >>= np.uint64(7)
    out[p] = np.uint8(word)
    return p + 1


@inlined
def _copy(out: Any, p: int, data: Any, start: int, stop: int) -> int:
    for k in range(start, stop):
        out[p + k - start] = data[k]
    return p + stop - start


@compiled
def write_transactions(  # noqa: C901 - one compiled loop
    head: NDArray[np.uint8],
    target: NDArray[np.int8],
    slot: NDArray[np.uint32],
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
    """Write ``head`` and a body for each row to ``out``; ``ends`` gets the end of each.

    ``numbers`` are the doubles' bits; ``target``, ``slot`` and ``is_union`` come from the plan.
    """
    p = 0
    for row in range(ids.shape[0]):
        for k in range(head.shape[0]):
            out[p] = head[k]
            p += 1
        for f in range(target.shape[0]):
            to = target[f]
            s = slot[f]
            if to == _ID:
                p = _put_varint(out, p, ids[row])
                continue
            if to == _TIME:
                p = _put_varint(out, p, times[row])
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
                p = _put_varint(out, p, event_times[row])
            elif to == _NUMBER:
                bits = numbers[row, s]
                for k in range(8):
                    out[p + k] = np.uint8((bits >> np.uint64(8 * k)) & np.uint64(0xFF))
                p += 8
            else:
                length = lengths[row, s]
                p = _put_varint(out, p, length)
                for k in range(length):
                    out[p + k] = text[starts[row, s] + k]
                p += length
        ends[row] = p


@compiled
def write_contexts(
    rows: NDArray[np.int64],
    times: NDArray[np.int64],
    numbers: NDArray[np.float64],
    text: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    is_text: NDArray[np.bool_],
    columns: NDArray[np.int64],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> None:
    """Write the contexts of ``rows`` (ascending); ``ends`` ``[all rows]`` gets the end of each.

    A context's fields are the time and then those given by ``is_text`` and ``columns``. A missing
    field is the union's null.
    """
    bits = numbers.view(np.uint64)
    p = 0
    following = 0
    for row in range(len(ends)):
        if following == len(rows) or row != rows[following]:
            ends[row] = p
            continue
        following += 1
        out[p] = 2  # the context's union, then the time's
        out[p + 1] = 2
        p = _put_varint(out, p + 2, times[row])
        for f in range(len(columns)):
            c = columns[f]
            is_missing = lengths[row, c] < 0 if is_text[f] else np.isnan(numbers[row, c])
            out[p] = 0 if is_missing else 2
            p += 1
            if is_missing:
                continue
            if is_text[f]:
                p = _put_varint(out, p, np.int64(lengths[row, c]))
                p = _copy(out, p, text, starts[row, c], starts[row, c] + lengths[row, c])
            else:
                for k in range(8):
                    out[p + k] = np.uint8((bits[row, c] >> np.uint64(8 * k)) & np.uint64(0xFF))
                p += 8
        ends[row] = p


@compiled
def write_scores(
    head: NDArray[np.uint8],
    ids: NDArray[np.int64],
    scores: NDArray[np.uint64],
    decisions: NDArray[np.uint8],
    constant: NDArray[np.uint8],
    scored_at: int,
    event_times: NDArray[np.int64],
    reasons: NDArray[np.uint8],
    reasons_end: NDArray[np.int64],
    topic: NDArray[np.uint8],
    partitions: NDArray[np.int32],
    offsets: NDArray[np.int64],
    contexts: NDArray[np.uint8],
    contexts_end: NDArray[np.int64],
    is_sampled: NDArray[np.bool_],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> None:
    """Write a framed score for each row to ``out``; ``ends`` gets the end of each.

    ``scores`` are the doubles' bits. ``reasons`` and ``contexts`` hold bytes encoded beforehand,
    row after row; those of row ``r`` end at its entry in ``reasons_end`` and ``contexts_end``.
    """
    p = 0
    reason = 0
    context = 0
    for r in range(ids.shape[0]):
        p = _copy(out, p, head, 0, head.shape[0])
        p = _put_varint(out, p, ids[r])
        for k in range(8):
            out[p + k] = np.uint8((scores[r] >> np.uint64(8 * k)) & np.uint64(0xFF))
        p += 8
        p = _put_varint(out, p, np.int64(decisions[r]))
        out[p] = 1 if decisions[r] != 0 else 0
        p = _copy(out, p + 1, constant, 0, constant.shape[0])
        p = _put_varint(out, p, scored_at)
        if event_times[r] == _NO_TIME:
            out[p] = 0
            p += 1
        else:
            out[p] = 2
            p = _put_varint(out, p + 1, event_times[r])
        p = _copy(out, p, reasons, reason, reasons_end[r])
        reason = reasons_end[r]
        out[p] = 0  # end of the array
        p = _copy(out, p + 1, topic, 0, topic.shape[0])
        p = _put_varint(out, p, np.int64(partitions[r]))
        p = _put_varint(out, p, offsets[r])
        if contexts_end[r] == context:
            out[p] = 0
            p += 1
        else:
            p = _copy(out, p, contexts, context, contexts_end[r])
            context = contexts_end[r]
        out[p] = 1 if is_sampled[r] else 0
        p += 1
        ends[r] = p
