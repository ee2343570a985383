"""Line numbers of a CSV's rows, where cells contain line ends and blank lines lie between rows."""

from __future__ import annotations

from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

_NEWLINE: Final = ord("\n")
_QUOTE: Final = ord('"')
_RETURN: Final = ord("\r")


class LineCounter:
    """Passes a stream on, and remembers which lines begin no row.

    Only those are kept, since most files have none. Row 0 is the first one after the header.
    """

    def __init__(self, stream: BinaryIO, header_lines: int) -> None:
        self._stream = stream
        self._header_lines = header_lines
        self._rows = 0  # that have ended
        self._is_quoted = False
        self._is_at_start = True  # of a line, with nothing but a carriage return read of it
        self._blank: list[int] = []  # for each blank line, the row that follows
        self._broken: list[int] = []  # for each line end in a cell, the row it is in

    closed = False

    def read(self, size: int = -1) -> bytes:
        """The next bytes, counted."""
        block = self._stream.read(size)
        self._count(block)
        return block

    def line(self, row: int) -> int:
        """The line that a row begins at; the header is line 1."""
        extra = np.searchsorted(self._blank, row, "right") + np.searchsorted(self._broken, row)
        return self._header_lines + 1 + row + int(extra)

    def _count(self, block: bytes) -> None:
        if not block:
            return
        cells = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(cells == _NEWLINE)
        if self._is_quoted or b'"' in block:
            quotes = np.cumsum(cells == _QUOTE) + int(self._is_quoted)
            is_inside = quotes[ends] % 2 == 1
            self._is_quoted = bool(quotes[-1] % 2)
        else:
            is_inside = np.zeros(len(ends), np.bool_)
        is_blank = self._blank_lines(cells, ends) & ~is_inside
        finished = np.cumsum(~is_inside & ~is_blank)
        rows = self._rows + finished
        self._blank += rows[is_blank].tolist()
        self._broken += rows[is_inside].tolist()
        self._rows += int(finished[-1]) if len(finished) else 0

    def _blank_lines(self, cells: NDArray[np.uint8], ends: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which line ends close a line without any other byte than a carriage return."""
        starts = np.concatenate([[0], ends + 1])
        sizes = np.diff(np.concatenate([starts, [len(cells)]]))
        lone = np.zeros(len(starts), np.bool_)
        one = sizes == np.concatenate([np.full(len(ends), 2), [1]])
        lone[one] = cells[starts[one]] == _RETURN
        is_empty = lone | (sizes == np.concatenate([np.ones(len(ends), np.int64), [0]]))
        if len(is_empty) == 1:
            self._is_at_start = self._is_at_start and bool(is_empty[0])
        else:
            is_empty[0] &= self._is_at_start
            self._is_at_start = bool(is_empty[-1])
        before_end: NDArray[np.bool_] = is_empty[:-1]
        return before_end
