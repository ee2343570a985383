"""The records of a card, read back with names."""

from __future__ import annotations

import json
import math

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.features.history.card_record import (
    CardRecord,
    Decayed,
    MeanValue,
    PastTransaction,
    find_card,
    read_record,
)
from tests.support.history.small_spec import DAY, SPEC, history_of

CLIENT_SPACE, CARD_SPACE = SPEC.spaces


def records_of(*rows: dict[str, object], card: int = 1000) -> list[CardRecord]:
    return find_card(SPEC, history_of(rows).records(), card)


def row(number: int, amount: float, day: float, **more: object) -> dict[str, object]:
    own = {"TransactionID": number, "TransactionDT": round(day * DAY), "card1": 1000.0}
    return {**own, "TransactionAmt": amount, "addr1": 300.0, "D1": float(int(day)), **more}


def test_record_has_what_the_transactions_were() -> None:
    client, _ = records_of(
        row(11, 10.0, 5, C1=1.0, C2=7.0, P_emaildomain="gmail.com"),
        row(12, 30.0, 6, C1=4.0, C2=9.0, P_emaildomain="yahoo.com"),
        row(13, 20.0, 7, C2=5.0),
    )
    assert (client.space, client.card, client.count) == ("client", 1000, 3)
    assert (client.first_time, client.last_time, client.last_transaction) == (5 * DAY, 7 * DAY, 13)
    assert (client.amount, client.mean, client.largest) == (60.0, 20.0, 30.0)
    assert client.deviation == pytest.approx(math.sqrt(200 / 3))
    assert client.decayed == {DAY: Decayed(1.75, 2.5 + 15 + 20)}
    assert client.means == {"C1": MeanValue(2.5, 2), "TransactionAmt": MeanValue(20.0, 3)}
    assert client.lasts == {"C2": 5.0}
    assert client.different == {"P_emaildomain": 2, "addr1": 1}
    assert client.recent == [
        PastTransaction(7 * DAY, 20.0),
        PastTransaction(6 * DAY, 30.0),
        PastTransaction(5 * DAY, 10.0),
    ]


def test_only_the_last_transactions_are_remembered() -> None:
    client, _ = records_of(*(row(n, float(n), 5 + n / 100) for n in range(1, 8)))
    assert [past.amount for past in client.recent] == [7.0, 6.0, 5.0]
    assert client.count == 7


def test_record_without_optional_parts_is_complete() -> None:
    card = records_of(row(1, 10.0, 5), row(2, 20.0, 5))[-1]
    assert (card.space, card.count, card.mean, card.largest) == ("card", 2, 15.0, 20.0)
    assert (card.decayed, card.means, card.lasts, card.different, card.recent) == (
        {}, {}, {}, {}, []
    )  # fmt: skip


def test_four_or_more_different_values_are_four() -> None:
    mails = [row(n, 1.0, 5, P_emaildomain=f"m{n}.com") for n in range(1, 9)]
    assert records_of(*mails)[0].different["P_emaildomain"] == 4


def test_only_the_records_of_the_card_are_found_the_last_used_first() -> None:
    found = records_of(
        row(1, 1.0, 5, addr1=100.0),
        row(2, 2.0, 6, addr1=200.0),
        row(3, 3.0, 7, card1=1001.0),
        row(4, 4.0, 8, card1=-1.0),
    )
    assert [(r.space, r.last_transaction) for r in found] == [
        ("client", 2), ("client", 1), ("card", 2)
    ]  # fmt: skip
    assert len({r.rest for r in found}) == 3
    negative = history_of([row(1, 1.0, 5, card1=-1.0)]).records()
    assert [r.card for r in find_card(SPEC, negative, -1)] == [-1, -1]
    assert find_card(SPEC, negative, 1000) == []


def test_json_names_every_part() -> None:
    client = records_of(row(11, 10.0, 5, C1=1.0, C2=7.0, P_emaildomain="gmail.com"))[0]
    plain = json.loads(orjson.dumps(client.as_json()))
    assert plain == {
        "space": "client",
        "card1": 1000,
        "key_hash": f"{client.rest:016x}",
        "transactions": 1,
        "first_time": 5 * DAY,
        "last_time": 5 * DAY,
        "last_transaction_id": 11,
        "amount": {"sum": 10.0, "mean": 10.0, "standard_deviation": 0.0, "largest": 10.0},
        "decayed": [{"half_life_seconds": DAY, "transactions": 1.0, "amount": 10.0}],
        "means": {
            "C1": {"mean": 1.0, "values": 1},
            "TransactionAmt": {"mean": 10.0, "values": 1},
        },
        "last_values": {"C2": 7.0},
        "different_values": {"P_emaildomain": 1, "addr1": 1},
        "recent": [{"time": 5 * DAY, "amount": 10.0}],
    }


@given(st.binary(min_size=8 * CLIENT_SPACE.width, max_size=8 * CLIENT_SPACE.width))
def test_any_words_can_be_shown(content: bytes) -> None:
    record = read_record(CLIENT_SPACE, np.frombuffer(content, np.uint64))
    json.loads(orjson.dumps(record.as_json()))
    assert len(record.recent) <= CLIENT_SPACE.ring
