"""Which offsets of a partition held inputs, and which of those still lack an outcome. Pure.

One bit per offset while a block is in use, compressed otherwise: a block of 65,536 offsets without
gaps and without missing outcomes takes no bytes; one with a gap every 500 offsets takes about 300.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

BLOCK_OFFSETS: Final = 65_536

_Bits = NDArray[np.bool_]


class CompletedOffsets:
    """The offsets of one partition whose stripe is complete."""

    def __init__(self) -> None:
        self._present: dict[int, bytes] = {}
        self._unanswered: dict[int, bytes] = {}
        self._missing: dict[int, int] = {}

    def add(self, base: int, present: _Bits, unanswered: _Bits) -> None:
        """Add the offsets from ``base`` on; none of them may have been added before."""
        stop = base + len(present)
        for block in range(base // BLOCK_OFFSETS, -(-stop // BLOCK_OFFSETS)):
            start = block * BLOCK_OFFSETS
            low, high = max(base, start), min(stop, start + BLOCK_OFFSETS)
            here, there = slice(low - start, high - start), slice(low - base, high - base)
            for kept, new in ((self._present, present), (self._unanswered, unanswered)):
                bits = _unpack(kept.get(block))
                bits[here] = new[there]
                _keep(kept, block, bits)
            self._recount(block)

    def mark_present(self, offsets: NDArray[np.int64]) -> None:
        """Record that these offsets held inputs."""
        for block, rows in _by_block(offsets):
            bits = _unpack(self._present.get(block))
            bits[offsets[rows] - block * BLOCK_OFFSETS] = True
            _keep(self._present, block, bits)

    def gaps(self, low: int, high: int) -> list[int]:
        """Lengths of the runs of offsets from ``low`` to ``high`` that held no input."""
        found, reached = [], low
        for block in sorted(b for b in self._present if low < (b + 1) * BLOCK_OFFSETS):
            start = block * BLOCK_OFFSETS
            held = np.flatnonzero(_unpack(self._present[block])) + start
            held = held[(held >= low) & (held < high)]
            if len(held):
                before = np.diff(held, prepend=reached - 1) - 1
                found += before[before > 0].tolist()
                reached = int(held[-1]) + 1
        return [*found, high - reached] if high > reached else found

    def lookup(self, offsets: NDArray[np.int64]) -> tuple[_Bits, _Bits]:
        """For each offset: whether it held an input, and whether that input lacks an outcome."""
        present = np.zeros(len(offsets), np.bool_)
        unanswered = np.zeros(len(offsets), np.bool_)
        for block, rows in _by_block(offsets):
            cells = offsets[rows] - block * BLOCK_OFFSETS
            present[rows] = _unpack(self._present.get(block))[cells]
            unanswered[rows] = _unpack(self._unanswered.get(block))[cells]
        return present, unanswered

    def mark_answered(self, offsets: NDArray[np.int64]) -> None:
        """Record that the inputs at these offsets have an outcome."""
        for block, rows in _by_block(offsets):
            bits = _unpack(self._unanswered.get(block))
            bits[offsets[rows] - block * BLOCK_OFFSETS] = False
            _keep(self._unanswered, block, bits)
            self._recount(block)

    def count_unanswered(self, low: int, high: int) -> int:
        """Number of inputs without an outcome from ``low`` (inclusive) to ``high`` (exclusive)."""
        total = 0
        for block, count in self._missing.items():
            start = block * BLOCK_OFFSETS
            if low <= start and start + BLOCK_OFFSETS <= high:
                total += count
            elif low < start + BLOCK_OFFSETS and start < high:
                bits = _unpack(self._unanswered.get(block))
                total += int(np.count_nonzero(bits[max(0, low - start) : max(0, high - start)]))
        return total

    def unanswered(self, low: int, high: int) -> Iterator[int]:
        """Offsets of the inputs without an outcome in that range, in ascending order."""
        for block in sorted(self._missing):
            start = block * BLOCK_OFFSETS
            for cell in np.flatnonzero(_unpack(self._unanswered.get(block))).tolist():
                if low <= start + cell < high:
                    yield start + cell

    def forget_before(self, offset: int) -> None:
        """Drop the blocks that end at or before ``offset``: retention has removed their inputs."""
        for kept in (self._present, self._unanswered, self._missing):
            for block in [b for b in kept if (b + 1) * BLOCK_OFFSETS <= offset]:
                del kept[block]

    def as_state(self) -> dict[str, dict[str, str]]:
        """JSON values for :meth:`from_state`."""
        return {
            "present": {str(b): base64.b64encode(v).decode() for b, v in self._present.items()},
            "unanswered": {
                str(b): base64.b64encode(v).decode() for b, v in self._unanswered.items()
            },
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Mapping[str, str]]) -> CompletedOffsets:
        """Restore the result of :meth:`as_state`."""
        restored = cls()
        restored._present = {int(b): base64.b64decode(v) for b, v in state["present"].items()}
        restored._unanswered = {int(b): base64.b64decode(v) for b, v in state["unanswered"].items()}
        for block in restored._unanswered:
            restored._recount(block)
        return restored

    def _recount(self, block: int) -> None:
        count = int(np.count_nonzero(_unpack(self._unanswered.get(block))))
        if count:
            self._missing[block] = count
        else:
            self._missing.pop(block, None)


_FULL: Final = b"1"  # stands for a block with all bits set; never a valid zlib stream


def _keep(kept: dict[int, bytes], block: int, bits: _Bits) -> None:
    if not bits.any():
        kept.pop(block, None)
    elif bits.all():
        kept[block] = _FULL
    else:
        kept[block] = zlib.compress(np.packbits(bits).tobytes(), 1)


def _unpack(packed: bytes | None) -> _Bits:
    if packed is None:
        return np.zeros(BLOCK_OFFSETS, np.bool_)
    if packed == _FULL:
        return np.ones(BLOCK_OFFSETS, np.bool_)
    raw = np.frombuffer(zlib.decompress(packed), np.uint8)
    return np.unpackbits(raw).astype(np.bool_)


def _by_block(offsets: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[Any]]]:
    blocks = offsets // BLOCK_OFFSETS
    for block in np.unique(blocks).tolist():
        yield block, np.flatnonzero(blocks == block)
