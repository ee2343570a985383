"""``history show``: a card's records, from the newest snapshot of its partition."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.batch import build_batch
from stream_scorer.__main__ import main
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.opening import open_history_store
from tests.support.factories import make_transaction, publish
from tests.support.kafka.murmur2 import murmur2_partition
from tests.support.state.history_kit import DAY, fold, make_era, write_snapshot
from tests.support.state.published import SPEC, publish_history
from tests.support.stores import store_settings

CARD = 13926
PARTITIONS = 3
PLACE = murmur2_partition(str(CARD).encode(), PARTITIONS)


class Bed:
    """A store with a version that reads card history, and an era of it."""

    def __init__(self, folder: Path) -> None:
        self.store = FileStore(folder)
        self.histories: HistoryStore = open_history_store(
            store_settings(model_store_uri=folder.as_uri())
        )
        self.version = publish_history(self.store, self.histories)
        self.era: Era = make_era(SPEC, PARTITIONS)
        assert self.histories.create_era(self.era)

    def snapshot(self, offset: int, rows: list[dict[str, Any]], partition: int = PLACE) -> str:
        batch = build_batch([make_transaction(i + 1, **row) for i, row in enumerate(rows)])
        history = fold(SPEC, batch)[1]
        created = datetime.now(UTC) - timedelta(minutes=7)
        return write_snapshot(self.histories, self.era, partition, offset, history, created=created)


def row(number: int, amount: float, day: float, **more: Any) -> dict[str, Any]:
    own = {"TransactionID": number, "TransactionDT": round(day * DAY), "card1": float(CARD)}
    return {**own, "amount": amount, "addr1": 300.0, "D1": float(int(day)), "C13": 2.0, **more}


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setenv("MODEL_STORE_URI", (tmp_path / "store").as_uri())
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Bed(tmp_path / "store")
    root.handlers[:], root.level = handlers, level


def test_records_are_shown_with_names_and_amounts(
    bed: Bed, capsys: pytest.CaptureFixture[str]
) -> None:
    bed.snapshot(40, [row(1, 99.0, 30)])
    bed.snapshot(60, [row(7, 10.0, 40.5), row(8, 20.0, 41.25), row(9, 5.0, 41, card1=1.0)])
    assert main(["history", "show", str(CARD)]) == 0
    lines = capsys.readouterr().out.splitlines()
    where = f"card1 {CARD}: partition {PLACE} of {PARTITIONS}, era 1, inputs before offset 60"
    assert lines[0] == f"{where} (snapshot of 7 min ago)"
    shown = "\n".join(lines)
    assert "client " in shown
    assert ": 2 transactions" in shown
    assert "  first                    day 40 12:00:00" in lines
    assert "  last                     day 41 06:00:00, transaction 8" in lines
    assert "  amount                   mean 15, standard deviation 5, largest 20, sum 30" in lines
    assert "  mean C13                 2 (2 values)" in lines
    assert lines.index("    day 41 06:00:00             20.00") < lines.index(
        "    day 40 12:00:00             10.00"
    )
    assert "99.00" not in shown


def test_json_has_every_part(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    bed.snapshot(60, [row(7, 10.0, 40.5)])
    assert main(["history", "show", str(CARD), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["card1"], found["era"], found["partition"]) == (CARD, 1, PLACE)
    assert found["snapshot"]["next_offset"] == 60
    assert found["snapshot"]["clock"] == round(40.5 * DAY)
    assert [record["space"] for record in found["records"]] == ["client", "mail"]
    assert found["records"][0]["recent"] == [{"time": round(40.5 * DAY), "amount": 10.0}]


def test_unknown_card_is_no_error(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    bed.snapshot(60, [row(7, 10.0, 40.5, card1=5.0)])
    assert main(["history", "show", str(CARD)]) == 0
    assert "no transaction of this card is known there" in capsys.readouterr().out


def test_damaged_snapshot_is_passed_over(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    bed.snapshot(40, [row(1, 99.0, 30)])
    key = bed.snapshot(60, [row(2, 98.0, 30)])
    path = Path(bed.store.where.removeprefix("file://")) / key
    path.write_bytes(path.read_bytes()[:-7])
    assert main(["history", "show", str(CARD)]) == 0
    assert "inputs before offset 40" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            f"card {CARD} belongs to partition {PLACE}, .* no readable snapshot in era 1",
        ),
        (["--model", "v77"], "v77"),
    ],
)
def test_missing_things_are_named(
    bed: Bed, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", "show", str(CARD), *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.search(message, captured.err)
    assert "Traceback" not in captured.err


def test_version_without_card_history_is_named(
    bed: Bed, capsys: pytest.CaptureFixture[str]
) -> None:
    version = publish(bed.store)
    assert main(["history", "show", str(CARD)]) == 1
    error = capsys.readouterr().err
    assert f"version {version} reads no card history: name a version that does" in error
    bed.snapshot(60, [row(7, 10.0, 40.5)])
    assert main(["history", "show", str(CARD), "--model", bed.version]) == 0


def test_history_that_has_not_begun_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_STORE_URI", tmp_path.as_uri())
    assert main(["history", "show", str(CARD)]) == 1
    assert "no version is promoted in" in capsys.readouterr().err
    histories = open_history_store(store_settings(model_store_uri=tmp_path.as_uri()))
    version = publish_history(FileStore(tmp_path), histories)
    assert main(["history", "show", str(CARD)]) == 1
    assert f"has no card history for version {version}" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "13926.0", "card", "1e5", "--", "9" * 19])
def test_card_must_be_a_whole_number(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "show", text]) == 2
    assert "usage: stream-scorer history show" in capsys.readouterr().err
