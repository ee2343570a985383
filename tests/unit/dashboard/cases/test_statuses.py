"""Selecting flagged transactions by the status of their case, on the tables alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.cache.flag_table import Counts, FlagWriter
from dashboard.cache.reading import Listing, Sort, count_flags, read_page
from dashboard.cache.selection import STATUSES, Selection
from dashboard.cases.case import LEASE_MS, Who
from dashboard.cases.desk_table import DeskWriter
from dashboard.cases.events import CLAIM, SNOOZE, make_event
from dashboard.cases.labels import DECIDE, WITHDRAW, Label, target_of
from dashboard.cases.log import Place
from dashboard.cases.statuses import CaseStatuses
from tests.support.dashboard_kit import make_flag

NOW = 1_795_000_000_000


def label(offset: int, target: str, number: int, kind: str = DECIDE, **more: str) -> Label:
    return Label(
        Place(0, offset), NOW, target, number, f"key-{offset}", more.get("origin", "ANALYST"),
        "FRAUD", kind, "ana", NOW + offset, None, (), None,
    )  # fmt: skip


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """Six flags. 0: decided, 1: decided and withdrawn, 2: a label without a source, 3: such a
    label, withdrawn at the desk, 4: claimed by ana, 5: snoozed; 4 also has a chargeback."""
    flags, desk = (
        FlagWriter(tmp_path / "flags.sqlite3", 1000),
        DeskWriter(tmp_path / "desk.sqlite3"),
    )
    flags.save([make_flag(i, scored_at=i, transaction_id=100 + i) for i in range(6)], {}, Counts())
    claim = make_event(CLAIM, Who("ana"), NOW, flag_id="0-4")
    snooze = make_event(SNOOZE, Who("bo"), NOW, flag_id="0-5", until=NOW + 1000)
    labels = [
        label(0, "0-0", 100),
        label(1, "0-1", 101),
        label(2, "0-1", 101, WITHDRAW),
        label(3, target_of(102), 102),
        label(4, target_of(103), 103),
        label(5, "0-3", 103, WITHDRAW),
        label(6, target_of(104), 104, origin="CHARGEBACK"),
    ]
    desk.save(labels, [(claim, Place(0, 0)), (snooze, Place(0, 1))], {})
    return flags.path, desk.path


@pytest.mark.parametrize(
    ("later", "who", "expected"),
    [
        (0, "ana", {"open": "13", "claimed": "4", "mine": "4", "snoozed": "5", "decided": "02"}),
        (0, "bo", {"open": "13", "claimed": "4", "mine": "", "snoozed": "5", "decided": "02"}),
        (1000, None, {"open": "135", "claimed": "4", "mine": "", "snoozed": "", "decided": "02"}),
        (LEASE_MS, "ana", {"open": "1345", "claimed": "", "mine": "", "snoozed": "",
                           "decided": "02"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("few", [1, 1000])
def test_rows_and_counts_are_those_of_the_status(
    monkeypatch: pytest.MonkeyPatch, tables: tuple[Path, Path], few: int, later: int,
    who: str | None, expected: dict[str, str],
) -> None:  # fmt: skip
    monkeypatch.setattr("dashboard.cache.reading._FEW", few)
    path, desk = tables
    assert set(expected) == set(STATUSES)
    for status, wanted in expected.items():
        for sort in Sort:
            statuses = CaseStatuses(desk, who)
            listing = Listing(Selection(status=status), NOW + later, sort, statuses)
            found = {row.id for row in read_page(path, listing, None, 10)}
            assert found == {f"0-{number}" for number in wanted}, (status, sort)
            assert count_flags(path, listing) == len(wanted)
