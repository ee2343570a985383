"""A feature set whose program has card history: state, matrix, layouts, reasons."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from schemas.batch import HistoryColumns, TransactionBatch, build_batch
from schemas.contracts import NUMBER_INDEX
from schemas.layout import Layout
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.features.program import Program, ProgramError, UnknownOperationError
from stream_scorer.model.bundle import Bundle, Thresholds
from stream_scorer.model.forest.forest import parse_forest
from stream_scorer.model.forest.lightgbm_model import LightGBMModel
from stream_scorer.model.forest.predictor import ForestPredictor
from stream_scorer.model.scoring import attribute, score
from stream_scorer.runtime.openmp import load_openmp
from tests.support.factories import make_batch
from tests.support.features.history_programs import everything, small_program
from tests.support.features.history_streams import (
    bits,
    differing,
    every_row,
    make_rows,
    one_pass,
)
from tests.support.features.plain_features import every_operation


def spec_of(program: Program) -> HistorySpec:
    assert program.history is not None
    return program.history


def with_history(program: Program, batch: TransactionBatch) -> TransactionBatch:
    columns, _ = PartitionHistory(spec_of(program)).columns(
        batch, np.arange(len(batch)), every_row(len(batch))
    )
    return batch.with_history(columns)


def test_history_columns_come_last_and_the_others_do_not_change() -> None:
    batch = make_batch(60)
    program = everything()
    features, matrix = FeatureSet.fit_transform(with_history(program, batch), program)
    without, expected = FeatureSet.fit_transform(batch, every_operation())
    n = len(without.names)
    assert features.names[n:] == spec_of(program).names
    assert features.tables == without.tables
    assert np.array_equal(bits(matrix[:, :n].copy()), bits(expected))
    history = with_history(program, batch).history
    assert history is not None
    assert np.array_equal(bits(matrix[:, n:].copy()), bits(history.values))
    served = features.transform(with_history(program, batch))
    assert np.array_equal(bits(served[:, n:].copy()), bits(history.values))
    assert served.flags.c_contiguous


def test_without_history_columns_they_are_missing() -> None:
    batch, program = make_batch(20), everything()
    features = FeatureSet.fit(batch, program)
    n = len(spec_of(program).names)
    for matrix in (features.transform(batch), FeatureSet.fit_transform(batch, program)[1]):
        assert np.isnan(matrix[:, -n:]).all()
        assert not np.isnan(matrix[:, :-n]).all()


def test_history_of_another_spec_is_refused() -> None:
    batch, program = make_batch(20), everything()
    features, n = FeatureSet.fit(batch, program), len(spec_of(program).names)
    values = np.zeros((20, n))
    other = spec_of(small_program())
    good = batch.with_history(HistoryColumns(spec_of(program).fingerprint, values))
    assert features.transform(good).shape == (20, len(features.names))
    for history in (
        HistoryColumns(other.fingerprint, values),
        HistoryColumns(other.fingerprint, np.zeros((20, len(other.names)))),
        HistoryColumns(spec_of(program).fingerprint, values[:, 1:]),
        HistoryColumns("", values),
    ):
        for apply in (features.transform, lambda b: FeatureSet.fit_transform(b, program)):
            with pytest.raises(ValueError, match="history of another spec"):
                apply(batch.with_history(history))


def test_program_without_history_ignores_the_columns() -> None:
    batch = make_batch(20)
    features = FeatureSet.fit(batch, every_operation())
    history = HistoryColumns("whatever", np.zeros((20, 3)))
    assert np.array_equal(
        bits(features.transform(batch.with_history(history))), bits(features.transform(batch))
    )


def test_state_survives_a_round_trip() -> None:
    batch, program = make_batch(60), everything()
    features = FeatureSet.fit(batch, program)
    state = pickle.loads(pickle.dumps(features.state()))
    again = FeatureSet.from_state(state)
    assert again.program == program
    assert again.names == features.names
    assert again.fingerprint == features.fingerprint
    assert spec_of(again.program).fingerprint == spec_of(program).fingerprint
    rows = with_history(program, batch)
    assert np.array_equal(bits(again.transform(rows)), bits(features.transform(rows)))
    before = features.program.plain()
    state["program"]["history"][0]["ring"] = 3
    assert features.program.plain() == before


def test_damaged_history_in_a_state_is_named() -> None:
    state = FeatureSet.fit(make_batch(20), everything()).state()
    FeatureSet.from_state(copy.deepcopy(state))
    state["program"]["history"][1]["features"][2]["kind"] = "sorcery"
    with pytest.raises(ProgramError, match=r"^key space 2, features 3: kind: unknown kind 'sorc"):
        FeatureSet.from_state(state)
    state["program"]["history"][1]["features"] = [["kind", "count"]]
    with pytest.raises(ProgramError, match=r"^key space 2, features 1: features: has list where"):
        FeatureSet.from_state(state)
    state["program"]["history"] = {}
    with pytest.raises(ProgramError, match="card history needs 1 to 4 key spaces"):
        FeatureSet.from_state(state)
    assert not issubclass(ProgramError, UnknownOperationError)


NARROW = small_program()


def decoded(rows: int, layout: Layout | None) -> TransactionBatch:
    values = encode_transactions(build_batch(make_rows(rows, 31)))
    return TransactionDecoder(LocalSchemas()).decode(values, [None] * rows, layout).batch


def test_layout_has_the_columns_of_the_history() -> None:
    layout = FeatureSet.unfitted(NARROW).layout
    assert layout is not None
    wanted = {c for c in spec_of(NARROW).columns if c in NUMBER_INDEX}
    assert {"card1", "addr1", "D1", "C3", "card5", "TransactionAmt"} <= wanted
    assert wanted <= set(layout.columns)
    assert len(layout.columns) < 30


def test_narrow_batches_give_the_same_history_as_complete_ones() -> None:
    features, spec = FeatureSet.unfitted(NARROW), spec_of(NARROW)
    whole, narrow = decoded(700, None), decoded(700, features.layout)
    assert whole.numbers.shape[1] == 400
    assert narrow.numbers.shape[1] < 40
    expected, history = one_pass(spec, whole)
    out, mixed = np.full_like(expected, 7.0), PartitionHistory(spec)
    for number, first in enumerate(range(0, 700, 50)):
        rows = np.arange(first, first + 50)
        batch = (whole, narrow, narrow.take(slice(0, 700)))[number % 3]
        mixed.settle(mixed.step(batch, rows, every_row(700), out))
    assert differing(spec, out, expected) == {}
    assert mixed.check_sum() == history.check_sum()
    columns = HistoryColumns(spec.fingerprint, out)
    a, b = (features.transform(x.with_history(columns)) for x in (whole, narrow))
    assert np.array_equal(bits(a), bits(b))
    assert np.array_equal(
        bits(features.transform(narrow.with_history(columns).take([5]))), bits(a)[[5]]
    )


def test_batch_of_a_layout_without_the_historys_columns_is_refused() -> None:
    batch = decoded(20, Layout(("V1",)))
    history = PartitionHistory(spec_of(everything()))
    out = np.empty((20, len(spec_of(everything()).names)))
    with pytest.raises(KeyError, match=r"'[A-Z]"):
        history.step(batch, np.arange(20), every_row(20), out)
    assert history.open_steps == 0


def bundle_of_counts() -> Bundle:
    """A model that goes by the history alone."""
    batch = with_history(NARROW, build_batch(make_rows(900, 32)))
    features, matrix = FeatureSet.fit_transform(batch, NARROW)
    of = {name: matrix[:, i] for i, name in enumerate(features.names)}
    label = (of["client_count_1h"] >= 1) | (of["client_P_emaildomain_is_new"] == 1)
    label ^= of["card_amount_decayed_7d"] > 900
    load_openmp()
    import lightgbm

    data = lightgbm.Dataset(matrix, label.astype(int), feature_name=list(features.names))
    params = {"objective": "binary", "num_leaves": 15, "verbosity": -1, "num_threads": 1}
    text = lightgbm.train(params, data, 30).model_to_string()
    predictor, reference = ForestPredictor(parse_forest(text)), LightGBMModel(text)
    return Bundle("v1", {}, features, predictor, reference, Thresholds(0.0, 0.9))


def test_reasons_show_history_features() -> None:
    """With plain values: a column of texts is behind some of them, and no text is shown."""
    bundle = bundle_of_counts()
    names = bundle.features.names
    n = len(spec_of(NARROW).names)
    assert bundle.features.text_columns[-n:] == (None,) * n
    assert bundle.features.level("client_P_emaildomain_is_new", 1.0) is None
    assert bundle.features.describe("client_count_1h") == (
        "remembered transactions in the last 1h (client history)"
    )
    rows = with_history(NARROW, build_batch(make_rows(300, 33)))
    matrix, found = bundle.features.transform(rows), score(rows, bundle)
    seen: dict[str, set[str | None]] = {}
    for row, reasons in found.reasons.items():
        for reason in reasons:
            value = matrix[row, names.index(reason.feature)]
            seen.setdefault(reason.feature, set()).add(reason.value)
            if np.isnan(value):
                assert reason.value is None
            else:
                assert float(reason.value or "x") == pytest.approx(value, abs=1e-6, rel=1e-5)
    assert len(found.reasons) == 300
    assert seen["client_P_emaildomain_is_new"] <= {"0", "1", None}
    assert {"0", "1"} <= seen["client_count_1h"]
    assert any("." in (value or "") for value in seen["card_amount_decayed_7d"])
    exact = attribute(rows, bundle, found.raw, bundle.reference)
    assert {reason.feature for reason in exact[7].reasons} <= set(names)


def test_a_score_without_history_is_made_with_missing_values() -> None:
    bundle, rows = bundle_of_counts(), build_batch(make_rows(100, 33))
    without, seen = score(rows, bundle), score(with_history(NARROW, rows), bundle)
    empty = HistoryColumns(spec_of(NARROW).fingerprint, np.full((100, 16), np.nan))
    missing = score(rows.with_history(empty), bundle)
    assert np.array_equal(bits(without.raw), bits(missing.raw))
    assert not np.array_equal(without.raw, seen.raw)
