"""Models from elsewhere: recognised by content, served exactly or refused with the reason."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from functools import cache
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from numpy.typing import NDArray

from stream_scorer.errors import UsageError
from stream_scorer.model.forest.forest import feature_names_in, parse_forest
from stream_scorer.model.forest.predictor import ForestPredictor
from tests.support.trainer.xgboost_json import small_model
from trainer.fitting.foreign_model import ForeignModel, read_foreign_model

Floats = NDArray[np.float64]
COLUMNS = ("TransactionAmt", "card1", "id-01", "V45")
BASIC = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 15,
         "min_data_in_leaf": 3}  # fmt: skip


@cache
def make_rows(rows: int = 400) -> tuple[Floats, NDArray[np.int64]]:
    """Four columns; the label depends on the first and the third."""
    rng = np.random.default_rng(3)
    matrix = rng.gamma(2, 50, size=(rows, len(COLUMNS)))
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    signal = np.nan_to_num(matrix[:, 0]) + 2 * np.nan_to_num(matrix[:, 2])
    return matrix, (signal + rng.normal(0, 50, rows) > 350).astype(np.int64)


def by_lightgbm(columns: tuple[str, ...] = COLUMNS, **params: Any) -> lightgbm.Booster:
    matrix, labels = make_rows()
    categories = params.pop("categories", "auto")
    options = BASIC | params
    data = lightgbm.Dataset(
        matrix if categories == "auto" else np.abs(np.nan_to_num(matrix)).round() % 9,
        labels,
        feature_name=list(columns),
        categorical_feature=categories,
        params=options,
    )
    return lightgbm.train(options, data, 5)


def by_xgboost(columns: tuple[str, ...] | None = COLUMNS, **params: Any) -> xgboost.Booster:
    matrix, labels = make_rows()
    data = xgboost.DMatrix(matrix, label=labels, feature_names=columns and list(columns))
    return xgboost.train({"objective": "binary:logistic", "nthread": 1} | params, data, 5)


def lightgbm_text(**changes: Any) -> bytes:
    text: str = by_lightgbm(**changes).model_to_string()
    return text.encode()


def xgboost_json(**changes: Any) -> bytes:
    return bytes(by_xgboost(**changes).save_raw("json"))


def read(content: bytes) -> ForeignModel:
    return read_foreign_model(content, "model.file")


def matrix_of(model: ForeignModel) -> Floats:
    """The rows in the columns of a model, as a copy of the transaction's columns gives them."""
    own = [COLUMNS.index(name.replace("id_", "id-")) for name in model.columns]
    return np.ascontiguousarray(make_rows()[0][:, own])


@pytest.mark.parametrize("learner", ["lightgbm", "xgboost"])
def test_a_model_scores_as_where_it_was_trained(learner: str) -> None:
    matrix = make_rows()[0]
    if learner == "lightgbm":
        booster = by_lightgbm()
        content = booster.model_to_string().encode()
        expected = booster.predict(matrix, raw_score=True, num_threads=1)
    else:
        forest = by_xgboost()
        content = bytes(forest.save_raw("json"))
        data = xgboost.DMatrix(matrix, feature_names=list(COLUMNS))
        expected = forest.predict(data, output_margin=True)
    model = read(content)
    raw = ForestPredictor(parse_forest(model.model_text)).raw(matrix_of(model))
    assert np.abs(raw - expected).max() < (1e-5 if learner == "xgboost" else 1e-300)
    assert raw.std() > 0.3
    assert (model.learner, model.trees, model.all_trees) == (learner, 5, 5)
    assert model.sha256 == hashlib.sha256(content).hexdigest()


def test_columns_have_the_contracts_names_in_the_models_order() -> None:
    model = read(lightgbm_text(columns=("id-01", "TransactionAmt", "V45", "card1")))
    assert model.columns == ("id_01", "TransactionAmt", "V45", "card1")
    assert feature_names_in(model.model_text) == model.columns
    # The label depends on the first and the third feature of the matrix.
    assert set(list(model.gains)[:2]) == {"id_01", "V45"}


def test_features_that_no_tree_uses_may_be_anything() -> None:
    booster = by_lightgbm(("TransactionAmt", "my feature", "card1", "TransactionDT"), num_leaves=2,
                          feature_contri=[1, 0, 1, 0])  # fmt: skip
    model = read(booster.model_to_string().encode())
    assert set(model.columns) <= {"TransactionAmt", "card1"}
    assert set(model.unused) >= {"my_feature", "TransactionDT"}
    expected = booster.predict(make_rows()[0], raw_score=True, num_threads=1)
    place = {"TransactionAmt": 0, "card1": 2}
    matrix = np.ascontiguousarray(make_rows()[0][:, [place[name] for name in model.columns]])
    raw = ForestPredictor(parse_forest(model.model_text)).raw(matrix)
    assert np.array_equal(raw, expected)


def test_windows_line_ends_are_read() -> None:
    content = lightgbm_text()
    assert read(content.replace(b"\n", b"\r\n")).model_text == read(content).model_text


def xgboost_dump() -> bytes:
    return f"[{','.join(by_xgboost().get_dump(dump_format='json'))}]".encode()


