"""A selected part of a batch in memory that two processes share, and the messages about it."""

from __future__ import annotations

import marshal
import mmap
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from schemas.batch import HistoryColumns, TransactionBatch
from schemas.framing import names_schema
from schemas.layout import Layout
from schemas.spans import Spans
from stream_scorer.shadow.channel import framed
from stream_scorer.shadow.figures import BINS, Figures
from stream_scorer.shadow.models import Scored
from stream_scorer.stream.outcome import ScoredPart
from stream_scorer.stream.ports import Polled

_ALIGNMENT: Final = 64
_MARSHAL_VERSION: Final = 2  # without a table of what was written before, which takes longer


class TooLarge(Exception):
    """The columns do not fit into the shared memory."""


class Traits(NamedTuple):
    """What the sender has to know of a challenger.

    Attributes:
        version: its version.
        history: the fingerprint of the card history that it reads.
        columns: the number columns that it reads; None: all.
    """

    version: str
    history: str | None
    columns: tuple[str, ...] | None


class Piece(NamedTuple):
    """An array, or its chosen rows; ``place`` is where it goes in shared memory, in bytes."""

    array: NDArray[Any]
    is_by_row: bool
    place: int


class Packed(NamedTuple):
    """A part, ready to be copied into shared memory.

    Attributes:
        message: says where everything is, with its length before it.
        pieces: what is copied.
        rows: the chosen ones, int64; None: all.
        n: how many.
        text: the bytes of all strings.
        starts: int64 ``[rows, columns]``, the first byte of each string in ``text``.
        lengths: int32 ``[rows, columns]``, bytes of each.
        text_place: where the strings go.
    """

    message: bytes
    pieces: list[Piece]
    rows: NDArray[np.int64] | None
    n: int
    text: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]
    text_place: int

    @property
    def nbytes(self) -> int:
        """The memory that it holds."""
        pieces = sum(piece.array.nbytes for piece in self.pieces)
        return pieces + self.text.nbytes + self.starts.nbytes


class Segment:
    """Memory that two processes share: a file without a name, as long as an array uses it.

    Args:
        size: of it, in bytes; only what is used takes memory.
        fd: of an existing one.
    """

    def __init__(self, size: int, fd: int | None = None) -> None:
        self.size = size
        self.fd = _open_file(size) if fd is None else fd
        self._map = mmap.mmap(self.fd, size)
        self.bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)

    def close(self) -> None:
        """Close the descriptor; the memory stays until no array uses it."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def pack(
    polled: Polled,
    part: ScoredPart,
    rows: NDArray[np.int64] | None,
    traits: Traits,
    room: int,
) -> Packed:
    """Get the chosen rows of a part ready to be copied into shared memory of ``room`` bytes.

    The challenger gets the columns, without what it does not need of the records, or the records
    themselves if it reads other columns.

    Raises:
        TooLarge: it does not fit.
    """
    batch, where = part.batch, part.where
    n = len(where) if rows is None else len(rows)
    arrays: dict[str, NDArray[Any]] = {"decisions": part.decisions}
    if batch.history is not None:
        arrays["history"] = batch.history.values
    blobs: dict[str, NDArray[Any]] = {"keys": _dump(polled.keys)}
    blobs["words"] = _words(polled, part, rows)
    if batch.records is not None and needs_decoding(batch, traits):
        starts = np.ascontiguousarray(batch.records.begin)[:, None]
        lengths = arrays["sizes"] = batch.records.size.astype(np.int32)[:, None]
        if any(polled.headers) and any(map(names_schema, polled.headers)):
            blobs["headers"] = _dump([h if names_schema(h) else None for h in polled.headers])
    else:
        starts, lengths = batch.starts, batch.lengths
        arrays |= {"numbers": batch.numbers, "lengths": lengths}
    places, pieces, end = dict[str, Any](), list[Piece](), 0
    for name, array in [*arrays.items(), *blobs.items()]:
        is_by_row = name in arrays
        shape = (n, *array.shape[1:]) if is_by_row else array.shape
        places[name] = (end, array.dtype.str, shape)
        pieces.append(Piece(array, is_by_row, end))
        end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    if end + len(batch.text) > room:
        raise TooLarge(f"{end + len(batch.text)} bytes")
    message = {
        "topic": polled.topic,
        "columns": None if batch.layout is None else batch.layout.columns,
        "history": None if batch.history is None else batch.history.fingerprint,
        "places": places,
        "text": end,
    }
    return Packed(
        framed(orjson.dumps(message)),
        pieces,
        rows,
        n,
        batch.text,
        starts,
        lengths,
        end,
    )


def unpack(message: Mapping[str, Any], segment: NDArray[np.uint8]) -> tuple[Polled, ScoredPart]:
    """The part as the challenger's process sees it: its rows are those of the poll, in order."""
    arrays = {name: _view(segment, place) for name, place in message["places"].items()}
    where, partitions, offsets, ids, times, event_times, scores = arrays["words"]
    n = len(ids)
    history, columns = message["history"], message["columns"]
    sizes = arrays["sizes" if "sizes" in arrays else "lengths"]
    taken = np.maximum(sizes, 0).astype(np.int64)
    ends = taken.cumsum().reshape(taken.shape)
    starts, total = ends - taken, int(ends[-1, -1]) if n else 0
    text = segment[message["text"] : message["text"] + total]
    no_numbers, no_lengths = np.empty((n, 0)), np.empty((n, 0), np.int32)
    batch = TransactionBatch(
        ids,
        times,
        event_times,
        arrays.get("numbers", no_numbers),
        text,
        starts if "lengths" in arrays else np.empty((n, 0), np.int64),
        arrays.get("lengths", no_lengths),
        layout=None if columns is None else Layout(columns),
        history=None if history is None else HistoryColumns(history, arrays["history"]),
        records=Spans(starts[:, 0], taken[:, 0]) if "sizes" in arrays else None,
    )
    rows = where.tolist()
    keys = _load(arrays["keys"])
    headers = _load(arrays["headers"]) if "headers" in arrays else None
    polled = Polled(
        message["topic"],
        [None] * n,
        [keys[row] for row in rows],
        [None] * n if headers is None else [headers[row] for row in rows],
        partitions.astype(np.int32),
        offsets,
        None,
    )
    return polled, ScoredPart(np.arange(n), batch, scores.view(np.float64), arrays["decisions"])


