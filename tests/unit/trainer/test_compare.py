"""``models compare`` on the file of a replay, and ``models promote --if-better``."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_scorer.errors import UsageError
from stream_scorer.model.bundle import build_files
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.quality.rows import NONE
from stream_scorer.shadow.compare import replayed
from stream_scorer.shadow.compare.run import Compared, CompareOptions, run_comparison
from tests.support.factories import make_draft
from tests.unit.shadow.compare.kit import NOW, TOPIC, World
from trainer.challenger import compare as command
from trainer.commands.parser import build_parser
from trainer.data.label_file import read_label_file
from trainer.fitting.plan import WrongUsageError
from trainer.settings import TrainerSettings

WORDS = ("APPROVE", "REVIEW", "BLOCK")


def write_replay(path: Path, world: World) -> None:
    pairs = world.pairs()
    ours, theirs = pairs.champion, pairs.challenger
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*replayed._NEEDED, "amount", "card1"))
        for i in range(world.n):
            writer.writerow(
                (
                    i % 3, i, i + 1, theirs.scores[i], WORDS[theirs.decisions[i]], "v2",
                    ours.scores[i], WORDS[ours.decisions[i]], "v1", 10.0, world.cards[i],
                )
            )  # fmt: skip


def write_labels(path: Path, world: World) -> None:
    lines = [f"{i + 1},FRAUD,CHARGEBACK" for i in np.flatnonzero(world.is_fraud)]
    path.write_text("\n".join(["transaction_id,label,origin", *lines]))


def run(folder: Path, *words: str) -> int:
    arguments = build_parser().parse_args(["models", *words])
    settings = TrainerSettings(model_store_uri=(folder / "store").as_uri())
    code: int = arguments.run(arguments, settings)
    return code


@pytest.fixture
def files(tmp_path: Path) -> Path:
    world = World(3_000, 0.05, (1.5, 2.5))
    write_replay(tmp_path / "rows.csv", world)
    write_labels(tmp_path / "labels.csv", world)
    return tmp_path


def test_replayed_rows_are_compared_printed_and_published(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--replay", str(files / "rows.csv"), "--labels", str(files / "labels.csv")]
    page = files / "page.html"
    assert run(files, "compare", "v1", "v2", *given, "--html", str(page), "--publish") == 0
    said = capsys.readouterr().out
    assert said.startswith("v2 against v1: better: its average precision is higher: +0.")
    assert "\nNext: promote it with fraud-trainer models promote v2 --if-better.\n" in said
    assert "matured: 3,000 labelled transactions" in said
    assert "v2 against v1" in page.read_text()
    published = FileStore(files / "store").read_comparison("v1", "v2")
    assert published is not None
    assert json.loads(published)["verdict"] == "better"
    assert run(files, "compare", "v1", "v2", *given, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 3_000
    assert found["decisions"][0]["amount"] > 0  # a replay knows every amount
    # The cards of the file make the clusters, as the keys of the topics do.
    cards = found["labels"]["matured"]["fraud_cards"]
    assert 10 < cards < found["labels"]["matured"]["frauds"]
    reverse = ["--replay", str(files / "rows.csv"), "--labels", str(files / "labels.csv")]
    with pytest.raises(UsageError, match=r"score of both v2 and v1: .*; no version v2 in "):
        run(files, "compare", "v2", "v1", *reverse)


def test_result_is_printed_although_the_page_cannot_be_written(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--replay", str(files / "rows.csv"), "--labels", str(files / "labels.csv")]
    for word, begin in (("--json", '{"format": 1'), ("--publish", "v2 against v1: better")):
        with pytest.raises(UsageError, match=r"cannot write .*page\.html"):
            run(files, "compare", "v1", "v2", *given, "--html", str(files / "no/page.html"), word)
        assert capsys.readouterr().out.startswith(begin)


def test_published_verdict_is_no_failure_whatever_it_is(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["compare", "v1", "v2", "--json"]
    for skills, code in (((2.5, 1.5), 5), ((1.5, 2.5), 0)):
        found = judged(skills)
        monkeypatch.setattr(command, "compare_on_topics", lambda *_, f=found, **__: f)
        assert run(files, *given) == code
        assert run(files, *given, "--publish") == 0
        published = FileStore(files / "store").read_comparison("v1", "v2")
        assert published is not None
        assert json.loads(published)["verdict"] == found.result["verdict"]
    capsys.readouterr()


def test_scheduled_run_compares_what_serves_with_what_scores_in_shadow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FileStore(tmp_path / "store")
    for seed in (1, 2):
        store.publish(*build_files(make_draft(seed)))
    asked: list[tuple[str, ...]] = []

    def compared(_arguments: Any, *versions: str, quiet: bool) -> Compared:
        asked.append(versions)
        return judged((1.5, 2.5)) if not quiet else pytest.fail("it shows its progress")

    monkeypatch.setattr(command, "compare_on_topics", compared)
    nobody = "no version scores in shadow: fraud-trainer models challenge vN begins it"
    assert run(tmp_path, "compare", "--publish") == 0
    assert capsys.readouterr().out == f"{nobody}\n"
    assert run(tmp_path, "compare", "--publish", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"challenger": None, "why_not": nobody}
    with pytest.raises(UsageError, match=nobody):
        run(tmp_path, "compare")
    store.challenge("v2", store.challenger())
    assert run(tmp_path, "compare", "--publish") == 0
    assert "no version is promoted" in capsys.readouterr().out
    store.promote("v2", None)
    assert run(tmp_path, "compare", "--publish") == 0
    assert "v2 scores in shadow and is promoted" in capsys.readouterr().out
    assert asked == []
    store.promote("v1", store.current())
    assert run(tmp_path, "compare", "--publish") == 0
    assert asked == [("v1", "v2")]
    assert store.read_comparison("v1", "v2") is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("compare", "v1"), "compare v1 with which version"),
        (("compare", "v1", "v1"), "v1 cannot be compared with itself"),
        (("compare", "7", "v8"), "'7' is not a version such as v7"),
        (("compare", "v1", "v2", "--since", "14"), "--since '14' is not an age such as 36h"),
        (("compare", "v1", "v2", "--since", "0d"), "--since '0d' is not an age"),
        (("compare", "v1", "v2", "--since", "9999999w"), "is not an age"),
        (("compare", "v1", "v2", "--maturity-days", "nan"), "--maturity-days nan is not from 0"),
        (("promote", "v2", "--if-better", "--force", "--reason", "x"), "contradict each other"),
    ],
)
def test_wrong_usage_names_the_value(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(WrongUsageError, match=message):
        run(tmp_path, *words)


def test_files_that_are_no_replay_have_a_clear_error(files: Path) -> None:
    labels = ["--labels", str(files / "labels.csv")]
    with pytest.raises(UsageError, match=r"has no column partition, offset, .*: write it with"):
        run(files, "compare", "v1", "v2", "--replay", str(files / "labels.csv"), *labels)
    with pytest.raises(UsageError, match=r"cannot read .*absent\.csv"):
        run(files, "compare", "v1", "v2", "--replay", str(files / "absent.csv"), *labels)
    text = (files / "rows.csv").read_text().replace("\n0,0,1,", "\n0,zero,1,", 1)
    (files / "bad.csv").write_text(text)
    with pytest.raises(UsageError, match=r"is not the file of a replay: .*zero"):
        run(files, "compare", "v1", "v2", "--replay", str(files / "bad.csv"), *labels)


def test_labels_of_a_file_are_reports_unless_an_analyst_gave_them(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("transaction_id,label,origin\n3,FRAUD,CHARGEBACK\n1,LEGITIMATE,ANALYST\n2,1,\n")
    table = command.table_of(read_label_file(str(path)))
    assert table.ids.tolist() == [1, 2, 3]
    assert table.standing.tolist() == [0, 1, 1]
    assert table.analyst.tolist() == [0, NONE, NONE]
    assert table.report.tolist() == [NONE, 1, 1]


@cache
def judged(skills: tuple[float, float]) -> Compared:
    world = World(5_000, 0.05, skills)
    options = CompareOptions("v1", "v2", 0, NOW)
    return run_comparison(options, [world.pairs()], TOPIC, world.reports())


def test_promotion_if_better_obeys_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FileStore(tmp_path / "store")
    for seed in (1, 2):
        store.publish(*build_files(make_draft(seed)))
    with pytest.raises(UsageError, match="no version is promoted"):
        run(tmp_path, "promote", "v2", "--if-better")
    store.promote("v1", None)
    with pytest.raises(UsageError, match=r"no version v9 in .*existing versions: v1, v2"):
        run(tmp_path, "promote", "v9", "--if-better")
    asked: list[tuple[Any, ...]] = []

    def verdict_of(skills: tuple[float, float]) -> None:
        def compared(_arguments: Any, *versions: str, quiet: bool) -> Compared:
            asked.append((*versions, quiet))
            return judged(skills)

        monkeypatch.setattr(command, "compare_on_topics", compared)

    verdict_of((2.5, 1.5))
    assert run(tmp_path, "promote", "v2", "--if-better") == 5
    said = capsys.readouterr().err
    assert said.startswith("fraud-trainer: not promoted: v2 against v1: worse: its average prec")
    assert "next: keep v1, and end the shadow scoring" in said
    assert run(tmp_path, "promote", "v2", "--if-better", "--json") == 5
    found = json.loads(capsys.readouterr().out)
    assert (found["promoted"], found["verdict"]) == (None, "worse")
    pointer = store.current()
    assert pointer is not None
    assert pointer.version == "v1"
    verdict_of((1.5, 2.5))
    assert run(tmp_path, "promote", "v2", "--if-better") == 0
    pointer = store.current()
    assert pointer is not None
    assert pointer.version == "v2"
    assert asked == [("v1", "v2", True)] * 3
