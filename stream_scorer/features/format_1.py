"""Reads the features of bundles of format 1, whose features were code and not data.

Their state is ``rows``; ``levels``: text column → level → count in training; ``counts``: number
column or pair ``a|b`` → [first values, second values, counts]; ``means``: number column →
[values, mean amounts]; ``min_count``: a level seen fewer times has no code.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.operations.base import MAX_MIN_COUNT, Operation
from stream_scorer.features.operations.columns import Kind, kind_of
from stream_scorer.features.operations.shares import PairShare, RatioToMean, Share
from stream_scorer.features.operations.texts import Code

_VERSION: Final = 1  # of the feature definition
_KEYS: Final = {"rows", "levels", "counts", "means", "min_count"}


def fingerprint() -> str:
    """The digest by which bundles of format 1 name their features."""
    text = json.dumps([_VERSION, load_builtin(IEEE_CIS).names])
    return hashlib.sha256(text.encode()).hexdigest()


def read_state(state: Any) -> FeatureSet:
    """The feature set of a state of format 1: the built-in program with that state's tables.

    Raises:
        ValueError: the state is invalid, or its tables would take too much memory.
    """
    try:
        features = _read(state)
        features.check()
    except (TypeError, LookupError, ValueError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"not a valid state of a feature set: {error!r}") from error
    return features


def _read(state: Any) -> FeatureSet:
    if type(state) is not dict or state.keys() != _KEYS:
        raise ValueError(f"it must have {', '.join(sorted(_KEYS))}")
    min_count = state["min_count"]
    if type(min_count) is not int or not 1 <= min_count <= MAX_MIN_COUNT:
        raise ValueError(f"min_count is not from 1 to {MAX_MIN_COUNT}")
    program = load_builtin(IEEE_CIS).with_min_count(min_count)
    tables = [_table(operation, state, min_count) for operation in program.operations]
    return FeatureSet(program, state["rows"], tables)


def _table(operation: Operation, state: dict[str, Any], min_count: int) -> Any:
    if isinstance(operation, Code):
        of_columns = [state["levels"][column] for column in operation.columns]
        return [[v for v, n in seen.items() if n >= min_count] for seen in of_columns]
    if isinstance(operation, Share):
        return [_shares(column, state) for column in operation.columns]
    if isinstance(operation, PairShare):
        first, second, counts = state["counts"]["|".join(operation.columns)]
        return {"first": first, "second": second, "counts": counts}
    if isinstance(operation, RatioToMean):
        values, means = state["means"][operation.columns[1]]
        return {"values": values, "means": means}
    return None


def _shares(column: str, state: dict[str, Any]) -> dict[str, Any]:
    if kind_of(column) is Kind.TEXT:
        seen = state["levels"][column]
        return {"levels": list(seen), "counts": list(seen.values())}
    values, _, counts = state["counts"][column]
    return {"values": values, "counts": counts}
