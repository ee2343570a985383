"""Parsers of commands, and the types of their arguments, each with its own error message.

The modules and settings of commands are imported only when they are needed.
"""

from __future__ import annotations

import argparse
from typing import Final

_LARGEST: Final = 2**63


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def whole(text: str) -> int:
    """A whole number of 0 or more."""
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def signed_whole(text: str) -> int:
    """A whole number of 64 bits, which may be negative."""
    digits = text.removeprefix("-")
    is_number = digits.isascii() and digits.isdecimal() and len(digits) <= len(str(_LARGEST))
    if not is_number or not -_LARGEST <= int(text) < _LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 64 bits")
    return int(text)


def port(text: str) -> int:
    """A TCP port."""
    number = positive(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port number")
    return number


def rate(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def past_time(text: str) -> int:
    """Epoch milliseconds of a time, or of an age such as ``36h``."""
    from stream_scorer.cli.times import parse_time

    try:
        return parse_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def coordinates(text: str) -> tuple[int, int]:
    """Partition and offset of a record, as ``3-1207`` or ``3:1207``."""
    partition, dash, offset = text.replace(":", "-", 1).partition("-")
    if not (dash and partition.isdecimal() and offset.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not PARTITION-OFFSET, such as 3-1207")
    return int(partition), int(offset)