def with_pandas_categories() -> bytes:
    return lightgbm_text().replace(b"pandas_categorical:null", b'pandas_categorical:[["a"]]')


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "an unknown column": (
        lambda: lightgbm_text(columns=("TransactionAmnt", "card1", "V46", "V45")),
        r"'TransactionAmnt', which is no column of a transaction \(did you mean TransactionAmt\?\)",
    ),
    "another case": (
        lambda: xgboost_json(columns=("transactionamt", "card1", "Id_01", "V45")),
        r"did you mean TransactionAmt\?.*did you mean id_01\?",
    ),
    "a text column": (
        lambda: lightgbm_text(columns=("ProductCD", "card1", "V46", "V45")),
        "ProductCD, a text column",
    ),
    "the time": (
        lambda: lightgbm_text(columns=("TransactionDT", "card1", "V46", "V45")),
        "TransactionDT, which identifies a transaction",
    ),
    "one column twice": (
        lambda: xgboost_json(columns=("id-01", "card1", "id_01", "V45")),
        "id_01 twice",
    ),
    "no names": (lambda: xgboost_json(columns=None), "features without names"),
    "made up names": (
        lambda: lightgbm_text(columns=("Column_0", "Column_1", "Column_2", "Column_3")),
        "features without names",
    ),
    "categories": (lambda: lightgbm_text(categories=[3]), "categorical splits"),
    "categories of pandas": (with_pandas_categories, "categorical columns of pandas"),
    "linear trees": (lambda: lightgbm_text(linear_tree=True), "linear trees"),
    "regression": (lambda: lightgbm_text(objective="regression"), "objective 'regression'"),
    "classes": (lambda: lightgbm_text(objective="multiclass", num_class=2), "several classes"),
    "random forest": (
        lambda: lightgbm_text(boosting="rf", bagging_freq=1, bagging_fraction=0.5),
        "averaged output",
    ),
    "dart": (lambda: xgboost_json(booster="dart"), "booster 'dart'"),
    "hinge": (lambda: xgboost_json(objective="binary:hinge"), "objective 'binary:hinge'"),
    "no split": (lambda: lightgbm_text(min_data_in_leaf=9999), "no column at all"),
    "a split near 0": (
        lambda: json.dumps(small_model(split_conditions=[1e-40, -1, 2])).encode(),
        "the split a < 1e-40",
    ),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_what_cannot_be_served_exactly_is_refused_with_the_reason(what: str) -> None:
    make, why = REFUSED[what]
    with pytest.raises(UsageError, match=why) as caught:
        read(make())
    assert str(caught.value).startswith("model.file cannot be served exactly: it uses ")


OTHER_FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "neither a LightGBM text model nor"),
    "a picture": (lambda: b"\x89PNG\r\n", "neither a LightGBM text model nor"),
    "a pickle": (lambda: pickle.dumps({}), "is a pickle, which is not read"),
    "a zip": (lambda: b"PK\x03\x04", "is a zip archive"),
    "UBJSON": (lambda: bytes(by_xgboost().save_raw("ubj")), "is XGBoost's UBJSON"),
    "a dump of LightGBM": (
        lambda: json.dumps(by_lightgbm().dump_model()).encode(),
        "is a dump of a LightGBM model",
    ),
    "a dump of XGBoost": (xgboost_dump, "is a dump of XGBoost's trees"),
}


@pytest.mark.parametrize("what", list(OTHER_FILES))
def test_other_files_are_recognised_and_the_message_says_what_to_save(what: str) -> None:
    make, why = OTHER_FILES[what]
    with pytest.raises(UsageError, match=f"model.file {why}|model.file is {why}") as caught:
        read(make())
    assert "save_model('model.json')" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"tree\nversion=v4\n", "not a valid LightGBM model: "),
        (b"tree\n\xff", "not a valid LightGBM model: byte 5 is not UTF-8"),
        (b"{}", "not a valid XGBoost model: it has no object learner"),
        (b"{" * 3000, "not a valid XGBoost model: "),
    ],
)
def test_damaged_models_are_one_clear_error(content: bytes, why: str) -> None:
    with pytest.raises(UsageError, match=f"model.file is {why}"):
        read(content)


def test_a_model_without_finite_inner_values_is_refused() -> None:
    lines = lightgbm_text().decode().split("\n")
    at = next(i for i, line in enumerate(lines) if line.startswith("internal_value="))
    lines[at] = "internal_value=" + " ".join(["nan"] * len(lines[at].split()))
    with pytest.raises(UsageError, match="internal_value that is not a finite number"):
        read("\n".join(lines).encode())


def test_only_the_first_faults_are_listed() -> None:
    names = tuple(f"x{i}" for i in range(4))
    model = small_model()
    model["learner"]["feature_names"] = list(names)
    with pytest.raises(UsageError, match=r"it uses 'x0', which is no column of a transaction$"):
        read(json.dumps(model).encode())
    tree = model["learner"]["gradient_booster"]["model"]["trees"][0]
    many = [dict(tree, split_indices=[i, 0, 0]) for i in range(9)]
    model["learner"]["gradient_booster"]["model"] |= {"trees": many, "tree_info": [0] * 9}
    model["learner"]["feature_names"] = [f"x{i}" for i in range(9)]
    model["learner"]["feature_types"] = []
    model["learner"]["learner_model_param"]["num_feature"] = "9"
    with pytest.raises(UsageError, match=r"'x4'.*; and 4 more$"):
        read(json.dumps(model).encode())
