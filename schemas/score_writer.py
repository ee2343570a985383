"""Scores to Avro, a whole batch at a time.

The fixed part of every record is written by a compiled loop; the few flagged records get their
reasons and context from Python, as bytes made beforehand.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.contracts import NUMBER_INDEX, TEXT_INDEX, TIME, load_schema
from schemas.write_kernel import write_scores

_MAX_FIXED_BYTES: Final = 120  # 5 varints of up to 10, 3 doubles, enum, booleans, indices

ReasonLike = tuple[str, str | None, float]


_DOUBLE: Final = struct.Struct("<d")
_PRESENT_DOUBLE: Final = struct.Struct("<Bd")  # the union's index and the value


def varint(value: int) -> bytes:
    """Zig-zag variable-length integer (Avro specification, "Binary Encoding")."""
    word = (value << 1) ^ (value >> 63)
    out = bytearray()
    while word > 0x7F:
        out.append(word & 0x7F | 0x80)
        word >>= 7
    out.append(word)
    return bytes(out)


def _string(text: str) -> bytes:
    data = text.encode("utf-8")
    return varint(len(data)) + data


def encode_scores(
    head: bytes,
    batch: TransactionBatch,
    scores: NDArray[np.float64],
    decisions: NDArray[np.uint8],
    reasons: Mapping[int, Sequence[ReasonLike]],
    thresholds: tuple[float, float],
    model_version: str,
    scored_at: int,
    topic: str,
    partitions: NDArray[np.int32],
    offsets: NDArray[np.int64],
) -> list[bytes]:
    """Fraud scores as framed Avro, one value for each transaction of the batch.

    ``head`` is the framing; ``reasons`` has the flagged rows, which also get their context;
    ``thresholds`` are (review, block); ``scored_at`` is epoch milliseconds; ``topic``,
    ``partitions`` and ``offsets`` are the input coordinates.
    """
    n = len(batch)
    if n == 0:
        return []
    reason_bytes, reasons_end = _gather(n, {r: _reasons(v) for r, v in reasons.items()})
    context_bytes, contexts_end = _gather(n, _contexts(batch, list(reasons)))
    constant = struct.pack("<dd", *thresholds) + _string(model_version)
    topic_bytes = _string(topic)
    room = n * (len(head) + len(constant) + len(topic_bytes) + _MAX_FIXED_BYTES)
    out = np.empty(room + len(reason_bytes) + len(context_bytes), np.uint8)
    ends = np.empty(n, np.int64)
    write_scores(
        np.frombuffer(head, np.uint8),
        batch.ids,
        scores.view(np.uint64),
        decisions,
        np.frombuffer(constant, np.uint8),
        scored_at,
        batch.event_times,
        np.frombuffer(reason_bytes, np.uint8),
        reasons_end,
        np.frombuffer(topic_bytes, np.uint8),
        partitions,
        offsets,
        np.frombuffer(context_bytes, np.uint8),
        contexts_end,
        out,
        ends,
    )
    data = out[: ends[-1]].tobytes()
    stops = ends.tolist()
    return [data[a:b] for a, b in zip([0, *stops[:-1]], stops, strict=True)]


def _gather(n: int, pieces: Mapping[int, bytes]) -> tuple[bytes, NDArray[np.int64]]:
    sizes = np.zeros(n, np.int64)
    for row, piece in pieces.items():
        sizes[row] = len(piece)
    return b"".join(pieces[row] for row in sorted(pieces)), np.cumsum(sizes)


def _reasons(reasons: Sequence[ReasonLike]) -> bytes:
    if not reasons:
        return b""
    parts = [varint(len(reasons))]
    for feature, value, contribution in reasons:
        shown = b"\x00" if value is None else b"\x02" + _string(value)
        parts += (_name(feature), shown, _DOUBLE.pack(contribution))
    return b"".join(parts)


@cache
def _name(feature: str) -> bytes:
    return _string(feature)  # there are some hundred names, and five in each flagged record


@cache
def _context_columns() -> tuple[list[int], list[int], tuple[tuple[int, int], ...]]:
    """Number columns and text columns of the context, and its fields after the time.

    A field is (0, place among the numbers) or (1, place among the texts).
    """
    fields = load_schema("fraud_score")["fields"]
    record = next(f["type"][1] for f in fields if f["name"] == "context")
    names = [f["name"] for f in record["fields"]]
    if names[0] != TIME:
        raise AssertionError("the context begins with the time")
    numbers = [name for name in names if name in NUMBER_INDEX]
    texts = [name for name in names if name in TEXT_INDEX]
    plan = tuple(
        (0, numbers.index(name)) if name in NUMBER_INDEX else (1, texts.index(name))
        for name in names[1:]
    )
    return [NUMBER_INDEX[n] for n in numbers], [TEXT_INDEX[t] for t in texts], plan


def _contexts(batch: TransactionBatch, rows: Sequence[int]) -> dict[int, bytes]:
    """The context of some rows; their columns are taken out for all rows at once."""
    if not rows:
        return {}
    number_columns, text_columns, plan = _context_columns()
    some = np.asarray(rows)
    numbers = batch.numbers[some][:, number_columns].tolist()
    starts = batch.starts[some][:, text_columns].tolist()
    lengths = batch.lengths[some][:, text_columns].tolist()
    text = memoryview(np.ascontiguousarray(batch.text).data)
    found = {}
    for k, (row, time) in enumerate(zip(rows, batch.times[some].tolist(), strict=True)):
        parts = [b"\x02\x02", varint(time)]
        for is_text, place in plan:
            if is_text:
                length = lengths[k][place]
                if length < 0:
                    parts.append(b"\x00")
                else:
                    start = starts[k][place]
                    parts += (b"\x02", varint(length), bytes(text[start : start + length]))
            else:
                value = numbers[k][place]
                parts.append(b"\x00" if value != value else _PRESENT_DOUBLE.pack(2, value))
        found[row] = b"".join(parts)
    return found
