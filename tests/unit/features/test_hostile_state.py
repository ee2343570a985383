"""States of feature sets that anyone may have written: refused with a reason, at a bounded cost."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from schemas.batch import build_batch
from schemas.contracts import NUMBER_COLUMNS, TEXT_COLUMNS
from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.program import ProgramError, UnknownOperationError
from tests.fuzz.features import fuzz_features, make_state
from tests.support.factories import make_transactions
from tests.support.features.plain_features import every_operation

State = dict[str, Any]
OPERATIONS = every_operation().operations


@contextmanager
def cheap(megabytes: float, seconds: float = 20.0) -> Iterator[None]:
    tracemalloc.start()
    started = time.thread_time()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1e6
        assert time.thread_time() - started < seconds
    finally:
        tracemalloc.stop()


def number_of(op: str) -> int:
    """The number of the first operation of this name, from 1 on."""
    return next(i for i, o in enumerate(OPERATIONS, 1) if op == o.OP)


def table(state: State, op: str) -> Any:
    return state["tables"][number_of(op) - 1]


def test_random_damage_is_refused_or_harmless() -> None:
    """``make fuzz`` does the same 20,000 times."""
    *_, figures = fuzz_features(250, seed=5)
    assert figures["states"] == 250
    assert figures["refused"] > 100
    assert figures["accepted"] > 10


def change(op: str, edit: Callable[[Any], object]) -> Callable[[State], None]:
    def apply(state: State) -> None:
        edit(table(state, op))

    return apply


def put(op: str, value: object) -> Callable[[State], None]:
    def apply(state: State) -> None:
        state["tables"][number_of(op) - 1] = value

    return apply


DAMAGED: dict[str, tuple[str, Callable[[State], object], str]] = {
    "a level twice": (
        "code",
        change("code", lambda t: t[1].extend(t[1][:1])),
        "a level occurs twice",
    ),
    "a level that is a number": ("code", change("code", lambda t: t[1].append(3)), "3, not a text"),
    "a lone surrogate": ("code", change("code", lambda t: t[1].append("\ud800")), "surrogates"),
    "a long level": (
        "code",
        change("code", lambda t: t[1].append("é" * 129)),
        "over|longer than 256",
    ),
    "a column too few": ("code", change("code", lambda t: t.pop()), "has 3 items where it needs 4"),
    "no table": ("code", put("code", None), "must be a list, not NoneType"),
    "a table of another operation": ("share", put("share", {"first": []}), "must be a list"),
    "counts too few": (
        "share",
        change("share", lambda t: t[0]["counts"].pop()),
        "has 29|items where",
    ),
    "a count of 0": (
        "share",
        change("share", lambda t: t[0]["counts"].__setitem__(0, 0)),
        "count is 0",
    ),
    "a count that is a share": (
        "share",
        change("share", lambda t: t[0]["counts"].__setitem__(0, 0.5)),
        "count is 0.5, not from 1",
    ),
    "a count over all rows": (
        "share",
        change("share", lambda t: t[0]["counts"].__setitem__(0, 10**9)),
        "not from 1 to 40 rows",
    ),
    "counts over all rows": (
        "share",
        change("share", lambda t: t[0]["counts"].__setitem__(0, 40)),
        "add up to more than 40 rows",
    ),
    "values for a text": (
        "share",
        change("share", lambda t: t.__setitem__(1, t[0])),
        "must have exactly levels, counts",
    ),
    "a number twice": (
        "share",
        change("share", lambda t: t[0]["values"].__setitem__(0, t[0]["values"][1])),
        "a number occurs twice",
    ),
    "a number that is NaN": (
        "share",
        change("share", lambda t: t[0]["values"].__setitem__(0, float("nan"))),
        "nan where it needs a finite number",
    ),
    "a pair twice": (
        "pair_share",
        change(
            "pair_share",
            lambda t: [t[k].__setitem__(0, t[k][1]) for k in ("first", "second")],
        ),
        "a pair of numbers occurs twice",
    ),
    "a mean of 0": (
        "ratio_to_mean",
        change("ratio_to_mean", lambda t: t["means"].__setitem__(0, 0.0)),
        "a mean is not positive",
    ),
    "a mean too many": (
        "ratio_to_mean",
        change("ratio_to_mean", lambda t: t["means"].append(1.0)),
        "items where it needs",
    ),
    "a pattern that is too long": (
        "missing_pattern",
        change("missing_pattern", lambda t: t.append("......")),
        "is not 5 characters",
    ),
    "a pattern of other characters": (
        "missing_pattern",
        change("missing_pattern", lambda t: t.append(".x...")),
        "is not 5 characters",
    ),
    "a table that a copy has": ("copy", put("copy", []), "copy has no table"),
    "a table that levels have": ("level_code", put("level_code", []), "level_code has no table"),
}


@pytest.mark.parametrize("what", list(DAMAGED))
def test_damaged_table_is_refused_and_its_operation_named(what: str) -> None:
    op, damage, said = DAMAGED[what]
    state = make_state()
    FeatureSet.from_state(state)  # valid until it is damaged
    damage(state)
    with pytest.raises(ProgramError, match=rf"^operation {number_of(op)} \({op}/1\): .*({said})"):
        FeatureSet.from_state(state)


WHOLE: dict[str, Callable[[State], Any]] = {
    "a list": lambda s: [s],
    "a key more": lambda s: s | {"more": 1},
    "a table too few": lambda s: s | {"tables": s["tables"][:-1]},
    "tables that are a dict": lambda s: s | {"tables": {}},
    "negative rows": lambda s: s | {"rows": -1},
    "rows that are true": lambda s: s | {"rows": True},
    "rows beyond a double": lambda s: s | {"rows": 2**60},
    "no program": lambda s: s | {"program": None},
}


@pytest.mark.parametrize("what", list(WHOLE))
def test_state_of_another_shape_is_refused(what: str) -> None:
    with pytest.raises(ValueError, match=r"state|tables|rows|program"):
        FeatureSet.from_state(WHOLE[what](make_state()))


def test_unknown_operation_is_named() -> None:
    state = make_state()
    state["program"]["operations"][3]["op"] = "sorcery"
    with pytest.raises(UnknownOperationError, match=r"operation 4 \(sorcery/1\): op: unknown"):
        FeatureSet.from_state(state)


def state_of(*operations: dict[str, Any], tables: list[Any] | None = None) -> State:
    plain = {"format": 1, "name": "hostile/1", "title": "", "operations": list(operations)}
    rows = 10**6
    return {"program": plain, "rows": rows, "tables": tables or [None] * len(operations)}


def operation(op: str, names: list[str], columns: list[str], **fields: Any) -> dict[str, Any]:
    base = {"op": op, "version": 1, "group": "g", "columns": columns, "names": names}
    return base | fields


def test_declared_levels_cost_a_bounded_amount() -> None:
    """2,048 levels for each of thousands of features would be gigabytes."""
    levels = [f"{i}" for i in range(2048)]
    operations = [
        operation("level_code", [f"f{i}_{j}" for j in range(31)], list(TEXT_COLUMNS), levels=levels)
        for i in range(120)
    ]
    with cheap(megabytes=60), pytest.raises(ProgramError, match="levels and counts"):
        FeatureSet.from_state(state_of(*operations))


def test_columns_of_all_operations_are_bounded() -> None:
    operations = [
        operation("missing_count", [f"f{i}"], [*NUMBER_COLUMNS, *TEXT_COLUMNS]) for i in range(512)
    ]
    with cheap(megabytes=60), pytest.raises(ProgramError, match="read more than 16384 columns"):
        FeatureSet.from_state(state_of(*operations))


def test_largest_program_is_accepted_and_scores() -> None:
    operations = [
        operation("copy", [f"f{i}_{j}" for j in range(400)], list(NUMBER_COLUMNS))
        for i in range(10)
    ]
    features = FeatureSet.from_state(state_of(*operations))
    batch = build_batch(make_transactions(3, 1))
    assert features.transform(batch).shape == (3, 4000)


def test_levels_that_are_shared_count_for_each_column() -> None:
    levels = [f"{i}" for i in range(200_000)]
    code = operation("code", list(TEXT_COLUMNS), list(TEXT_COLUMNS), min_count=1)
    state = state_of(code, tables=[[levels] * len(TEXT_COLUMNS)])
    with cheap(megabytes=60), pytest.raises(ProgramError, match="more than 1000000 levels"):
        FeatureSet.from_state(state)


def test_state_that_a_loader_would_refuse_is_refused_when_it_is_built() -> None:
    program = load_builtin(IEEE_CIS)
    tables = FeatureSet.unfitted(program).tables
    position = next(i for i, o in enumerate(program.operations) if o.OP == "pair_share")
    many = [float(i) for i in range(400_000)]
    tables[position] = {"first": many, "second": many, "counts": [1] * len(many)}
    with pytest.raises(ProgramError, match="levels and counts"):
        FeatureSet(program, 10**6, tables).check_size()
