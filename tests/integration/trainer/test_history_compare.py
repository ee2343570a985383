"""``fraud-trainer history compare`` on a real Kafka."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.__main__ import main as scorer
from stream_scorer.kafka.reader import committed_spans
from stream_scorer.model.bundle import build_files
from stream_scorer.model.store.file_store import FileObjects, FileStore
from stream_scorer.model.store.history_era import EraSeed
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.settings import GroupSettings
from tests.support.command_kit import PARTITIONS, give_outcomes
from tests.support.factories import publish
from tests.support.history.snapshots import ERA
from tests.support.records import read_all
from tests.support.training.history_kit import make_history_draft, make_spec, read_rows
from trainer.__main__ import main
from trainer.history.rows import compute_history

ROWS = 1500  # of the rows of ``make_history_draft``

Printed = pytest.CaptureFixture[str]


@dataclass(frozen=True, slots=True)
class Produced:
    """Transactions in a file and in the topic, and a promoted version with card history."""

    file: Path
    settings: GroupSettings
    store: Path

    def lines(self) -> list[str]:
        """The lines of the file, the header first."""
        return self.file.read_text().splitlines()

    def changed(self, change: Callable[[list[str]], list[str]]) -> str:
        """A file with other lines after the header."""
        path = self.file.with_name("changed.csv")
        head, *rows = self.lines()
        path.write_text("\n".join([head, *change(rows)]) + "\n")
        return str(path)


@pytest.fixture
def produced(
    environment: GroupSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Produced:
    monkeypatch.setenv("MODEL_STORE_URI", (tmp_path / "store").as_uri())
    assert main(["synth", str(tmp_path), "--rows", str(ROWS), "--seed", "3"]) == 0
    file = tmp_path / "train_transaction.csv"
    assert scorer(["produce", str(file)]) == 0
    store = FileStore(tmp_path / "store")
    store.promote(store.publish(*build_files(make_history_draft())), None)
    return Produced(file, environment, tmp_path / "store")


def run(capsys: Printed, file: str, *flags: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = main(["history", "compare", "--transactions", file, *flags, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_file_and_topic_with_the_same_transactions_have_the_same_history(
    produced: Produced, capsys: Printed
) -> None:
    code, found = run(capsys, str(produced.file))
    assert code == 0
    assert found["in_file"] == found["in_topic"] == found["compared"] == ROWS
    assert (found["differing"], found["problems"], found["era"]) == (0, [], None)
    assert found["version"] == "v1"
    assert found["spec"] == make_spec().fingerprint
    # The order of the file does not matter, since the trainer sorts it.
    assert run(capsys, produced.changed(lambda rows: rows[::-1]))[0] == 0
    spans = committed_spans(produced.settings, "g", produced.settings.input_topic, PARTITIONS)
    assert min(span.high for span in spans.values()) > 0  # every partition was compared


def test_transaction_that_one_side_lacks_is_named_where_its_card_comes_back(
    produced: Produced, capsys: Printed
) -> None:
    code, whole = run(capsys, str(produced.file))
    lost = missing_with_a_later_one()
    without = produced.changed(lambda rows: [r for r in rows if not r.startswith(f"{lost},")])
    code, found = run(capsys, without)
    assert code == 1
    assert (found["in_file"], found["only_in_topic"]) == (ROWS - 1, 1)
    assert found["differing"] == len(found["differences"]) > 0
    first = found["differences"][0]
    assert first["why"].startswith(
        f"missing earlier row: the earlier transaction {lost} (partition"
    )
    assert first["why"].endswith("is in the topic and not in the file")
    assert first["file"].startswith("line ")
    assert whole["differing"] == 0
    assert main(["history", "compare", "--transactions", without, "--limit", "1"]) == 1
    shown = capsys.readouterr().out
    assert f"in both       {ROWS - 1:,}, of which {found['differing']} differ" in shown
    assert f"transaction {first['transaction']} ({first['file']}, partition " in shown
    if found["differing"] > 1:
        assert f"and {found['differing'] - 1} more; --limit N explains more" in shown


def missing_with_a_later_one() -> int:
    """A transaction after which its client has another one."""
    rows = read_rows(ROWS)
    spec = make_spec()
    counts = compute_history(rows, spec, lambda _: None).columns.values[
        :, spec.names.index("client_count")
    ]
    batch = rows.part(rows.labels >= 0).batch
    later = int((counts > 0).nonzero()[0][-1])
    keys = [tuple(batch.row(i)[c] for c in ("card1", "addr1")) for i in range(later + 1)]
    return int(batch.ids[max(i for i in range(later) if keys[i] == keys[later])])


def test_rejected_inputs_are_in_no_history(produced: Produced, capsys: Printed) -> None:
    """A dead letter of a stage before scoring; one of the stage score counts."""
    inputs = read_all(produced.settings, produced.settings.input_topic)
    give_outcomes(produced.settings, inputs[:40], ["decode", "score"])
    code, found = run(capsys, str(produced.file))
    assert found["in_topic"] == ROWS - 20
    assert found["only_in_file"] == 20
    assert code == (1 if found["differing"] else 0)
    assert all("missing earlier row" in one["why"] for one in found["differences"])


def test_both_sides_begin_with_the_seed_and_the_offsets_of_the_era(
    produced: Produced, capsys: Printed
) -> None:
    spec = make_spec()
    seed = compute_history(read_rows(600), spec, lambda _: None, has_seed=True).seed
    assert seed is not None
    histories = HistoryStore(FileObjects(produced.store), is_trusted=True)
    histories.write_seed(seed.content)
    of_seed = EraSeed(seed.facts.sha256, seed.facts.as_of)
    topic = produced.settings.input_topic
    begin = (0,) * PARTITIONS
    era = replace(ERA, spec=spec.fingerprint, number=1, topic=topic, begin=begin, seed=of_seed)
    assert histories.create_era(era)
    code, found = run(capsys, str(produced.file))
    assert (code, found["era"], found["as_of"]) == (0, 1, seed.facts.as_of)
    assert found["compared"] == ROWS
    assert main(["history", "compare", "--transactions", str(produced.file)]) == 0
    assert f"beginning as era 1 does, with its seed up to {seed.facts.as_of}" in (
        capsys.readouterr().out
    )
    code, cold = run(capsys, str(produced.file), "--cold")
    assert (code, cold["era"]) == (0, None)


def test_mistakes_are_one_line(
    produced: Produced, tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["history", "compare", "--transactions", str(produced.file)]
    other = tmp_path / "other.csv"
    head = produced.lines()[0]
    other.write_text(f"{head}\n7" + produced.lines()[1][7:] + "\n")

    def error(code: int, *arguments: str) -> str:
        capsys.readouterr()
        assert main([*arguments]) == code
        shown = capsys.readouterr().err.splitlines()
        return shown[-1]

    assert "raw/1 reads no card history" in error(1, *argv, "--features", "raw/1")
    assert "no version v7 in" in error(1, *argv, "--model", "v7")
    assert "--limit -1 must be from 0" in error(2, *argv, "--limit", "-1")
    assert "no TransactionID of" in error(1, *argv[:3], str(other))
    assert "nowhere.csv: No such file" in error(1, *argv[:3], "nowhere.csv")
    empty = tmp_path / "empty"
    monkeypatch.setenv("MODEL_STORE_URI", empty.as_uri())
    assert "no version is promoted in" in error(1, *argv)
    publish(FileStore(empty))
    assert "v1 of ieee-cis/1 reads no card history" in error(1, *argv)
    monkeypatch.setenv("INPUT_TOPIC", "nowhere")
    assert "topic not found" in error(1, *argv, "--cold", "--features", history_program(tmp_path))


def history_program(folder: Path) -> str:
    from tests.support.training.history_kit import make_history_program
    from trainer.programs.toml import program_text

    path = folder / "mine.toml"
    path.write_text(program_text(make_history_program()))
    return str(path)
