"""The whole trainer with a program that has card history, through its command line."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.batch import TransactionBatch
from schemas.csv.codec import read_transactions
from stream_scorer.model.bundle import Bundle, load_bundle
from stream_scorer.model.scoring import score
from stream_scorer.model.store.file_store import FileObjects, FileStore
from stream_scorer.model.store.history_store import HistoryStore
from tests.support.training.history_kit import CLIENT, COLUMNS, HEAD, MAIL, by_partition
from trainer.__main__ import main
from trainer.data.split import split_by_time
from trainer.evaluation.measures import average_precision, rank
from trainer.fitting.plan import SplitPlan

SMALL = ["--trees", "30", "--leaves", "15", "--learning-rate", "0.15", "--threads", "1",
         "--folds", "2", "--test-share", "0.5"]  # fmt: skip
ROWS = 6500
BATCH_ROWS = 777


@dataclass(frozen=True, slots=True)
class Trained:
    """One version with card history: its store, its rows, and the output of ``--json``."""

    root: Path
    flags: list[str]
    result: dict[str, Any]

    @property
    def bundle(self) -> Bundle:
        return load_bundle(FileStore(self.root).fetch("v1"), "v1")

    def rows(self) -> TransactionBatch:
        from schemas.batch import concatenate

        chunks = read_transactions(Path(self.flags[1]), Path(self.flags[3]))
        return concatenate([chunk.batch for chunk in chunks])


def run(argv: list[str]) -> Any:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(argv) == 0
    return json.loads(printed.getvalue())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("history")
    program = folder / "mine.toml"
    program.write_text(HEAD + COLUMNS + CLIENT + MAIL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_STORE_URI", (folder / "store").as_uri())
        assert main(["synth", str(folder / "csv"), "--rows", str(ROWS), "--seed", "5"]) == 0
        files = [str(folder / "csv" / f"train_{kind}.csv") for kind in ("transaction", "identity")]
        flags = ["--transactions", files[0], "--identity", files[1], "--features", str(program)]
        flags += SMALL
        result = run(["train", *flags, "--json"])
    return Trained(folder / "store", flags, result)


@pytest.fixture
def store(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    """An empty store for runs of their own."""
    del trained
    monkeypatch.setenv("MODEL_STORE_URI", (tmp_path / "store").as_uri())
    return FileStore(tmp_path / "store")


def metadata_of(root: FileStore, version: str = "v1") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(root.fetch(version)["metadata.json"])
    return found


def test_served_scores_are_those_of_scorers_with_a_state_for_each_partition(
    trained: Trained,
) -> None:
    bundle, batch = trained.bundle, trained.rows()
    spec = bundle.features.program.history
    assert spec is not None
    history = by_partition(spec, batch, (BATCH_ROWS,))
    golden = bundle.metadata["golden"]
    at = {int(number): row for row, number in enumerate(batch.ids)}
    for row, values, raw in zip(golden["rows"], golden["history"], golden["raw"], strict=True):
        place = at[row["TransactionID"]]
        online = [None if v != v else v for v in history[place].tolist()]
        assert online == values
        one = batch.take(slice(place, place + 1))
        columns = bundle_history(bundle, history[place : place + 1])
        assert score(one.with_history(columns), bundle).raw.tolist() == [raw]


def bundle_history(bundle: Bundle, values: Any) -> Any:
    from schemas.batch import HistoryColumns

    assert bundle.features.program.history is not None
    return HistoryColumns(bundle.features.program.history.fingerprint, values)


def test_figures_are_those_of_the_rows_with_their_history(
    trained: Trained, store: FileStore
) -> None:
    assert main(["train", *trained.flags, "--no-refit", "--no-promote"]) == 0
    bundle, batch = load_bundle(store.fetch("v1"), "v1"), trained.rows()
    metadata = metadata_of(store)
    labels = np.concatenate(
        [c.labels for c in read_transactions(Path(trained.flags[1]), Path(trained.flags[3]))
         if c.labels is not None]
    )  # fmt: skip
    first = metadata["training"]["history"]["burn_in"]["rows"]
    split = split_by_time(batch.times, labels, SplitPlan(folds=2, test_share=0.5), first)
    assert bundle.features.program.history is not None
    values = by_partition(bundle.features.program.history, batch, (BATCH_ROWS,))
    test = split.folds[-1].test
    rows = batch.take(test).with_history(bundle_history(bundle, values[test]))
    last = metadata["evaluation"]["folds"][-1]
    scores = score(rows, bundle).scores
    assert last["average_precision"] == average_precision(rank(scores, labels[test]))
    blind = score(rows.with_history(None), bundle).scores
    assert last["average_precision"] != average_precision(rank(blind, labels[test]))


def test_metadata_has_the_pass_the_burn_in_and_the_seed(trained: Trained) -> None:
    metadata = metadata_of(FileStore(trained.root))
    history = metadata["training"]["history"]
    assert history["rows"] == ROWS
    assert history["rows_without_label"] == 0
    burn_in = history["burn_in"]
    first, last = metadata["training"]["window_seconds"]
    assert burn_in["until_seconds"] == pytest.approx(first + 0.1 * (last - first), rel=0.001)
    assert metadata["served"]["rows"] == ROWS - burn_in["rows"]
    folds = metadata["evaluation"]["folds"]
    assert {fold["train"]["first_seconds"] for fold in folds} == {burn_in["until_seconds"]}
    stages = metadata["training"]["stages"]
    assert stages["history"]["seconds"] > 0
    assert metadata["gate"]["latency"]["candidate_history_us_per_row"] > 0
    seed = metadata["history"]["seed"]
    assert seed["as_of"] == last
    assert seed["keys"] == history["keys"]
    assert trained.result["history"]["seed"] == seed
    assert metadata["format"] == 3
    groups = {group["group"] for group in metadata["feature_gain"]["groups"]}
    assert {"times", "windows", "mail"} <= groups
    described = {f["name"]: f.get("text") for f in metadata["feature_gain"]["features"]}
    assert any("(client history)" in (text or "") for text in described.values())


def test_people_see_the_history_without_the_golden_stream(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_STORE_URI", trained.root.as_uri())
    assert main(["models", "show", "v1"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert "stream" not in shown["history"]
    assert shown["history"]["seed"]["keys"]["client"] > 1000
    assert run(["models", "show", "v1", "--json"])["history"]["stream"]["rows"]
    assert run(["features", "show", "v1", "--json"])["history"]["spaces"][0]["space"] == "client"


def test_seed_is_in_the_store_and_can_be_left_out(trained: Trained, store: FileStore) -> None:
    metadata = metadata_of(FileStore(trained.root))
    spec = trained.bundle.features.program.history
    assert spec is not None
    widths = {space.name: space.width for space in spec.spaces}
    seed = HistoryStore(FileObjects(trained.root), is_trusted=True).read_seed(
        spec.fingerprint, metadata["history"]["seed"]["sha256"], widths
    )
    assert seed.header.as_of == metadata["history"]["seed"]["as_of"]
    assert len(seed.records.spaces["client"]) == metadata["history"]["seed"]["keys"]["client"]
    assert main(["train", *trained.flags, "--no-promote", "--no-history-seed"]) == 0
    assert metadata_of(store)["history"]["seed"] is None
    assert not FileObjects(root_of(store)).keys("history/")
    again = store.fetch("v1")
    assert again["model.pkl"] == FileStore(trained.root).fetch("v1")["model.pkl"]


def root_of(store: FileStore) -> Path:
    return Path(store.where.removeprefix("file://"))


def test_champion_with_and_without_history_are_compared_on_the_same_rows(
    trained: Trained, store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = [*trained.flags[:4], "--features", "raw/1", *SMALL, "--force", "--reason", "a test"]
    with_history = [*trained.flags, "--force", "--reason", "a test"]
    for flags in (plain, with_history, plain, with_history):
        assert main(["train", *flags, "--json"]) == 0
        capsys.readouterr()
    gates = [metadata_of(store, f"v{n}")["gate"] for n in (2, 3, 4)]
    assert [gate["champion"]["version"] for gate in gates] == ["v1", "v2", "v3"]
    rows = {gate["comparison"]["rows"] for gate in gates}
    assert len(rows) == 1
    # The same two models meet twice, once on each side.
    differences = [gate["comparison"]["average_precision"]["difference"] for gate in gates]
    assert differences[0] == -differences[1] == differences[2] != 0.0
    latency = gates[1]["latency"]
    assert latency["candidate_history_us_per_row"] == 0.0
    assert latency["champion_history_us_per_row"] > 0


def test_search_and_ablation_know_the_history(
    trained: Trained, store: FileStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", *trained.flags[:6], "--trials", "1", "--folds", "1", "--trees", "10"]) == 0
    assert "fraud-trainer train" in capsys.readouterr().out
    ablation = ["ablate", *trained.flags[:6], "--folds", "1", "--seeds", "1", "--trees", "15"]
    output = str(tmp_path / "ablation.json")
    assert main([*ablation, "--groups", "history:client,times", "-o", output, "--jobs", "1"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^without card history +38 ", shown, re.MULTILINE)
    assert re.search(r"^only client history +47 ", shown, re.MULTILINE)
    assert re.search(r"^history:client +9 ", shown, re.MULTILINE)
    # The version keeps it, and its report shows it.
    page = tmp_path / "report.html"
    flags = ["--ablation", output, "--report", str(page), "--no-promote"]
    assert main(["train", *trained.flags, *flags]) == 0
    kept = metadata_of(store)["ablation"]
    assert kept["stateless"]["features"] == 38
    assert "kept" not in kept
    assert "without card history" in page.read_text()
    capsys.readouterr()
    assert main(["train", *trained.flags, *flags, "--without", "mail"]) == 1
    assert "is of another program than this run: left_out is [] there" in capsys.readouterr().err


def test_imported_model_cannot_read_card_history(
    trained: Trained, store: FileStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model.txt"
    text = pickle.loads(FileStore(trained.root).fetch("v1")["model.pkl"])["lightgbm"]
    model.write_text(text)
    assert main(["import", str(model), *trained.flags[:4]]) == 1
    error = capsys.readouterr().err
    assert "which is no column of a transaction" in error
    assert "card history" in error
    assert store.versions() == []
