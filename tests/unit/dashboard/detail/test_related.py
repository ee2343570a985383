"""What was flagged of the same card, email domain, device or address, and how it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dashboard.cache.connection import reading
from dashboard.cache.flag import build_flag
from dashboard.cache.flag_table import Counts, FlagWriter
from dashboard.cache.related import RelatedFlags, reading_related
from dashboard.cases.case import Case
from dashboard.history.past import Recent
from dashboard.web.detail.related import DAY_MS, KIND_BY_NAME, MOST, Finder, draw_items
from stream_scorer.features.history.card_record import PastTransaction
from tests.support.dashboard_kit import make_context, make_score
from tests.support.history.scored_stream import NOW as TIME

NOW = 1_795_000_000_000
HOUR = 3_600_000
KIND_NAMES = {kind.filter: kind.name for kind in KIND_BY_NAME.values()}


class Labelled:
    """Cases of which some are decided."""

    def __init__(self, **cases: Case) -> None:
        self.cases = {name.replace("_", "-").removeprefix("c"): c for name, c in cases.items()}

    def case_of(self, flag_ids: Sequence[str]) -> Mapping[str, Case]:
        return {one: self.cases.get(one, Case()) for one in flag_ids}


def save(folder: Path, flags: Sequence[tuple[int, dict[str, Any]]]) -> Path:
    """Save flagged transactions of these times, with these fields; their ids are 0-0, 0-1, …"""
    writer = FlagWriter(folder / "flags.sqlite3", keep=10_000)
    found = []
    for i, (at, fields) in enumerate(flags):
        context = make_context(P_emaildomain=None, DeviceInfo=None, addr1=None) | fields
        source = {"topic": "transactions", "partition": 0, "offset": i}
        record = make_score(scored_at=at, context=context, source=source, transaction_id=i)
        found.append(build_flag(record, "fraud-scores", 0, i, "transactions"))
    writer.save(found, {0: len(found)}, Counts())
    writer.close()
    return writer.path


def flag_of(table: Path, number: int) -> dict[str, Any]:
    import orjson

    from dashboard.cache.reading import read_flag

    body = read_flag(table, f"0-{number}")
    assert body is not None
    return dict(orjson.loads(body))


def test_windows_reach_before_and_after_the_transaction(tmp_path: Path) -> None:
    times = [NOW, NOW - 2 * HOUR, NOW + 2 * HOUR, NOW - 3 * DAY_MS, NOW - 9 * DAY_MS]
    table = save(tmp_path, [*((at, {"card1": 9500.0}) for at in times), (NOW, {"card1": 1.0})])
    cases = Labelled(c0_1=Case(label="FRAUD"), c0_3=Case(external="FRAUD"))
    found = Finder(table, cases, NOW + DAY_MS).find(flag_of(table, 0), None)
    (card,) = found.entities
    assert (card.kind.name, card.value) == ("card", "9500")
    assert (card.day.flagged, card.day.fraud) == (3, 1)
    assert (card.week.flagged, card.week.fraud) == (4, 2)
    assert [item["id"] for item in found.items] == ["0-2", "0-0", "0-1"]
    assert found.line is not None
    assert [dot.point.state for dot in found.line.dots] == ["fraud", "this", "flagged"]


def test_every_kind_is_found_by_its_own_field(tmp_path: Path) -> None:
    fields = {"P_emaildomain": "a.example", "DeviceInfo": "SM-G950U Build/NRD90M", "addr1": 315.0}
    table = save(tmp_path, [(NOW, {"card1": 7.0, **fields}), (NOW - 1, {"card1": 8.0, **fields})])
    entities = Finder(table, Labelled(), NOW).find(flag_of(table, 0), None).entities
    assert [(e.kind.name, e.value, e.day.flagged) for e in entities] == [
        ("card", "7", 1), ("email", "a.example", 2),
        ("device", "SM-G950U Build/NRD90M", 2), ("addr", "315", 2),
    ]  # fmt: skip


def test_counts_are_bounded(tmp_path: Path) -> None:
    table = save(tmp_path, [(NOW - i, {"card1": 7.0}) for i in range(MOST + 5)])
    found = Finder(table, Labelled(), NOW).find(flag_of(table, 0), None)
    window = found.entities[0].day
    assert (window.flagged, window.is_more, len(found.items)) == (MOST, True, MOST)


def test_week_is_shown_where_the_day_has_this_one_alone(tmp_path: Path) -> None:
    table = save(tmp_path, [(NOW, {"card1": 7.0}), (NOW - 2 * DAY_MS, {"card1": 7.0})])
    found = Finder(table, Labelled(), NOW).find(flag_of(table, 0), None)
    assert len(found.items) == 2


def test_history_of_the_card_is_drawn_with_what_was_flagged_of_it(tmp_path: Path) -> None:
    same = {"card1": 7.0, "TransactionDT": 90_000, "TransactionAmt": 12.5}
    table = save(tmp_path, [(NOW, same)])
    past = [PastTransaction(90_000, 12.5), PastTransaction(86_400, 3.0)]
    line = (
        Finder(table, Labelled(), NOW)
        .find(flag_of(table, 0), Recent("client", past, TIME, True))
        .line
    )
    assert line is not None
    assert line.is_offset
    assert [(d.point.at, d.point.state) for d in line.dots] == [(86_400, "other"), (90_000, "this")]


def test_page_of_an_entity_counts_until_now_and_lists_the_newest(tmp_path: Path) -> None:
    times = [NOW - HOUR, NOW - 3 * DAY_MS, NOW - 8 * DAY_MS]
    table = save(tmp_path, [(at, {"card1": 7.0}) for at in times])
    found, items = Finder(table, Labelled(), NOW).of_entity(KIND_BY_NAME["card"], 7.0)
    assert (found.value, found.day.flagged, found.week.flagged) == ("7", 1, 2)
    assert [item["id"] for item in items] == ["0-0", "0-1", "0-2"]
    line = draw_items(items, None)
    assert line is not None
    assert {dot.point.state for dot in line.dots} == {"flagged"}
    assert draw_items(items[:1], None) is None


@pytest.mark.parametrize("fields", [{"card1": None}, {"card1": None, "P_emaildomain": ""}])
def test_missing_field_has_no_entity(tmp_path: Path, fields: dict[str, Any]) -> None:
    table = save(tmp_path, [(NOW, fields)])
    found = Finder(table, Labelled(), NOW).find(flag_of(table, 0), None)
    assert (found.entities, found.items, found.line) == ([], [], None)


def test_texts_are_compared_exactly_and_the_newest_come_first(tmp_path: Path) -> None:
    emails = ["a.example", "A.example", "a.example", "b.example"]
    table = save(tmp_path, [(NOW + i, {"P_emaildomain": one}) for i, one in enumerate(emails)])
    with reading_related(table) as related:
        assert related.ids("email", "a.example", (NOW, NOW + 9), 9) == ["0-2", "0-0"]
        assert related.ids("email", "a.example", (NOW, NOW + 9), 1) == ["0-2"]
        assert related.ids("email", "a.example", (NOW, NOW + 1), 9) == ["0-0"]
        assert related.bodies(["0-1", "0-9"]).keys() == {"0-1"}


@pytest.mark.parametrize("name", ["card1", "addr1", "email", "device"])
def test_value_that_all_transactions_have_costs_no_more_than_its_limit(
    tmp_path: Path, name: str
) -> None:
    fields: dict[str, float | str] = {
        "card1": 7.0, "P_emaildomain": "a.example", "DeviceInfo": "x", "addr1": 315.0,
    }  # fmt: skip
    value = fields[KIND_BY_NAME[KIND_NAMES[name]].field]

    def steps(rows: int) -> int:
        """Ten instructions of SQLite each."""
        folder = tmp_path / str(rows)
        folder.mkdir()
        table, count = save(folder, [(NOW + i, fields) for i in range(rows)]), 0

        def step() -> int:
            nonlocal count
            count += 1
            return 0

        with reading(table) as db:
            db.execute("SELECT id FROM flags LIMIT 1").fetchall()
            db.set_progress_handler(step, 10)
            found = RelatedFlags(db).ids(name, value, (NOW - DAY_MS, NOW + DAY_MS), 20)
        assert len(found) == 20
        return count

    assert steps(300) < 2 * steps(60)
