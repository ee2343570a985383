"""What the commands share: their words to the user, and topics that must exist."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import orjson


def say(line: str = "") -> None:
    """One line of a command's result on standard output, there at once for a reader in a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def say_json(value: Any) -> None:
    """One JSON value on one line of standard output."""
    say(orjson.dumps(value).decode())


def note(line: str) -> None:
    """A word to the person at the terminal; never part of the result."""
    sys.stderr.write(line + "\n")


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows as lines whose columns line up; the columns numbered in ``right`` end flush."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def count_noun(number: int, noun: str) -> str:
    """``1 transaction``, ``1,200 transactions``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
