"""The cache of flagged transactions: order, filters, offsets, and a damaged file."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import orjson
import pytest

from dashboard.cache.flag import describe_card, format_flag_id, parse_flag_id, risk_of
from dashboard.cache.flag_table import Counts, FlagWriter
from dashboard.cache.reading import Listing, Sort, StoredFlag, read_flag, read_page
from dashboard.cache.selection import Selection
from tests.support.dashboard_kit import make_context, make_flag

ALL = Selection()
NOW = 1_000_000


def read(
    path: Path, selection: Selection = ALL, sort: Sort = Sort.NEWEST, limit: int = 100
) -> list[StoredFlag]:
    return read_page(path, Listing(selection, NOW, sort), None, limit)


def ids(path: Path, selection: Selection = ALL) -> list[str]:
    return [row.id for row in read(path, selection)]


@pytest.fixture
def writer(tmp_path: Path) -> FlagWriter:
    return FlagWriter(tmp_path / "flags.sqlite3", keep=1000)


def test_offsets_counts_and_rows_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "flags.sqlite3"
    writer = FlagWriter(path, keep=1000)
    assert writer.resume("cluster", "scores", "transactions") == {}
    counts = Counts(scored=9, flagged=1, unreadable=2)
    counts.histogram[45] = 9
    writer.save([make_flag(4)], {0: 10, 3: 7}, counts)
    writer.close()
    again = FlagWriter(path, keep=1000)
    assert again.resume("cluster", "scores", "transactions") == {0: 10, 3: 7}
    assert again.load_counts() == counts
    assert ids(path) == ["0-4"]


@pytest.mark.parametrize(
    "origin",
    [
        ("other", "scores", "transactions"),
        ("cluster", "other", "transactions"),
        ("cluster", "scores", "other"),
    ],
)
def test_rows_of_another_cluster_or_topic_are_deleted(
    writer: FlagWriter, origin: tuple[str, str, str]
) -> None:
    writer.resume("cluster", "scores", "transactions")
    writer.save([make_flag(1)], {0: 2}, Counts(scored=1))
    assert writer.resume(*origin) == {}
    assert ids(writer.path) == []
    assert writer.load_counts() == Counts()


def test_damaged_file_is_recreated(tmp_path: Path) -> None:
    path = tmp_path / "flags.sqlite3"
    path.write_bytes(b"this is not a database" * 100)
    writer = FlagWriter(path, keep=1000)
    writer.save([make_flag(1)], {}, Counts())
    assert ids(path) == ["0-1"]


def test_oldest_rows_are_deleted_when_the_table_is_full(writer: FlagWriter) -> None:
    writer.save([make_flag(i, scored_at=i) for i in range(1101)], {}, Counts())
    kept = read(writer.path, limit=5000)
    assert [row.position.offset for row in kept] == list(range(1100, 100, -1))


def test_same_record_read_twice_is_one_row(writer: FlagWriter) -> None:
    writer.save([make_flag(1)], {}, Counts())
    writer.save([make_flag(1)], {}, Counts())
    assert ids(writer.path) == ["0-1"]


def test_flag_is_found_by_its_source_coordinates(writer: FlagWriter) -> None:
    writer.save([make_flag(8, partition=3)], {}, Counts())
    found = read_flag(writer.path, "3-8")
    assert found is not None
    assert orjson.loads(found)["id"] == "3-8"
    assert read_flag(writer.path, "8-3") is None


def test_same_coordinates_on_another_topic_are_another_flag(writer: FlagWriter) -> None:
    writer.save([make_flag(8), make_flag(8, topic="transactions-eu")], {}, Counts())
    assert set(ids(writer.path)) == {"0-8", "transactions-eu:0-8"}
    where = parse_flag_id("transactions-eu:0-8", "transactions")
    assert where == ("transactions-eu", 0, 8)
    assert format_flag_id(*where, "transactions") == "transactions-eu:0-8"
    assert parse_flag_id("transactions:0-8", "transactions") == ("transactions", 0, 8)


@pytest.mark.parametrize(
    "source",
    [{"topic": "a topic"}, {"topic": ""}, {"topic": "x" * 250}, {"partition": -1}, {"offset": -1}],
)
def test_coordinates_that_no_record_has_are_refused(source: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is not the place"):
        make_flag(**{"offset": 1, **source})


def test_file_of_the_previous_release_is_rebuilt(tmp_path: Path) -> None:
    path = tmp_path / "flags.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.execute("CREATE TABLE flags (partition, offset, scored_at, body)")
        old.execute("PRAGMA user_version = 1")
    writer = FlagWriter(path, keep=1000)
    writer.save([make_flag(1)], {}, Counts())
    assert ids(path) == ["0-1"]


@pytest.mark.parametrize(
    ("amount", "loss"),
    [(200.0, 100.0), (1e15, 5e14), (None, 0.0), (float("inf"), 0.0), (1e308, 0.0), (-1e308, 0.0)],
)
def test_expected_loss_is_score_times_amount(amount: float | None, loss: float) -> None:
    flag = make_flag(1, score=0.5, context=make_context(TransactionAmt=amount))
    body = orjson.loads(flag.body)
    assert flag.expected_loss == body["expected_loss"] == loss
    assert flag.amount == body["amount"] == (amount if loss else None)


@pytest.mark.parametrize(
    "text", ["", "3", "-3", "3-", "a-1", "1-2-3", "³-1", "1-" + "9" * 19, ":3-1", "a b:3-1"]
)
def test_text_that_is_not_a_flag_id_is_none(text: str) -> None:
    assert parse_flag_id(text, "transactions") is None


@pytest.mark.parametrize(
    ("score", "risk"),
    [(0.39, "low"), (0.4, "elevated"), (0.59, "elevated"), (0.61, "high"), (0.81, "critical")],
)
def test_risk_bands_are_thirds_above_the_review_threshold(score: float, risk: str) -> None:
    assert risk_of(score, 0.4, 0.8) == risk


def test_risk_band_agrees_with_the_decision() -> None:
    assert risk_of(0.45, 0.4, 0.42) == "high"  # the lowest third, and blocked
    assert risk_of(0.9, 0.4, 0.95) == "high"  # the highest third, and only reviewed
    assert risk_of(0.9, 0.4, 0.42) == "critical"


def test_card_is_described_from_the_known_fields() -> None:
    context = {"card1": 13926.0, "card4": "visa", "card6": "credit"}
    assert describe_card(context) == "13926 · visa credit"
    assert describe_card({"card1": 1.5}) == "1.5"
    assert describe_card({"card1": float("inf")}) == "inf"
    assert describe_card({}) is None
