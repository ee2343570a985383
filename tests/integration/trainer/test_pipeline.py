"""The whole trainer with a store in a folder, through its command line."""

from __future__ import annotations

import contextlib
import io
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.batch import TransactionBatch, concatenate
from schemas.csv.codec import read_transactions
from stream_scorer.drift.reference import read_reference, stability_index
from stream_scorer.model.bundle import load_bundle
from stream_scorer.model.calibration import to_scores
from stream_scorer.model.scoring import score
from stream_scorer.model.serving.guard import GuardPolicy, Sample, judge
from stream_scorer.model.signing import generate_key_pair
from stream_scorer.model.store.file_store import FileStore
from trainer.__main__ import main
from trainer.data.split import split_by_time
from trainer.evaluation.measures import average_precision, rank
from trainer.fitting.plan import SplitPlan

SMALL = ["--trees", "30", "--leaves", "15", "--learning-rate", "0.15", "--threads", "1",
         "--folds", "2", "--test-share", "0.5"]  # fmt: skip
ROWS = 6500  # the test windows have enough frauds for a calibration map
LATER = 1500


@dataclass(frozen=True, slots=True)
class Trained:
    """One trained and promoted version: its store, its CSVs, the output of ``--json``.

    ``later`` are the transactions that came after those it was trained on.
    """

    root: Path
    transactions: Path
    identity: Path
    later: Path
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
        rows = str(ROWS + LATER)
        assert main(["synth", str(folder / "csv"), "--rows", rows, "--seed", "3"]) == 0
        made = Trained(
            folder / "store",
            folder / "csv" / "train_transaction.csv",
            folder / "csv" / "train_identity.csv",
            folder / "csv" / "later.csv",
            {},
        )
        head, *lines = made.transactions.read_text("utf-8").splitlines(keepends=True)
        made.transactions.write_text("".join([head, *lines[:ROWS]]), "utf-8")
        made.later.write_text("".join([head, *lines[ROWS:]]), "utf-8")
        result = run(["train", *made.flags, "--json"])
    return replace(made, result=result)


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


def batch_of(trained: Trained) -> tuple[TransactionBatch, NDArray[np.int8]]:
    chunks = list(read_transactions(trained.transactions, trained.identity))
    labels = np.concatenate([c.labels for c in chunks if c.labels is not None])
    return concatenate([c.batch for c in chunks]), labels


def test_figures_of_the_last_window_are_those_of_the_model_served_without_refit(
    trained: Trained, empty_store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *trained.flags, "--no-refit"]) == 0
    assert "has not seen the newest ones" in capsys.readouterr().out
    metadata = metadata_of(empty_store, "v1")
    batch, labels = batch_of(trained)
    split = split_by_time(batch.times, labels, SplitPlan(folds=2, test_share=0.5))
    test = split.folds[-1].test
    bundle = load_bundle(empty_store.fetch("v1"), "v1")
    scores = score(batch.take(test), bundle).scores
    last = metadata["evaluation"]["folds"][-1]
    assert last["average_precision"] == average_precision(rank(scores, labels[test]))
    assert last["test"]["rows"] == len(scores)
    assert metadata["served"]["is_refit"] is False
    assert metadata["served"]["trees"] == last["trees"] == metadata["parameters"]["trees_used"]
    assert metadata["served"]["window_seconds"][1] == last["validation"]["last_seconds"]
    # What ranks rows does not depend on what is served. Decisions do.
    found, refit = (m["metrics"]["test"] for m in (metadata, metadata_of(trained.store, "v1")))
    same = ("rows", "frauds", "average_precision_interval", "roc_auc_interval", "top")
    assert {name: found[name] for name in same} == {name: refit[name] for name in same}
    for metrics in (found, refit):
        assert 0 < metrics["review"]["share"] <= 0.02
    assert found["review"] != refit["review"]


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
    assert len(metadata["reference"]["features"]) == 30
    assert sum(metadata["reference"]["scores"]["counts"]) == split["test"]["rows"]
    assert metadata["thresholds"]["review_budget"] == 0.02
    assert 0 < metadata["thresholds"]["flagged_share"] <= 0.02
    assert metadata["gate"]["passed"] is True
    assert metadata["gate"]["latency"]["candidate_us_per_row"] > 0
    assert metadata["gate"]["champion"] is metadata["gate"]["comparison"] is None
    stages = training["stages"]
    assert {"ingest", "features", "fit", "score", "calibrate"} <= stages.keys()
    assert all(stage["peak_mib"] > 10 for stage in stages.values())


def test_metadata_keeps_what_was_evaluated_and_what_is_served(trained: Trained) -> None:
    metadata = metadata_of(trained.store, "v1")
    folds = metadata["evaluation"]["folds"]
    assert [fold["train"]["first_seconds"] for fold in folds] == [
        metadata["training"]["window_seconds"][0]
    ] * 2
    assert folds[0]["train"]["rows"] < folds[1]["train"]["rows"]
    assert sum(fold["test"]["rows"] for fold in folds) == metadata["metrics"]["test"]["rows"]
    for fold in folds:
        low, high = fold["average_precision_interval"]
        assert low < fold["average_precision"] < high
        assert fold["train"]["last_seconds"] < fold["test"]["first_seconds"]
    served = metadata["served"]
    assert served["is_refit"] is True
    assert served["rows"] == ROWS
    assert served["window_seconds"] == metadata["training"]["window_seconds"]
    assert served["trees"] == metadata["parameters"]["trees_used"] <= 30
    assert trained.result["served"] == served


