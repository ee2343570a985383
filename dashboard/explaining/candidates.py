"""Which inputs a feature reads, and which other values of an input are worth trying."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from dashboard.explaining.population import find_histogram
from schemas.contracts import AMOUNT, NUMBER_INDEX
from stream_scorer.model.bundle import Bundle

Value = float | str | None
"""A value of a column; None is missing."""

MAX_SOURCES: Final = 4
"""A feature of more columns than this, such as the number of missing ones, is left alone: no single
column moves it much."""

_COPY: Final = "copy"
_MAX_LEVELS: Final = 12


def columns_of(bundle: Bundle, feature: str) -> tuple[str, ...]:
    """The columns of the transaction that a feature reads.

    None if it reads too many, reads only the time, or belongs to card history.
    """
    for operation in bundle.features.program.operations:
        if feature not in operation.names:
            continue
        if len(operation.names) == len(operation.columns):  # one feature for each column
            return (operation.columns[operation.names.index(feature)],)
        return operation.columns if len(operation.columns) <= MAX_SOURCES else ()
    return ()


def is_of_history(bundle: Bundle, feature: str) -> bool:
    """Whether a feature is computed from the card's past."""
    history = bundle.features.program.history
    return history is not None and feature in history.names


def find_candidates(bundle: Bundle, column: str, now: Value, most: int) -> list[Value]:
    """Other values of a column, the smallest change first; missing comes last.

    Numbers are the bounds of the reference histogram and those of the golden rows; texts are the
    levels that the model knows and those of the golden rows, the most common first.
    """
    is_number = column in NUMBER_INDEX
    found = _numbers(bundle, column, now) if is_number else _texts(bundle, column, now)
    can_be_missing = now is not None and column != AMOUNT
    kept: list[Value] = [*_thin(found, most - can_be_missing)]
    return [*kept, None] if can_be_missing else kept


def _numbers(bundle: Bundle, column: str, now: Value) -> Sequence[Value]:
    seen = {float(value) for value in _golden(bundle, column) if isinstance(value, int | float)}
    for operation in bundle.features.program.operations:
        if operation.OP == _COPY and column in operation.columns:
            feature = operation.names[operation.columns.index(column)]
            histogram = find_histogram(bundle, feature)
            seen.update(histogram.edges if histogram else ())
    if column == AMOUNT:
        seen = {value for value in seen if value > 0}
    values = sorted(seen)
    if isinstance(now, float):
        return sorted((v for v in values if v != now), key=lambda value: abs(value - now))
    middle = (len(values) - 1) / 2  # nothing is near a missing value, so begin with a usual one
    order = sorted(range(len(values)), key=lambda i: abs(i - middle))
    return [values[i] for i in order]


def _texts(bundle: Bundle, column: str, now: Value) -> Sequence[Value]:
    seen = Counter(value for value in _golden(bundle, column) if isinstance(value, str))
    common = sorted(seen, key=lambda value: (-seen[value], value))
    known: list[str] = []
    for operation, table in zip(
        bundle.features.program.operations, bundle.features.tables, strict=True
    ):
        if column not in operation.columns or len(operation.names) != len(operation.columns):
            continue
        at = operation.columns.index(column)
        levels = (operation.level(table, at, code) for code in range(_MAX_LEVELS))
        known += [level for level in levels if level is not None]
    return [value for value in dict.fromkeys([*common, *known]) if value != now]


def _golden(bundle: Bundle, column: str) -> Iterable[Any]:
    """The values of a column in the golden rows, which were checked when the bundle was loaded."""
    return (row[column] for row in bundle.metadata["golden"]["rows"] if column in row)


def _thin(values: Sequence[Value], most: int) -> Sequence[Value]:
    """At most this many, the first and the last among them."""
    if len(values) <= most:
        return values
    step = (len(values) - 1) / (most - 1)
    return [values[round(i * step)] for i in range(most)]
