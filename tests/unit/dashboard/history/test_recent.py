"""The last transactions of a card, for the page of a flagged transaction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dashboard.history.partitions import LoadedPartition, Missing, View
from dashboard.history.recent import find_recent
from schemas.contracts import CONTEXT_COLUMNS
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec, read_space
from stream_scorer.state.placement import partitions_of
from tests.support.factories import make_transaction
from tests.support.history.scored_stream import NOW, make_era
from tests.support.history.small_spec import CARD, CLIENT, DAY, advance

RING = 3
MAIL = {
    "space": "mail",
    "version": 1,
    "key": ["card1", "P_emaildomain"],
    "ttl_days": 30,
    "ring": RING,
    "features": [{"kind": "count", "group": "velocity"}],
}
SPEC = HistorySpec(tuple(read_space(dict(space)) for space in (CLIENT, CARD, MAIL)))


def transaction(second: int, amount: float, **more: Any) -> dict[str, Any]:
    return make_transaction(
        second,
        amount,
        **{
            "TransactionDT": 20 * DAY + second,
            "card1": 1234.0,
            "addr1": 300.0,
            "D1": 5.0,
            "P_emaildomain": "gmail.com",
        }
        | more,
    )


def context_of(row: dict[str, Any]) -> dict[str, Any]:
    """What a score carries of a transaction."""
    return {name: row.get(name) for name in CONTEXT_COLUMNS}


def view_of(*rows: dict[str, Any], partitions: int = 4) -> View:
    """The history after these transactions, which are all of one card."""
    cards = np.array([int(rows[0]["card1"])], np.int64)
    own = int(partitions_of(cards, partitions)[0])
    history = PartitionHistory(SPEC)
    advance(history, rows)
    one = LoadedPartition(own, "era", history, len(rows), NOW, -1)
    found = [one if p == own else Missing("elsewhere") for p in range(partitions)]
    return View(SPEC, make_era(SPEC), tuple(found))


def shown(view: View, row: dict[str, Any]) -> tuple[str, list[tuple[int, float]], bool] | None:
    recent = find_recent(view, context_of(row))
    if recent is None:
        return None
    assert recent.as_of == NOW
    events = [(past.time - 20 * DAY, past.amount) for past in recent.transactions]
    return recent.space, events, recent.is_included


def test_client_is_found_by_the_transaction_itself_without_its_start_day() -> None:
    """The context has no D1, and so not the whole key of a client."""
    assert "D1" not in CONTEXT_COLUMNS
    own = [transaction(s, 10.25 * s) for s in (1, 2, 3, 4)]
    others = [transaction(s, 7.0, D1=9.0) for s in (5, 6)]
    view = view_of(*own, *others)
    assert shown(view, own[3]) == ("client", [(4, 41.0), (3, 30.75), (2, 20.5)], True)
    assert shown(view, others[0]) == ("client", [(6, 7.0), (5, 7.0)], True)


def test_amount_is_compared_as_it_is_remembered() -> None:
    row = transaction(1, 0.1)  # no float32 is 0.1
    found = shown(view_of(row), row)
    assert found is not None
    assert found[2]
    assert found[1] == [(1, float(np.float32(0.1)))]


def test_amount_beyond_what_is_remembered_is_found_too() -> None:
    row = transaction(1, 1e300)
    found = shown(view_of(row), row)
    assert found is not None
    assert found[1:] == ([(1, float(np.float32(1e15)))], True)


def test_transaction_that_is_not_known_yet_gets_the_record_of_a_key_that_the_score_carries() -> (
    None
):
    rows = [transaction(1, 5.0), transaction(2, 6.0, D1=9.0), transaction(3, 7.0, addr1=1.0)]
    rows.append(transaction(4, 8.0, P_emaildomain="yahoo.com"))
    view = view_of(*rows)
    assert shown(view, transaction(9, 9.0)) == ("mail", [(3, 7.0), (2, 6.0), (1, 5.0)], False)
    assert shown(view, transaction(9, 9.0, P_emaildomain="yahoo.com")) == (
        "mail", [(4, 8.0)], False,
    )  # fmt: skip
    missing = transaction(9, 9.0, P_emaildomain=None)
    assert shown(view, missing) is None


def test_another_card_with_the_same_time_and_amount_is_not_shown() -> None:
    row = transaction(1, 5.0)
    assert shown(view_of(row), row | {"card1": 1235.0}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"card1": None},
        {"card1": 1234.5},
        {"card1": float("inf")},
        {"card1": float("nan")},
        {"card1": 1e300},
        {"card1": "<b>"},
        {"TransactionDT": None},
        {"TransactionDT": -1},
        {"TransactionDT": 2**40},
        {"TransactionAmt": None},
        {"TransactionAmt": float("nan")},
    ],
)
def test_context_without_a_card_time_or_amount_finds_nothing(change: dict[str, Any]) -> None:
    row = transaction(1, 5.0)
    assert find_recent(view_of(row), context_of(row) | change) is None
    assert find_recent(view_of(row), {}) is None


def test_partition_that_is_missing_finds_nothing() -> None:
    row = transaction(1, 5.0)
    view = view_of(row)
    gone = View(SPEC, view.era, tuple(Missing("x") for _ in view.partitions))
    assert find_recent(gone, context_of(row)) is None
    assert find_recent(View(SPEC), context_of(row)) is None


def test_record_of_any_words_is_shown_without_an_error() -> None:
    """The store's writer can forge what it likes, check sums included."""
    row = transaction(1, 5.0)
    view = view_of(row)
    one = view.loaded()[0]
    for table in one._history._tables:
        words = table._arrays.words[: table.rows]
        keep = words[:, :2].copy()
        words[:] = np.uint64(2**64 - 1)
        words[:, :2] = keep
    recent = find_recent(view, context_of(row))
    assert recent is not None
    assert recent.space == "mail"