def test_scores_are_calibrated_and_thresholds_and_reference_are_too(trained: Trained) -> None:
    metadata = metadata_of(trained.store, "v1")
    bundle = load_bundle(trained.store.fetch("v1"), "v1")
    assert bundle.calibration is not None
    found = metadata["calibration"]
    assert found["method"] == "isotonic"
    assert found["knots"] == len(bundle.calibration.x)
    assert found["rows"] == metadata["metrics"]["test"]["rows"]
    assert found["after"]["rows"] == metadata["evaluation"]["folds"][1]["test"]["rows"]
    assert found["after"]["log_loss"] == metadata["metrics"]["test"]["log_loss"]
    batch, _ = batch_of(trained)
    scored = score(batch, bundle)
    assert np.array_equal(scored.scores, to_scores(scored.raw, bundle.calibration))
    assert 0.003 < scored.flagged.mean() < 0.1
    assert max(metadata["reference"]["scores"]["edges"]) < bundle.thresholds.block


def test_refit_version_passes_its_guard_on_later_transactions(trained: Trained) -> None:
    """Its reference is its own: the folds' models, with fewer trees, spread their scores less."""
    bundle = load_bundle(trained.store.fetch("v1"), "v1")
    assert bundle.metadata["served"]["is_refit"]
    reference = read_reference(bundle.metadata)
    batch, _ = batch_of(replace(trained, transactions=trained.later))
    scores = score(batch, bundle).scores
    assert stability_index(reference.count(scores), reference.shares) < 0.1
    sample = Sample(len(scores), 0, int((scores >= bundle.thresholds.review).sum()),
                    reference.count(scores))  # fmt: skip
    assert judge(sample, reference, GuardPolicy(min_rows=300)) is None


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
    metrics = (tmp_path / "m.prom").read_text()
    assert "fraud_scorer_training_promoted 0.0" in metrics
    assert "fraud_scorer_training_refused 1.0" in metrics
    forced = [*flags, "--metrics-file", str(tmp_path / "forced.prom")]
    assert main([*forced, "--force", "--reason", "a test of the dashboard"]) == 0
    assert "fraud_scorer_training_refused 0.0" in (tmp_path / "forced.prom").read_text()
    current = empty_store.current()
    assert current is not None
    assert current.version == "v2"


def test_versions_are_promoted_and_rolled_back_one_step(
    trained: Trained, empty_store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        assert main(["train", *trained.flags]) == 0
    assert "v1 has" in capsys.readouterr().out
    comparison = metadata_of(empty_store, "v2")["gate"]["comparison"]
    assert comparison["average_precision"]["difference"] == 0.0  # same data, same seed
    assert comparison["average_precision"]["interval"] == [0.0, 0.0]
    assert metadata_of(empty_store, "v2")["gate"]["champion"]["version"] == "v1"
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


def test_champion_trained_by_another_recipe_is_compared_on_rows_it_has_not_seen(
    trained: Trained, empty_store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["train", *trained.flags, "--leaves", "4", "--no-refit", "--test-share", "0.6"]) == 0
    )
    capsys.readouterr()
    main(["train", *trained.flags, "--no-promote"])  # whether it passes is chance on so few rows
    assert "test rows that are later than all that v1 saw" in capsys.readouterr().out
    assert main(["train", *trained.flags, "--leaves", "4", "--force", "--reason", "a test"]) == 0
    capsys.readouterr()
    main(["train", *trained.flags, "--no-promote"])  # whether it passes is chance on so few rows
    printed = capsys.readouterr().out
    assert "v3 has learned from most test rows: 0 test frauds are later" in printed
    assert "trained by its recipe" in printed
    champion = metadata_of(empty_store, "v4")["gate"]["champion"]
    figures = metadata_of(empty_store, "v3")["evaluation"]["folds"][-1]
    # The recipe, repeated on the same rows, gives what the champion's own evaluation gave.
    assert champion["version"] == "v3"
    expected = pytest.approx(figures["average_precision"], rel=1e-12)  # summed in another order
    assert champion["average_precision"] == expected


def test_thresholds_by_cost_are_in_the_metadata_the_summary_and_the_report(
    trained: Trained, empty_store: FileStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    costs = ["--review-cost", "10", "--capacity-per-day", "1.5", "--no-promote"]
    assert main(["train", *trained.flags, *costs, "--reason", "reviews cost 10 now"]) == 0
    shown = capsys.readouterr().out
    assert "review threshold: largest saving within the capacity (1.5 reviews a day" in shown
    assert "money: saved " in shown
    thresholds = metadata_of(empty_store, "v1")["thresholds"]
    assert 0 < thresholds["reviews_per_day"] <= 1.5
    assert thresholds["money"]["net_saving"] > 0
    assert len(thresholds["saving_curve"]) > 10
    assert main(["report", "v1", "-o", str(tmp_path / "report.html")]) == 0
    assert main(["models", "show", "v1"]) == 0
    shown = capsys.readouterr().out
    assert "saving_curve" not in shown
    assert '"reason": "reviews cost 10 now"' in shown


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
        (["train", "--synthetic", "500", "--force"], 2, "--force needs --reason TEXT"),
        (["train", "--synthetic", "500", "--block-cost", "5"], 2, "needs --review-cost"),
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
