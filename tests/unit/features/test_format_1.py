"""States of format 1, in which features were code: they become the built-in program's tables."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.batch import build_batch
from stream_scorer.features import format_1
from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from tests.support.factories import make_transaction

FOLDER = Path(__file__).parents[1] / "model" / "data" / "bundle-format-1"


def published() -> dict[str, Any]:
    """The state of the stored bundle."""
    pickled = pickle.loads((FOLDER / "preprocessor.pkl").read_bytes())
    state: dict[str, Any] = pickled["features"]
    return state


def test_fingerprint_is_the_one_that_was_published() -> None:
    metadata = json.loads((FOLDER / "metadata.json").read_text("utf-8"))
    assert format_1.fingerprint() == metadata["features"]["fingerprint"]


def test_names_are_those_that_were_published() -> None:
    metadata = json.loads((FOLDER / "metadata.json").read_text("utf-8"))
    assert list(load_builtin(IEEE_CIS).names) == metadata["features"]["names"]


def test_state_becomes_a_program_that_survives_in_the_new_format() -> None:
    old = format_1.read_state(published())
    again = type(old).from_state(old.state())
    assert again.program.name == IEEE_CIS
    assert again.rows == published()["rows"]
    batch = build_batch([make_transaction(i, P_emaildomain="gmail.com") for i in range(5)])
    assert np.array_equal(old.transform(batch), again.transform(batch), equal_nan=True)


def test_levels_below_the_count_have_a_share_and_no_code() -> None:
    state = published()
    state["min_count"] = max(state["levels"]["P_emaildomain"].values())
    features = format_1.read_state(state)
    most, other = list(state["levels"]["P_emaildomain"])[:2]
    rows = [make_transaction(1, P_emaildomain=most), make_transaction(2, P_emaildomain=other)]
    matrix = features.transform(build_batch(rows))
    code, share = (features.names.index(f"P_emaildomain{end}") for end in ("", "_frequency"))
    assert matrix[:, code].tolist() == [0.0, -1.0]
    assert matrix[1, share] == state["levels"]["P_emaildomain"][other] / state["rows"]


def corruptions() -> dict[str, Any]:
    state = published()
    card1 = state["counts"]["card1"]
    return {
        "no dict": [],
        "nothing": {},
        "an unknown key": state | {"more": 1},
        "no rows": state | {"rows": 0},
        "rows are text": state | {"rows": "60"},
        "no minimum": state | {"min_count": None},
        "a minimum of 0": state | {"min_count": 0},
        "a column is missing": state | {"levels": {}},
        "levels are a list": state | {"levels": state["levels"] | {"card4": []}},
        "a level's count is text": state | {"levels": state["levels"] | {"card4": {"x": "y"}}},
        "a lone surrogate": state | {"levels": state["levels"] | {"P_emaildomain": {"\ud800": 99}}},
        "a table is short": state | {"counts": state["counts"] | {"card1": [card1[0], [], []]}},
        "a table is nested": state | {"counts": state["counts"] | {"card1": [[card1[0]]] * 3}},
        "keys are fewer than counts": state
        | {"counts": state["counts"] | {"card1": [card1[0][:1], card1[1], card1[2]]}},
        "means are uneven": state | {"means": state["means"] | {"card1": [[1.0, 2.0], [1.0]]}},
        "a huge number": state | {"means": state["means"] | {"card1": [[10**400], [1.0]]}},
    }


@pytest.mark.parametrize("what", list(corruptions()))
def test_corrupt_state_is_a_value_error(what: str) -> None:
    with pytest.raises(ValueError, match="not a valid state of a feature set"):
        format_1.read_state(copy.deepcopy(corruptions()[what]))