def needs_decoding(batch: TransactionBatch, traits: Traits) -> bool:
    """Whether the champion's columns are not those that the challenger reads."""
    return batch.layout is not None and batch.layout.columns != traits.columns


def scored_message(found: Sequence[Scored]) -> dict[str, Any]:
    """The message with what was scored."""
    return {
        "scored": [
            {
                "moves": one.figures.moves.ravel().tolist(),
                "champion": one.figures.champion.tolist(),
                "challenger": one.figures.challenger.tolist(),
                "seconds": one.seconds,
                "not_finite": one.not_finite,
                "lost": one.lost,
            }
            for one in found
        ]
    }


def read_scored(message: Mapping[str, Any]) -> list[Scored]:
    """What was scored.

    Raises:
        LookupError, TypeError, ValueError: it is no such message.
    """
    return [
        Scored(
            Figures(
                np.array(one["moves"], np.int64).reshape(3, 3),
                np.array(one["champion"], np.int64).reshape(BINS),
                np.array(one["challenger"], np.int64).reshape(BINS),
            ),
            float(one["seconds"]),
            int(one["not_finite"]),
            int(one["lost"]),
        )
        for one in message["scored"]
    ]


def _words(polled: Polled, part: ScoredPart, rows: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """What has eight bytes in each chosen row, int64 ``[7, n]``.

    Few large pieces are handed over sooner than many small ones.
    """
    where, batch = part.where, part.batch
    found = np.empty((7, len(where)), np.int64)
    found[0] = where
    found[1] = polled.partitions[where]
    found[2] = polled.offsets[where]
    found[3], found[4], found[5] = batch.ids, batch.times, batch.event_times
    found[6] = part.scores.view(np.int64)
    return found if rows is None else np.ascontiguousarray(found[:, rows])


def _dump(found: Any) -> NDArray[np.uint8]:
    return np.frombuffer(marshal.dumps(found, _MARSHAL_VERSION), np.uint8)


def _load(array: NDArray[Any]) -> Any:
    """What the scorer has written, which is the same program."""
    return marshal.loads(array.data)  # noqa: S302  # as said above


def _view(segment: NDArray[np.uint8], place: Sequence[Any]) -> NDArray[Any]:
    start, kind, shape = place
    dtype = np.dtype(kind)
    size = int(np.prod(shape)) * dtype.itemsize
    found: NDArray[Any] = segment[start : start + size].view(dtype).reshape(shape)
    return found


def _open_file(size: int) -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("challenger")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd
