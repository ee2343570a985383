"""The whole trainer with a store in a folder, through its command line."""

from __future__ import annotations

import contextlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.batch import concatenate
from schemas.csv.codec import read_transactions
from stream_scorer.model.bundle import load_bundle
from stream_scorer.model.scoring import score
from stream_scorer.model.signing import generate_key_pair
from stream_scorer.model.store.file_store import FileStore
from trainer.__main__ import main
from trainer.data.split import split_by_time
from trainer.evaluation.measures import average_precision, rank
from trainer.fitting.plan import SplitPlan

SMALL = ["--trees", "30", "--leaves", "15", "--learning-rate", "0.15", "--threads", "1"]
ROWS = 3000


@dataclass(frozen=True, slots=True)
class Trained:
    """One trained and promoted version: its store, its CSVs, the output of ``--json``."""

    root: Path
    transactions: Path
    identity: Path
    result: dict[str, Any]

    @property
    def store(self) -> FileStore:
        return FileStore(self.root)

    @property
    def flags(self) -> list[str]:
        return ["--transactions", str(self.transactions), "--identity", str(self.identity), *SMALL]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trainer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_STORE_URI", (folder / "store").as_uri())
        assert main(["synth", str(folder / "csv"), "--rows", str(ROWS), "--seed", "5"]) == 0
        made = Trained(
            folder / "store",
            folder / "csv" / "train_transaction.csv",
            folder / "csv" / "train_identity.csv",
            {},
        )
        result = run(["train", *made.flags, "--json"])
    return Trained(made.root, made.transactions, made.identity, result)


def run(argv: list[str]) -> Any:
    """The JSON printed by a successful command."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(argv) == 0
    return json.loads(printed.getvalue())


@pytest.fixture
def store_uri(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = trained.root.as_uri()
    monkeypatch.setenv("MODEL_STORE_URI", uri)
    return uri


@pytest.fixture
def empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    monkeypatch.setenv("MODEL_STORE_URI", (tmp_path / "empty").as_uri())
    return FileStore(tmp_path / "empty")


def metadata_of(store: FileStore, version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.fetch(version)["metadata.json"])
    return found


def test_training_publishes_and_promotes_a_version_that_loads(trained: Trained) -> None:
    current = trained.store.current()
    assert current is not None
    assert current.version == trained.result["version"] == "v1"
    assert trained.result["promoted"] is True
    bundle = load_bundle(trained.store.fetch("v1"), "v1")
    assert bundle.thresholds.review == trained.result["thresholds"]["review"]


def test_reported_metrics_are_those_of_the_published_bundle_bit_for_bit(trained: Trained) -> None:
    chunks = list(read_transactions(trained.transactions, trained.identity))
    batch = concatenate([c.batch for c in chunks])
    labels = np.concatenate([c.labels for c in chunks if c.labels is not None])
    test = split_by_time(batch.times, labels, SplitPlan()).test
    bundle = load_bundle(trained.store.fetch("v1"), "v1")
    scores = score(batch, bundle).scores[test]
    reported = trained.result["metrics"]
    assert reported["average_precision"] == average_precision(rank(scores, labels[test]))
    assert reported["review"]["rows"] == int((scores >= bundle.thresholds.review).sum())
    assert reported["rows"] == int(test.sum())


def test_metadata_describes_the_training_data(trained: Trained) -> None:
    metadata = metadata_of(trained.store, "v1")
    training = metadata["training"]
    assert training["source"] == str(trained.transactions)
    assert training["rows"] == ROWS
    assert re.fullmatch(r"[0-9a-f]{64}", training["sha256"]["transactions"])
    assert re.fullmatch(r"[0-9a-f]{64}", training["sha256"]["identity"])
    split = training["split"]
    assert split["train"]["last_seconds"] < split["validation"]["first_seconds"]
    assert split["validation"]["last_seconds"] < split["test"]["first_seconds"]
    assert metadata["metrics"]["test"] == {
        k: v for k, v in trained.result["metrics"].items() if k != "split"
    }
    assert 32 <= len(metadata["golden"]["rows"]) <= 64
    assert len(metadata["reference"]["features"]) == 20
    assert sum(metadata["reference"]["scores"]["counts"]) == split["test"]["rows"]
    assert metadata["thresholds"]["review_budget"] == 0.02
    assert metadata["gate"]["passed"] is True


def test_same_data_and_seed_give_the_same_model(trained: Trained, empty_store: FileStore) -> None:
    assert run(["train", *trained.flags, "--no-promote", "--json"])["promoted"] is False
    ours, theirs = empty_store.fetch("v1"), trained.store.fetch("v1")
    assert ours["model.pkl"] == theirs["model.pkl"]
    assert ours["preprocessor.pkl"] == theirs["preprocessor.pkl"]
    assert empty_store.current() is None


def with_shuffled_labels(csv: str) -> str:
    header, *rows = csv.splitlines()
    cells = [row.split(",", 2) for row in rows]
    labels = np.random.default_rng(1).permutation([row[1] for row in cells]).tolist()
    shuffled = [f"{row[0]},{label},{row[2]}" for row, label in zip(cells, labels, strict=True)]
    return "\n".join([header, *shuffled])


def test_a_refused_candidate_is_published_but_not_promoted(
    trained: Trained, tmp_path: Path, empty_store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "shuffled.csv"
    path.write_text(with_shuffled_labels(trained.transactions.read_text()))
    flags = ["train", "--transactions", str(path), *SMALL]
    assert main([*flags, "--metrics-file", str(tmp_path / "m.prom")]) == 1
    captured = capsys.readouterr()
    assert "not promoted" in captured.err
    assert "Traceback" not in captured.err
    assert empty_store.versions() == ["v1"]
    assert empty_store.current() is None
    assert metadata_of(empty_store, "v1")["gate"]["refusals"]
    assert "fraud_scorer_training_promoted 0.0" in (tmp_path / "m.prom").read_text()
    assert main([*flags, "--force"]) == 0
    current = empty_store.current()
    assert current is not None
    assert current.version == "v2"


def test_versions_are_promoted_and_rolled_back_one_step(
    trained: Trained, empty_store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        assert main(["train", *trained.flags]) == 0
    assert "v1 has" in capsys.readouterr().out
    assert main(["models", "rollback", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"promoted": "v2"}
    assert empty_store.reject("v1", {"guard": "test"})
    assert main(["models", "rollback"]) == 1
    assert "cannot roll back from v2" in capsys.readouterr().err
    assert main(["models", "promote", "v1"]) == 1
    assert "rejected by a scorer" in capsys.readouterr().err
    assert main(["models", "promote", "v3"]) == 0
    capsys.readouterr()
    assert main(["models", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(v["version"], v["status"]) for v in listed] == [
        ("v1", "rejected by a scorer"),
        ("v2", ""),
        ("v3", "promoted"),
    ]


def test_report_is_one_page_that_loads_nothing(
    store_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.html"
    assert main(["report", "v1", "-o", str(path)]) == 0
    page = path.read_text()
    assert page.count("<svg") == page.count("</svg>") > 20
    assert not re.search(r"src=|href=\"[^#]|url\(|@import", page)
    for chapter in ("quality", "slices", "features", "data", "card"):
        assert f'id="{chapter}"' in page
    assert "have a TransactionID of the synthetic generator" in page  # it came through CSV
    assert main(["report", "v9"]) == 1
    assert "no version v9" in capsys.readouterr().err


def test_a_signing_key_signs_the_metadata(
    trained: Trained, empty_store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = generate_key_pair()
    (tmp_path / "key.pem").write_bytes(pair.private_pem)
    monkeypatch.setenv("MODEL_SIGNING_KEY_FILE", str(tmp_path / "key.pem"))
    monkeypatch.setenv("MODEL_TRUSTED_KEYS", pair.public_base64)
    assert main(["train", *trained.flags]) == 0
    assert "metadata.json.sig" in empty_store.fetch("v1")


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["train"], 2, "no training data"),
        (["train", "--synthetic", "500", "--trees", "0"], 2, "--trees 0 must be"),
        (["train", "--transactions", "/nowhere.csv"], 1, "/nowhere.csv: No such file"),
        (["train", "--synthetic", "3"], 1, "the minimum is 50"),
        (["models", "show", "v1"], 1, "no version v1"),
        (["models", "rollback"], 1, "no version is promoted"),
    ],
)
def test_a_user_error_is_one_line_and_an_exit_code(
    empty_store: FileStore,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    code: int,
    message: str,
) -> None:
    assert main(argv) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
