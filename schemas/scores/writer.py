"""Encodes scores as Avro, a whole batch at a time.

A compiled loop writes the fixed part of every record. The reasons of the few flagged records, and
the context of flagged and sampled ones, are encoded beforehand and passed to the loop as bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.avro.write_kernel import write_contexts, write_scores
from schemas.batch import TransactionBatch
from schemas.contracts import NUMBER_INDEX, TEXT_INDEX, TIME, load_schema
from schemas.layout import number_cells

_MAX_FIXED_BYTES: Final = 120  # 5 varints of up to 10 bytes, 3 doubles, enum, booleans, indices
_MAX_CONTEXT_BYTES: Final = 256  # without texts: 14 fields of up to 11 bytes, the time, indices

ReasonLike = tuple[str, str | None, float]


_DOUBLE: Final = struct.Struct("<d")


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
    is_sampled: NDArray[np.bool_] | None = None,
) -> list[bytes]:
    """Fraud scores as framed Avro, one value for each transaction of the batch.

    ``head`` is the framing. ``reasons`` has the flagged rows, which also get their context.
    ``thresholds`` are (review, block). ``scored_at`` is in epoch milliseconds. ``topic``,
    ``partitions`` and ``offsets`` are the source coordinates. ``is_sampled`` marks the unflagged
    rows of the random lane, which get their context too; None: there are none.
    """
    n = len(batch)
    if n == 0:
        return []
    reason_bytes, reasons_end = _gather(n, {r: _reasons(v) for r, v in reasons.items()})
    sampled = np.zeros(n, np.bool_) if is_sampled is None else is_sampled
    shown = [*reasons, *np.flatnonzero(sampled).tolist()]
    context_bytes, contexts_end = _contexts(batch, shown)
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
        context_bytes,
        contexts_end,
        sampled,
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
        if value is None:
            parts += (_name(feature), b"\x00", _DOUBLE.pack(contribution))
        else:
            text = value.encode("utf-8")
            parts += (_name(feature), b"\x02", _length(len(text)), text, _DOUBLE.pack(contribution))
    return b"".join(parts)


@cache
def _name(feature: str) -> bytes:
    return _string(feature)  # a few hundred names, five in each flagged record


@cache
def _length(size: int) -> bytes:
    return varint(size)  # the lengths of shown values: at most a few hundred


@cache
def _context_plan() -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """For each field of the context after the time: whether it is text, and its column."""
    fields = load_schema("fraud_score")["fields"]
    record = next(f["type"][1] for f in fields if f["name"] == "context")
    names = [f["name"] for f in record["fields"]]
    if names[0] != TIME:
        raise AssertionError("the context must start with the time")
    places = [
        (n in TEXT_INDEX, TEXT_INDEX[n] if n in TEXT_INDEX else NUMBER_INDEX[n]) for n in names[1:]
    ]
    return np.array([p[0] for p in places]), np.array([p[1] for p in places], np.int64)


def _contexts(
    batch: TransactionBatch, shown: Iterable[int]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The concatenated contexts of the rows that have one, and the end of each row's context."""
    ends = np.zeros(len(batch), np.int64)
    rows = np.array(sorted(shown), np.int64)
    is_text, columns = _context_plan()
    if (layout := batch.layout) is not None:
        columns = columns.copy()
        columns[~is_text] = number_cells(layout, columns[~is_text].tolist())
    texts = np.maximum(batch.lengths[rows][:, columns[is_text]], 0).sum()
    out = np.empty(len(rows) * _MAX_CONTEXT_BYTES + int(texts), np.uint8)
    write_contexts(
        rows, batch.times, batch.numbers, batch.text, batch.starts, batch.lengths,
        is_text, columns, out, ends,
    )  # fmt: skip
    return out, ends
