"""A CSV stream in blocks of whole rows, so that each can be parsed by itself, in memory.

Arrow's own streaming reader reads ahead in a thread of its pool. A reader that is dropped before
the end of its file makes a thread of that pool wait, and after a few such files the next one hangs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

_NEWLINE: Final = ord("\n")
_QUOTE: Final = ord('"')
_BEFORE_QUOTED: Final = np.zeros(256, np.bool_)  # bytes that may precede a quoted cell's quote
_BEFORE_QUOTED[list(b',\n\r"')] = True  # a quote: the second one of an escaped pair
_QUOTED_CELL: Final = re.compile(rb'(?:^|(?<=[,\r\n]))"[^"]*+(?:""[^"]*+)*+"?')


class LongRowError(ValueError):
    """A row does not fit into a block."""


class OpenQuoteError(ValueError):
    """The last quoted cell never ends: Arrow would take all rows after its quote for a text.

    Attributes:
        lines: line ends before the quote, in the block that was not yielded.
    """

    def __init__(self, lines: int) -> None:
        super().__init__(lines)
        self.lines = lines


def row_blocks(stream: BinaryIO, block_bytes: int) -> Iterator[bytes]:
    """The rest of the stream, from the start of a row on, in blocks of at most ``block_bytes``.

    Each block ends with a row's line end; the last one may end without.

    Raises:
        LongRowError: a row is longer than a block.
        OpenQuoteError: the last quoted cell never ends.
    """
    rest = b""
    while True:
        parts, size = [rest], len(rest)
        while size < block_bytes and (part := stream.read(block_bytes - size)):
            parts.append(part)
            size += len(part)
        block = b"".join(parts)
        if size < block_bytes:
            quotes = _quotes(block)
            if len(quotes) % 2:
                raise OpenQuoteError(block.count(b"\n", 0, int(quotes[-1])))
            if block:
                yield block
            return
        end = _end_of_rows(block)
        if not end:
            raise LongRowError
        yield block[:end]
        rest = block[end:]


def line_ends(block: bytes) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The place of each newline, and whether it is inside a quoted cell.

    ``block`` begins with a row.
    """
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == _NEWLINE)
    return ends, np.searchsorted(_quotes(block), ends) % 2 == 1


def _quotes(block: bytes) -> NDArray[np.intp]:
    """The places of the quotes that begin and end quoted cells; the last one may not end.

    As in Arrow's parser, a quote begins a quoted cell only as the first byte of a cell; elsewhere
    it is text.
    """
    if b'"' not in block:
        return np.empty(0, np.intp)
    cells = np.frombuffer(block, np.uint8)
    quotes = np.flatnonzero(cells == _QUOTE)
    opening = quotes[::2]
    before = cells[opening - 1]  # of one at the start of the block: the last byte, see below
    if not _BEFORE_QUOTED[before[opening > 0]].all():  # there is a quote inside a plain cell
        spans = [found.span() for found in _QUOTED_CELL.finditer(block)]
        quotes = np.array([(start, end - 1) for start, end in spans], np.intp).reshape(-1)
        if spans and not _is_closed(block, *spans[-1]):
            quotes = quotes[:-1]
    return quotes


def _is_closed(block: bytes, start: int, end: int) -> bool:
    """Whether the quoted cell ``block[start:end]`` ends with its closing quote."""
    inner = block[start + 1 : end]
    return (len(inner) - len(inner.rstrip(b'"'))) % 2 == 1


def _end_of_rows(block: bytes) -> int:
    """How many bytes the whole rows of the block take."""
    ends, is_inside = line_ends(block)
    outside = ends[~is_inside]
    if len(outside):
        return int(outside[-1]) + 1
    if len(ends) == 0 and b'"' not in block:
        return block.rfind(b"\r", 0, len(block) - 1) + 1  # lines that end with nothing else
    return 0
