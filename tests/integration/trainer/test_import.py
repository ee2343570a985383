"""``fraud-trainer import``: models that were trained elsewhere on the columns of a CSV."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from numpy.typing import NDArray

from schemas.batch import concatenate
from schemas.csv.codec import read_transactions
from stream_scorer.model.bundle import load_bundle
from stream_scorer.model.scoring import score
from stream_scorer.model.store.file_store import FileStore
from trainer.__main__ import main
from trainer.publishing.tracking import NoTracker

COLUMNS = ["V258", "TransactionAmt", "id-02", "C1", "card1", "D1", "C13", "V45", "V283"]


@dataclass(frozen=True, slots=True)
class Rows:
    """CSVs, and the same rows as a data scientist's data frame."""

    transactions: Path
    identity: Path
    frame: pd.DataFrame
    labels: NDArray[np.int64]

    @property
    def flags(self) -> list[str]:
        return ["--transactions", str(self.transactions), "--identity", str(self.identity)]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    folder = tmp_path_factory.mktemp("csv")
    assert main(["synth", str(folder), "--rows", "3000", "--seed", "5"]) == 0
    transactions, identity = folder / "train_transaction.csv", folder / "train_identity.csv"
    frame = pd.read_csv(transactions).merge(pd.read_csv(identity), "left", "TransactionID")
    frame.columns = [name.replace("id_", "id-") for name in frame.columns]
    return Rows(transactions, identity, frame[COLUMNS], frame["isFraud"].to_numpy())


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    monkeypatch.setenv("MODEL_STORE_URI", (tmp_path / "store").as_uri())
    return FileStore(tmp_path / "store")


def run(*words: str) -> Any:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["import", *words, "--json"]) == 0
    return json.loads(printed.getvalue())


def save_lightgbm(rows: Rows, path: Path) -> NDArray[np.float64]:
    """Train and save a model; its raw scores of the rows."""
    params = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 9}
    booster = lightgbm.train(params, lightgbm.Dataset(rows.frame, rows.labels), 20)
    booster.save_model(path)
    return np.asarray(booster.predict(rows.frame, raw_score=True, num_threads=1))


def save_xgboost(rows: Rows, path: Path) -> NDArray[np.float64]:
    data = xgboost.DMatrix(rows.frame, label=rows.labels)
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 20)
    booster.save_model(path)
    return np.asarray(booster.predict(data, output_margin=True), np.float64)


@pytest.mark.parametrize("learner", ["lightgbm", "xgboost"])
def test_an_imported_model_scores_as_where_it_was_trained(
    learner: str, rows: Rows, store: FileStore, tmp_path: Path
) -> None:
    # The content decides what it is, not the name.
    file = tmp_path / ("m.json" if learner == "lightgbm" else "m.txt")
    if learner == "lightgbm":
        expected = save_lightgbm(rows, file)
    else:
        saved = tmp_path / "saved.json"
        expected = save_xgboost(rows, saved)
        saved.rename(file)
    result = run(str(file), *rows.flags)
    assert result["promoted"] is True
    bundle = load_bundle(store.fetch("v1"), "v1")
    chunks = list(read_transactions(rows.transactions, rows.identity))
    found = score(concatenate([chunk.batch for chunk in chunks]), bundle)
    assert np.abs(found.raw - expected).max() < (1e-5 if learner == "xgboost" else 1e-300)
    assert set(bundle.features.names) <= {name.replace("-", "_") for name in COLUMNS}
    reasons = [reason.feature for some in found.reasons.values() for reason in some]
    assert reasons
    assert set(reasons) <= set(bundle.features.names)


def test_metadata_says_where_the_model_came_from(
    rows: Rows, store: FileStore, tmp_path: Path
) -> None:
    file = tmp_path / "model.txt"
    save_lightgbm(rows, file)
    result = run(str(file), *rows.flags, "--no-promote", "--review-budget", "0.05")
    assert result["promoted"] is False
    assert store.current() is None
    metadata = json.loads(store.fetch("v1")["metadata.json"])
    assert metadata["imported"]["file"] == str(file)
    assert metadata["imported"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert metadata["imported"]["learner"] == "lightgbm"
    assert metadata["training"]["rows"] == metadata["metrics"]["test"]["rows"] == 3000
    assert metadata["thresholds"]["split"] == "given"
    assert metadata["metrics"]["test"]["review"]["share"] <= 0.05
    assert list(metadata["reference"]["features"])


def test_tracker_gets_the_imported_file_and_no_training_plan(
    rows: Rows, store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Recorder(NoTracker):
        plans: ClassVar[list[Mapping[str, Any]]] = []

        def start(self, plan: Mapping[str, Any], source: str) -> None:
            self.plans.append({**plan, "source": source})

    monkeypatch.setattr("trainer.commands.train_run.open_tracker", lambda *_: Recorder())
    file = tmp_path / "model.txt"
    save_lightgbm(rows, file)
    run(str(file), *rows.flags, "--no-promote", "--review-budget", "0.05")
    assert store.versions() == ["v1"]
    (plan,) = Recorder.plans
    assert plan.keys() == {"imported", "decisions", "gate", "source"}
    assert plan["imported"] == {"file": str(file), "learner": "lightgbm"}
    assert plan["decisions"]["review_budget"] == 0.05


def test_an_imported_model_must_beat_the_champion(
    rows: Rows, store: FileStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    save_lightgbm(rows, good)
    shuffled = np.random.default_rng(1).permutation(rows.labels)
    save_lightgbm(Rows(rows.transactions, rows.identity, rows.frame, shuffled), bad)
    run(str(good), *rows.flags)
    assert main(["import", str(bad), *rows.flags]) == 1
    assert "not promoted" in capsys.readouterr().err
    pointer = store.current()
    assert pointer is not None
    assert pointer.version == "v1"
    assert store.versions() == ["v1", "v2"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nowhere.txt", "--transactions", "t.csv"], 1, "cannot read nowhere.txt"),
        (["x", "--transactions", "t.csv", "--review-budget", "2"], 2, "--review-budget 2.0 must"),
    ],
)
def test_wrong_usage_is_named(
    words: list[str], code: int, message: str, store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", *words]) == code
    assert message in capsys.readouterr().err
    assert store.versions() == []


def test_a_model_that_cannot_be_served_is_refused_before_the_rows_are_read(
    rows: Rows, store: FileStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.txt"
    named = rows.frame.rename(columns={"TransactionAmt": "Amount\x1b[31m"})
    params = {"objective": "binary", "verbosity": -1, "num_threads": 1}
    data = lightgbm.Dataset(named.to_numpy(), rows.labels, feature_name=[
        name if "Amount" not in name else "TransactionAmount" for name in named.columns
    ])  # fmt: skip
    lightgbm.train(params, data, 3).save_model(file)
    text = file.read_text().replace("TransactionAmount", "Transaction\x1bAmt")
    file.write_text(text)
    assert main(["import", str(file), "--transactions", "nowhere.csv"]) == 1
    message = capsys.readouterr().err
    assert "did you mean TransactionAmt?" in message
    assert "\x1b" not in message
    assert store.versions() == []
