"""Fuzzes the loader of feature sets: a damaged state is refused, or is a state like any other."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from schemas.batch import TransactionBatch, build_batch
from stream_scorer.features.feature_set import FeatureSet
from tests.support.factories import make_transactions
from tests.support.features.plain_features import every_operation

_MOST_MESSAGE: Final = 2000
_VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, 2**70, -(2**70), 0.0, -0.0, 0.5, 1e308, 5e-324,
    math.nan, math.inf, -math.inf, "", "x", "card1", "TransactionAmt", "V1..V339", "..", "id_12",
    "copy", "code", "share", "pair_share", "missing_pattern", "sorcery", "first", "m", ".",
    "é" * 200, "x" * 257, "\ud800", "\0", b"bytes", [], {}, (), [[]], [1.0], ["a"], {"levels": []},
    object(),
)  # fmt: skip


def make_state(rows: int = 40) -> dict[str, Any]:
    """A valid state with every operation, and a few rows."""
    batch = build_batch(make_transactions(rows, 3))
    return FeatureSet.fit(batch, every_operation()).state()


def fuzz_features(states: int, seed: int, step: int = 100) -> Iterator[dict[str, int]]:
    """Load ``states`` damaged states; yields figures after each step.

    Raises:
        AssertionError: a property fails; the error names the seed and the state.
    """
    rng = random.Random(seed)
    valid, batch = make_state(), build_batch(make_transactions(20, 4))
    refused = accepted = 0
    for number in range(states):
        state = _damage(rng, copy.deepcopy(valid))
        try:
            accepted += _load(state, batch)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, state {number}: {error}") from error
        refused = number + 1 - accepted
        if number % step == step - 1 or number == states - 1:
            yield {"states": number + 1, "refused": refused, "accepted": accepted}


def _load(state: Any, batch: TransactionBatch) -> bool:
    try:
        features = FeatureSet.from_state(state)
    except ValueError as error:
        said = str(error)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} instead of a refusal: {error}") from error
    else:
        return _score(features, batch)
    assert 0 < len(said) < _MOST_MESSAGE, "a message nobody can read"
    return False


def _score(features: FeatureSet, batch: TransactionBatch) -> bool:
    matrix = features.transform(batch)
    assert matrix.shape == (len(batch), len(features.names))
    again = np.vstack([features.transform(batch.take(slice(i, i + 1))) for i in range(len(batch))])
    assert np.array_equal(matrix, again, equal_nan=True), "a row depends on its batch"
    return True


def _damage(rng: random.Random, state: dict[str, Any]) -> Any:
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        holders = list(_holders(state))
        holder = rng.choice(holders)
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            continue
        key = rng.choice(keys)
        _change(rng, holder, key, holders)
    return state


def _change(rng: random.Random, holder: Any, key: Any, holders: list[Any]) -> None:
    kind = rng.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), holder[key])
    elif kind == 2 and isinstance(holder, list):
        rng.shuffle(holder)
    elif kind == 3:
        holder[key] = copy.deepcopy(rng.choice(holders))
    elif kind == 4 and isinstance(holder, list):
        holder *= rng.choice((2, 3, 500))
    else:
        holder[key] = rng.choice(_VALUES)


def _holders(value: Any) -> Iterator[Any]:
    """Every list and dictionary within a value."""
    if isinstance(value, dict | list):
        yield value
        for part in value.values() if isinstance(value, dict) else value:
            yield from _holders(part)
