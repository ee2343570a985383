"""Sampled transactions in the dashboard: listed in random places, and not counted as flagged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from dashboard.cache.flag_scores import read_flag_scores
from dashboard.cache.flag_table import Counts, FlagWriter
from dashboard.cache.reading import Listing, Sort, read_page, summarize_flags
from dashboard.cache.selection import Selection
from dashboard.feed.board import Board, FeedState
from dashboard.feed.places import SamplePlaces
from dashboard.feed.prefix import PrefixReader
from dashboard.feed.reading import FlagReader, Unsaved
from schemas.contracts import AvroSchema, known_schemas, load_schema
from schemas.resolver import LocalSchemas
from tests.support.dashboard_kit import encode_score, make_context, make_score
from tests.support.wire import FixedResolver, write_body


def sampled(offset: int, amount: float = 20.0, **more: Any) -> dict[str, Any]:
    source = {"topic": "transactions", "partition": 0, "offset": offset}
    context = make_context(TransactionAmt=amount)
    return make_score(0.1, is_sampled=True, context=context, source=source) | more


def flagged(offset: int, amount: float) -> dict[str, Any]:
    source = {"topic": "transactions", "partition": 0, "offset": offset}
    return make_score(0.5, context=make_context(TransactionAmt=amount), source=source)


def read(*records: dict[str, Any]) -> tuple[Unsaved, Counts]:
    reader = FlagReader("fraud-scores", LocalSchemas("fraud_score"), "transactions")
    unsaved, counts = Unsaved(), Counts()
    rows = [(0, offset, encode_score(record)) for offset, record in enumerate(records)]
    reader.read(rows, unsaved, counts)
    return unsaved, counts


def test_samples_are_listed_and_counted_as_scored_only() -> None:
    unsaved, counts = read(flagged(0, 100.0), make_score(0.1), sampled(2), make_score(0.2))
    assert [flag.decision for flag in unsaved.flags] == ["REVIEW", "SAMPLE"]
    assert (counts.scored, counts.flagged, counts.unreadable) == (4, 1, 0)
    tally = next(iter(unsaved.tallies.values()))
    assert (sum(t.scored for t in unsaved.tallies.values()), tally.flagged) == (4, 1)
    body = orjson.loads(unsaved.flags[1].body)
    assert (body["decision"], body["risk"]) == ("SAMPLE", "low")
    assert body["expected_loss"] == pytest.approx(2.0)  # its own; the place is another number
    assert body["place"] == unsaved.flags[1].expected_loss == 50.0


def test_place_of_a_sample_is_that_of_a_flagged_one_whatever_its_amount() -> None:
    losses = [float(10 * i) for i in range(1, 51)]
    records = [flagged(i, 2 * loss) for i, loss in enumerate(losses)]
    places = {}
    for amount in (0.01, 1e9):
        more = [sampled(100 + i, amount) for i in range(200)]
        unsaved, _ = read(*records, *more)
        places[amount] = [flag.expected_loss for flag in unsaved.flags[50:]]
    assert places[0.01] == places[1e9]
    assert set(places[1e9]) <= set(losses)
    above = sum(place > 250.0 for place in places[1e9])
    assert 70 < above < 130  # of 200, half of the places are above the median
    assert len(set(places[1e9])) > 35


def test_same_topic_gives_the_same_places_and_a_first_sample_has_one_too() -> None:
    first, second = SamplePlaces(), SamplePlaces()
    for number in range(100):
        source = {"topic": "t", "partition": 1, "offset": number}
        assert first.choose(1, source) == second.choose(1, source) > 0
        for places in (first, second):
            places.note(1, float(number + 1))
            places.note(2, -1.0)  # another partition


def test_list_sums_and_threshold_know_samples_apart(tmp_path: Path) -> None:
    unsaved, counts = read(flagged(0, 100.0), sampled(1), sampled(2), flagged(3, 10.0))
    path = tmp_path / "flags.sqlite3"
    writer = FlagWriter(path, keep=100)
    writer.save(unsaved.flags, unsaved.positions, counts, unsaved.tallies)
    now = max(flag.key.scored_at for flag in unsaved.flags)
    everything = Listing(Selection(), now, Sort.EXPECTED_LOSS)
    bodies = [orjson.loads(row.body) for row in read_page(path, everything, None, 10)]
    # As queue-state.js orders live rows.
    keys = [b["expected_loss"] if b["place"] is None else b["place"] for b in bodies]
    assert keys == sorted(keys, reverse=True)
    assert len(keys) == 4
    found = summarize_flags(path, everything)
    assert (found.flagged, found.amount, found.expected_loss) == (2, 110.0, 55.0)
    only = Listing(Selection(decision="SAMPLE"), now)
    assert len(read_page(path, only, None, 10)) == 2
    assert all(Selection(decision="SAMPLE").matches(f, now) for f in unsaved.flags[1:3])
    assert summarize_flags(path, only).flagged == 0
    scores = read_flag_scores(path, "v7", 0, now)
    assert sorted(row[5] for row in scores) == [False, False, True, True]


def test_samples_are_live_rows_and_no_flagged_ones() -> None:
    unsaved, counts = read(flagged(0, 1.0), sampled(1), sampled(2))
    board = Board()
    board.enter(FeedState.LIVE)
    board.add(unsaved.scored, unsaved.flags, unsaved.stamp, counts)
    activity = board.drain()
    assert (activity.flagged, len(activity.rows), activity.more) == (1, 3, 0)


def with_field(name: str) -> AvroSchema:
    own = load_schema("fraud_score")
    added = {"name": name, "type": "int", "default": 0}
    return {**own, "fields": [*own["fields"], added]}


def test_records_of_earlier_and_later_schemas_are_read() -> None:
    own, later = load_schema("fraud_score"), with_field("later")
    old = next(s for s in known_schemas("fraud_score").values() if s != own)
    resolver = FixedResolver({1: old, 2: later, 3: own})
    reader = FlagReader("fraud-scores", resolver, "transactions")
    records = [
        (1, old, make_score(0.1)), (1, old, flagged(1, 5.0)), (2, later, sampled(2)),
        (2, later, make_score(0.1) | {"later": -1}), (3, own, sampled(4)),
    ]  # fmt: skip
    values = [
        b"\x00" + number.to_bytes(4, "big") + write_body(schema, {"later": 0} | record)
        for number, schema, record in records
    ]
    unsaved, counts = Unsaved(), Counts()
    reader.read([(0, i, value) for i, value in enumerate(values)], unsaved, counts)
    assert [flag.decision for flag in unsaved.flags] == ["REVIEW", "SAMPLE", "SAMPLE"]
    assert (counts.scored, counts.unreadable) == (5, 0)
    assert PrefixReader(resolver).read(values[2]) is None  # its last byte says nothing
    assert PrefixReader(resolver).read(values[0]) is not None
