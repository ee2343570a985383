"""Line numbers of a CSV's rows, where cells contain line ends and blank lines lie between rows."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.csv.blocks import line_ends

_RETURN: Final = ord("\r")


class LineCounter:
    """Remembers which lines of a file begin no row.

    Only those are kept, since most files have none. Row 0 is the first one after the header.
    """

    def __init__(self, header_lines: int) -> None:
        self._header_lines = header_lines
        self._rows = 0  # that have ended
        self._blank: list[int] = []  # for each blank line, the row that follows
        self._broken: list[int] = []  # for each line end in a cell, the row it is in

    def count(self, block: bytes) -> None:
        """Count the next block, which begins with a row."""
        ends, is_inside = line_ends(block)
        is_blank = _blank_lines(np.frombuffer(block, np.uint8), ends) & ~is_inside
        finished = np.cumsum(~is_inside & ~is_blank)
        rows = self._rows + finished
        self._blank += rows[is_blank].tolist()
        self._broken += rows[is_inside].tolist()
        self._rows += int(finished[-1]) if len(finished) else 0

    def line(self, row: int) -> int:
        """The line that a row begins at; the header is line 1."""
        extra = np.searchsorted(self._blank, row, "right") + np.searchsorted(self._broken, row)
        return self._header_lines + 1 + row + int(extra)


def _blank_lines(cells: NDArray[np.uint8], ends: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which line ends close a line without any other byte than a carriage return."""
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    sizes = ends - starts
    is_lone_return = (sizes == 1) & (cells[starts] == _RETURN)
    found: NDArray[np.bool_] = (sizes == 0) | is_lone_return
    return found
