"""Every operation there is, by name and version. One that was published stays for ever."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Final

from stream_scorer.features.operations.base import Operation
from stream_scorer.features.operations.missing import MissingCount, MissingPattern
from stream_scorer.features.operations.numbers import (
    CentFraction,
    Cents,
    Copy,
    Difference,
    MinusDay,
)
from stream_scorer.features.operations.reading import FieldFault, Fields, shown
from stream_scorer.features.operations.shares import PairShare, RatioToMean, Share
from stream_scorer.features.operations.texts import Code, Equal, LevelCode, TextPart
from stream_scorer.features.operations.times import Hour, Weekday

_ALL: Final[tuple[type[Operation], ...]] = (
    Copy,
    Code,
    LevelCode,
    TextPart,
    Share,
    PairShare,
    RatioToMean,
    Cents,
    CentFraction,
    Difference,
    MinusDay,
    Hour,
    Weekday,
    Equal,
    MissingCount,
    MissingPattern,
)

OPERATIONS: Final = {(operation.OP, operation.VERSION): operation for operation in _ALL}


class UnknownOperation(FieldFault):
    """An operation, or a version of one, that this code does not have."""


def read_operation(plain: Any) -> Operation:
    """An operation from plain data.

    Raises:
        UnknownOperation: this code has no such operation or version.
        FieldFault: a field is missing, wrong or unknown.
    """
    if type(plain) is not dict or not all(type(key) is str for key in plain):
        raise FieldFault("op", f"an operation must be a table of fields, not {shown(plain)}")
    source = Fields(plain)
    return find_operation(source.text("op"), source.integer("version", 1, 2**31)).read(source)


def find_operation(op: str, version: int) -> type[Operation]:
    """The operation of this name and version.

    Raises:
        UnknownOperation: this code has no such operation or version.
    """
    if (found := OPERATIONS.get((op, version))) is not None:
        return found
    versions = [known for name, known in OPERATIONS if name == op]
    if versions:
        has = ", ".join(map(str, versions))
        raise UnknownOperation("version", f"{op} has version {has}, not {version}", version)
    names = sorted({name for name, _ in OPERATIONS})
    near = get_close_matches(op[:100], names, 1)
    hint = f"did you mean {near[0]}?" if near else f"the operations are {', '.join(names)}"
    raise UnknownOperation("op", f"unknown operation {shown(op)}; {hint}", op)
