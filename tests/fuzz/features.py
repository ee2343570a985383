"""Fuzzes the loader of feature sets and programs: damaged ones are refused, or are like any other.

Half of the states have card history. Each state's program is also damaged as the text of a file.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from schemas.batch import TransactionBatch, build_batch
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.features.program import ProgramError, parse_program
from tests.support.factories import make_transactions
from tests.support.features.history_programs import CARD, CLIENT, HEAD, everything
from tests.support.features.history_streams import every_row
from tests.support.features.plain_features import EVERY_OPERATION, every_operation

_MOST_MESSAGE: Final = 2000
_VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, 2**70, -(2**70), 0.0, -0.0, 0.5, 1e308, 5e-324,
    math.nan, math.inf, -math.inf, "", "x", "card1", "TransactionAmt", "V1..V339", "..", "id_12",
    "copy", "code", "share", "pair_share", "missing_pattern", "sorcery", "first", "m", ".",
    "count", "gap_before", "mean", "decayed_amount", "count_in", "is_new", "client", "D1", 3600,
    "é" * 200, "x" * 257, "\ud800", "\0", b"bytes", [], {}, (), [[]], [1.0], ["a"], {"levels": []},
    object(),
)  # fmt: skip
_TEXTS: Final = (HEAD + CLIENT + CARD, EVERY_OPERATION + CARD, EVERY_OPERATION)
_SNIPPETS: Final = (
    "[[history]]", "[[history.features]]", "[history]", "[[operation]]", "features = [", "]", "{",
    "}", 'kind = "mean"', "seconds = [1, 2]", "ring = 1", 'space = "client"', '"', "'", "=", "#",
    "\0", "\ud800", "é", "9" * 30, "-1", "nan", "history.ring = 2", 'key = ["card1"]', "\r", '"""',
)  # fmt: skip


def make_state(rows: int = 40, *, with_history: bool = False) -> dict[str, Any]:
    """A valid state with every operation, and a few rows."""
    batch = build_batch(make_transactions(rows, 3))
    return FeatureSet.fit(batch, everything() if with_history else every_operation()).state()


def fuzz_features(states: int, seed: int, step: int = 100) -> Iterator[dict[str, int]]:
    """Load ``states`` damaged states; yields figures after each step.

    Raises:
        AssertionError: a property fails; the error names the seed and the state.
    """
    rng = random.Random(seed)
    valid = [make_state(), make_state(with_history=True)]
    batch = build_batch(make_transactions(20, 4))
    refused = accepted = 0
    for number in range(states):
        state = _damage(rng, copy.deepcopy(valid[number % 2]))
        try:
            accepted += _load(state, batch)
            _parse(_damage_text(rng, rng.choice(_TEXTS)))
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


def _parse(text: str) -> None:
    try:
        parse_program(text, "mine.toml")
    except ProgramError as error:
        said = str(error)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} instead of a refusal: {text!r}") from error
    else:
        return
    assert said.startswith("mine.toml"), f"a message without the file: {said!r} of {text!r}"
    assert len(said) < _MOST_MESSAGE, "a message nobody can read"


def _damage_text(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind == 0:
            del lines[at]
        elif kind == 1:
            lines.insert(at, rng.choice(lines))
        elif kind == 2:
            lines.insert(at, rng.choice(_SNIPPETS))
        elif kind == 3:
            lines[at] = lines[at].partition("=")[0] + "= " + rng.choice(("[]", "{}", "1", "true"))
        elif kind == 4:
            lines[at] = lines[at].replace(rng.choice(('"', "1", "c", "[", "m")), rng.choice(']"1x'))
        else:
            place = rng.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:place] + rng.choice(_SNIPPETS) + lines[at][place:]
        if not lines:
            break
    return "\n".join(lines)


def _score(features: FeatureSet, batch: TransactionBatch) -> bool:
    if (spec := features.program.history) is not None:
        batch = _advance(spec, batch)
    matrix = features.transform(batch)
    assert matrix.shape == (len(batch), len(features.names))
    again = np.vstack([features.transform(batch.take(slice(i, i + 1))) for i in range(len(batch))])
    assert np.array_equal(matrix, again, equal_nan=True), "a row depends on its batch"
    return True


def _advance(spec: HistorySpec, batch: TransactionBatch) -> TransactionBatch:
    """The batch with its history, from one step and from two."""
    n, history = len(batch), PartitionHistory(spec)
    columns, undo = history.columns(batch, np.arange(n), every_row(n))
    history.rollback(undo)
    again = np.empty_like(columns.values)
    for rows in (np.arange(n // 3), np.arange(n // 3, n)):
        history.settle(history.step(batch, rows, every_row(n), again))
    assert np.array_equal(columns.values, again, equal_nan=True), "a history depends on its batches"
    PartitionHistory.restore(spec, history.records())
    return batch.with_history(columns)


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
