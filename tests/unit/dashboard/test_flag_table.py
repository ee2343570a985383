"""The cache of flagged transactions: order, filters, offsets, and a damaged file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.cache.flag import (
    Flag,
    build_flag,
    describe_card,
    format_flag_id,
    parse_flag_id,
    risk_of,
)
from dashboard.cache.flag_table import Counts, FlagWriter, read_flag, read_page
from dashboard.cache.selection import Selection
from tests.support.dashboard_kit import make_context, make_score

ALL = Selection()


def make_flag(offset: int, scored_at: int = 1000, partition: int = 0, **more: Any) -> Flag:
    source = {"topic": "transactions", "partition": partition, "offset": offset}
    record = make_score(**more) | {"source": source, "scored_at": scored_at}
    return build_flag(record, "fraud-scores", partition, offset)


def ids(path: Path, selection: Selection = ALL, limit: int = 100) -> list[str]:
    return [orjson.loads(body)["id"] for _, body in read_page(path, selection, None, limit)]


@pytest.fixture
def writer(tmp_path: Path) -> FlagWriter:
    return FlagWriter(tmp_path / "flags.sqlite3", keep=1000)


def test_rows_are_newest_first_and_pages_neither_skip_nor_repeat_rows(writer: FlagWriter) -> None:
    flags = [make_flag(i, scored_at=1000 + i // 3, partition=i % 2) for i in range(30)]
    writer.save(flags[::-1], {}, Counts())
    expected = sorted(flags, key=lambda flag: flag.key, reverse=True)
    seen = []
    after = None
    while page := read_page(writer.path, ALL, after, 7):
        seen += [key for key, _ in page]
        after = page[-1][0]
    assert seen == [flag.key for flag in expected]


SCORES = st.floats(0, 1)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(SCORES, st.sampled_from(["W", "C", None])), max_size=8),
    low=st.none() | SCORES,
    high=st.none() | SCORES,
    product=st.sampled_from([None, "W", "H"]),
)
def test_table_and_selection_apply_the_same_filter(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[float, str | None]],
    low: float | None,
    high: float | None,
    product: str | None,
) -> None:
    writer = FlagWriter(tmp_path_factory.mktemp("db") / "flags.sqlite3", keep=1000)
    flags = [
        make_flag(i, score=score, context=make_context(ProductCD=kind))
        for i, (score, kind) in enumerate(rows)
    ]
    writer.save(flags, {}, Counts())
    selection = Selection(low, high, product)
    expected = {
        format_flag_id(f.key.partition, f.key.offset)
        for f in flags
        if selection.matches(f.score, f.product, f.transaction_id)
    }
    assert set(ids(writer.path, selection)) == expected
    writer.close()


def test_offsets_counts_and_rows_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "flags.sqlite3"
    writer = FlagWriter(path, keep=1000)
    assert writer.resume("cluster", "scores") == {}
    counts = Counts(scored=9, flagged=1, unreadable=2)
    counts.histogram[45] = 9
    writer.save([make_flag(4)], {0: 10, 3: 7}, counts)
    writer.close()
    again = FlagWriter(path, keep=1000)
    assert again.resume("cluster", "scores") == {0: 10, 3: 7}
    assert again.load_counts() == counts
    assert ids(path) == ["0-4"]


@pytest.mark.parametrize("origin", [("other", "scores"), ("cluster", "other")])
def test_rows_of_another_cluster_or_topic_are_deleted(
    writer: FlagWriter, origin: tuple[str, str]
) -> None:
    writer.resume("cluster", "scores")
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
    kept = read_page(writer.path, ALL, None, 5000)
    assert [key.offset for key, _ in kept] == list(range(1100, 100, -1))


def test_same_record_read_twice_is_one_row(writer: FlagWriter) -> None:
    writer.save([make_flag(1)], {}, Counts())
    writer.save([make_flag(1)], {}, Counts())
    assert ids(writer.path) == ["0-1"]


def test_flag_is_found_by_its_source_coordinates(writer: FlagWriter) -> None:
    writer.save([make_flag(8, partition=3)], {}, Counts())
    found = read_flag(writer.path, 3, 8)
    assert found is not None
    assert orjson.loads(found)["id"] == "3-8"
    assert read_flag(writer.path, 8, 3) is None


@pytest.mark.parametrize("text", ["", "3", "-3", "3-", "a-1", "1-2-3", "³-1", "1-" + "9" * 19])
def test_text_that_is_not_a_flag_id_is_none(text: str) -> None:
    assert parse_flag_id(text) is None


@pytest.mark.parametrize(
    ("score", "risk"),
    [(0.39, "low"), (0.4, "elevated"), (0.59, "elevated"), (0.61, "high"), (0.81, "critical")],
)
def test_risk_bands_are_thirds_above_the_review_threshold(score: float, risk: str) -> None:
    assert risk_of(score, 0.4) == risk


def test_card_is_described_from_the_known_fields() -> None:
    context = {"card1": 13926.0, "card4": "visa", "card6": "credit"}
    assert describe_card(context) == "13926 · visa credit"
    assert describe_card({"card1": 1.5}) == "1.5"
    assert describe_card({"card1": float("inf")}) == "inf"
    assert describe_card({}) is None
