"""A selected part of a batch in memory that two processes share, and the messages about it.

A message is JSON; it says where the columns are.
"""

from __future__ import annotations

import json
import marshal
import mmap
import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import HistoryColumns, TransactionBatch
from schemas.layout import Layout
from stream_scorer.shadow.exchange import FAILED, exchange
from stream_scorer.shadow.figures import BINS, Figures
from stream_scorer.shadow.models import Scored
from stream_scorer.stream.outcome import ScoredPart
from stream_scorer.stream.ports import Polled

MESSAGE_MAX_BYTES: Final = 16 * 1024 * 1024
_ALIGNMENT: Final = 64
_LENGTH_BYTES: Final = 4
_COLUMNS: Final = ("ids", "times", "event_times", "numbers", "text", "starts", "lengths")
_CHUNK_BYTES: Final = 1024 * 1024
_ANSWER_BYTES: Final = 64 * 1024


class TooLarge(Exception):
    """The columns do not fit into the shared memory."""


class Traits(NamedTuple):
    """What the sender has to know of a challenger.

    Attributes:
        version: its version.
        preprocessor: the digest of its fitted features.
        history: the fingerprint of the card history that it reads.
        columns: the number columns that it reads; None: all.
    """

    version: str
    preprocessor: str | None
    history: str | None
    columns: tuple[str, ...] | None


class Packed(NamedTuple):
    """A part, ready to be copied into shared memory.

    Attributes:
        message: says where the columns are.
        arrays: keeps them.
        sources: their addresses, int64 ``[n]``.
        sizes: in bytes, int64 ``[n]``.
        starts: where each goes, int64 ``[n]``.
    """

    message: dict[str, Any]
    arrays: list[NDArray[Any]]
    sources: NDArray[np.int64]
    sizes: NDArray[np.int64]
    starts: NDArray[np.int64]


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


class Channel:
    """Messages between the two processes, over a connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = bytearray()
        self._answer = np.empty(_ANSWER_BYTES, np.uint8)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message.

        Raises:
            OSError: the other side has ended.
        """
        self._connection.sendall(_framed(message))

    def receive(self, timeout: float | None = None) -> dict[str, Any]:
        """The next message.

        Raises:
            TimeoutError: there is none for ``timeout`` seconds.
            EOFError, OSError: the other side has ended.
            ValueError: it is no message.
        """
        if timeout != self._connection.gettimeout():
            self._connection.settimeout(timeout)
        length = int.from_bytes(self._read(_LENGTH_BYTES, taken=0), "big")
        if length > MESSAGE_MAX_BYTES:
            raise ValueError(f"a message of {length} bytes")
        found = json.loads(self._read(_LENGTH_BYTES + length, _LENGTH_BYTES))
        del self._received[: _LENGTH_BYTES + length]
        if not isinstance(found, dict):
            raise ValueError("a message that is no object")
        return found

    def hand_over(self, packed: Packed, segment: Segment) -> dict[str, Any]:
        """Copy a part into shared memory, send the message about it, and wait for the answer.

        Raises:
            EOFError, OSError: the other side has ended.
            ValueError: its answer is no message.
        """
        if self._connection.gettimeout() is not None:
            self._connection.settimeout(None)  # the call below blocks
        found = exchange(
            packed.sources,
            packed.sizes,
            packed.starts,
            segment.bytes,
            self._connection.fileno(),
            np.frombuffer(_framed(packed.message), np.uint8),
            self._answer,
        )
        if found == FAILED:
            raise BrokenPipeError("the other side has ended")
        self._received += self._answer[:found].tobytes()
        return self.receive()

    def end(self) -> None:
        """Send and receive nothing more; any thread may call this.

        A pending :meth:`receive` on either side raises EOFError.
        """
        with suppress(OSError):  # the other side has ended before
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        self._connection.close()

    def _read(self, length: int, taken: int) -> bytes:
        """What was received from ``taken`` to ``length``; after a timeout it continues there."""
        while len(self._received) < length:
            chunk = self._connection.recv(_CHUNK_BYTES)
            if not chunk:
                raise EOFError("the other side has ended")
            self._received += chunk
        return bytes(self._received[taken:length])


def pack(polled: Polled, keys: bytes, part: ScoredPart, traits: Traits, room: int) -> Packed:
    """Get a part ready to be copied into shared memory of ``room`` bytes.

    Raises:
        TooLarge: it does not fit.
    """
    batch, where = part.batch, part.where
    arrays: dict[str, NDArray[Any]] = {
        "keys": np.frombuffer(keys, np.uint8),
        "where": where,
        "partitions": polled.partitions[where],
        "offsets": polled.offsets[where],
        "scores": part.scores,
        "decisions": part.decisions,
        **{name: getattr(batch, name) for name in _COLUMNS},
    }
    if part.matrix is not None:
        arrays["matrix"] = part.matrix
    if batch.history is not None:
        arrays["history"] = batch.history.values
    if part.matrix is None and needs_decoding(batch, traits):
        rows = where.tolist()
        records = [polled.values[row] for row in rows], [polled.headers[row] for row in rows]
        arrays["records"] = np.frombuffer(marshal.dumps(records), np.uint8)
    places: dict[str, Any] = {}
    kept, starts, end = list[NDArray[Any]](), list[int](), 0
    for name, array in arrays.items():
        places[name] = (end, array.dtype.str, array.shape)
        kept.append(np.ascontiguousarray(array))
        starts.append(end)
        end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    if end > room:
        raise TooLarge(f"{end} bytes")
    message = {
        "topic": polled.topic,
        "columns": None if batch.layout is None else batch.layout.columns,
        "history": None if batch.history is None else batch.history.fingerprint,
        "places": places,
    }
    return Packed(
        message,
        kept,
        np.array([array.ctypes.data for array in kept], np.int64),
        np.array([array.nbytes for array in kept], np.int64),
        np.array(starts, np.int64),
    )


def unpack(message: Mapping[str, Any], segment: NDArray[np.uint8]) -> tuple[Polled, ScoredPart]:
    """The part as the challenger's process sees it: its rows are those of the poll, in order."""
    arrays = {name: _view(segment, place) for name, place in message["places"].items()}
    n = len(arrays["ids"])
    history, columns = message["history"], message["columns"]
    batch = TransactionBatch(
        **{name: arrays[name] for name in _COLUMNS},
        layout=None if columns is None else Layout(columns),
        history=None if history is None else HistoryColumns(history, arrays["history"]),
    )
    rows = arrays["where"].tolist()
    keys = _load(arrays["keys"])
    values, headers = _load(arrays["records"]) if "records" in arrays else ([None] * n, [None] * n)
    polled = Polled(
        message["topic"],
        values,
        [keys[row] for row in rows],
        headers,
        arrays["partitions"],
        arrays["offsets"],
        None,
    )
    part = ScoredPart(
        np.arange(n), batch, arrays.get("matrix"), arrays["scores"], arrays["decisions"]
    )
    return polled, part


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


def _load(array: NDArray[Any]) -> Any:
    """What the scorer has written, which is the same program."""
    return marshal.loads(array.data)  # noqa: S302  # as said above


def _framed(message: Mapping[str, Any]) -> bytes:
    body = json.dumps(message).encode()
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


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
