"""Histories computed again for audit and replay: the same features, whatever they begin with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from schemas.batch import HistoryColumns, build_batch
from stream_scorer.kafka.spans import Span
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.memory_store import MemoryObjects, StoreFault
from stream_scorer.state.history_source import HistorySource, HistoryUnknown
from stream_scorer.state.inputs import InputRows
from stream_scorer.state.marks import history_mark
from stream_scorer.state.reader import HistoryReader
from stream_scorer.state.snapshots import WRITER
from stream_scorer.stream.memory_broker import MemoryCluster, Record
from tests.support.factories import make_bundle
from tests.support.scoring_kit import INPUT
from tests.support.state.history_kit import (
    NOW,
    encode_rows,
    fold,
    make_card_rows,
    make_era,
    make_history_bundle,
    make_spec,
    write_snapshot,
)
from tests.support.state.memory_log import MemoryInputLog

SPEC = make_spec()
ROWS = make_card_rows(60)
BUNDLE = make_history_bundle()
FEATURES, _ = fold(SPEC, build_batch(ROWS))


@dataclass
class Bed:
    """One partition with its inputs and eras."""

    eras: tuple[Era, ...] = (make_era(SPEC),)
    objects: MemoryObjects = field(default_factory=MemoryObjects)

    def __post_init__(self) -> None:
        self.cluster = MemoryCluster(INPUT, 1)
        self.log = MemoryInputLog(self.cluster)
        self.store = HistoryStore(self.objects, is_trusted=True)
        for value in encode_rows(ROWS):
            self.cluster.produce(0, Record(b"1", value))
        for era in self.eras:
            assert self.store.create_era(era)
        self.reader = HistoryReader(self.store, self.log)

    def snapshot(self, offset: int, era: int = 0, **changes: Any) -> None:
        history = fold(SPEC, build_batch(ROWS[:offset]))[1]
        write_snapshot(self.store, self.eras[era], 0, offset, history, **changes)


def rows(first: int, last: int, begin: int | None = None) -> InputRows:
    """The inputs of some offsets."""
    n = last - first
    batch = build_batch(ROWS[first:last])
    return InputRows(0, np.arange(first, last), batch, np.ones(n, np.bool_), last, begin)


def values(found: HistoryColumns | HistoryUnknown) -> bytes:
    assert isinstance(found, HistoryColumns), found
    assert found.fingerprint == SPEC.fingerprint
    return found.values.tobytes()


def reason(found: object) -> str:
    assert isinstance(found, HistoryUnknown)
    return found.reason


def test_reader_is_the_port_of_audit_and_replay() -> None:
    source: HistorySource = Bed().reader
    assert isinstance(source, HistoryReader)


def test_features_from_the_beginning_of_the_era_are_those_of_one_pass() -> None:
    bed = Bed()
    for first, last in ((0, 10), (10, 11), (11, 60)):
        found = bed.reader.attach(BUNDLE, rows(first, last, first))
        assert values(found) == FEATURES[first:last].tobytes()
    assert bed.log.reads == []  # the caller has read everything


def test_inputs_before_the_first_are_replayed_from_the_nearest_snapshot() -> None:
    bed = Bed()
    bed.snapshot(20)
    bed.snapshot(50)
    found = bed.reader.attach(BUNDLE, rows(30, 40, 30))
    assert values(found) == FEATURES[30:40].tobytes()
    assert bed.log.reads == [(0, Span(20, 30))]


def test_inputs_that_are_known_to_hold_nothing_between_are_not_read_again() -> None:
    bed = Bed()
    bed.reader.attach(BUNDLE, rows(0, 10, 0))
    markers = replace(rows(10, 20, 10), offsets=np.arange(12, 22), next_offset=22)
    assert isinstance(bed.reader.attach(BUNDLE, markers), HistoryColumns)
    assert bed.log.reads == []


def test_inputs_that_the_caller_has_left_out_are_read() -> None:
    bed = Bed()
    bed.reader.attach(BUNDLE, rows(0, 10, 0))
    found = bed.reader.attach(BUNDLE, rows(25, 40, 25))
    assert values(found) == FEATURES[25:40].tobytes()
    assert bed.log.reads == [(0, Span(10, 25))]


def test_rows_of_which_it_is_not_known_where_they_begin_are_not_trusted() -> None:
    bed = Bed()
    bed.reader.attach(BUNDLE, rows(0, 10))
    assert values(bed.reader.attach(BUNDLE, rows(12, 20))) == FEATURES[12:20].tobytes()
    assert bed.log.reads == [(0, Span(10, 12))]


def test_reading_again_from_before_begins_with_another_state() -> None:
    bed = Bed()
    bed.reader.attach(BUNDLE, rows(0, 40, 0))
    assert values(bed.reader.attach(BUNDLE, rows(5, 30, 5))) == FEATURES[5:30].tobytes()


def test_lost_inputs_end_the_history_until_a_snapshot_after_them() -> None:
    bed = Bed()
    bed.reader.attach(BUNDLE, rows(0, 10, 0))
    bed.reader.lose(0, "the input at offset 10 cannot be decoded now")
    assert "offset 10" in reason(bed.reader.attach(BUNDLE, rows(11, 20, 11)))
    assert bed.log.reads == []  # it is not tried for each batch
    bed.snapshot(30)
    assert "offset 10" in reason(bed.reader.attach(BUNDLE, rows(20, 25, 20)))
    assert values(bed.reader.attach(BUNDLE, rows(35, 45, 35))) == FEATURES[35:45].tobytes()


def test_missing_inputs_are_a_reason_and_no_error() -> None:
    bed = Bed()
    bed.log.low[0] = 15
    assert "begins at 15" in reason(bed.reader.attach(BUNDLE, rows(20, 30, 20)))
    assert "begins at 15" in reason(bed.reader.attach(BUNDLE, rows(30, 40, 30)))


@pytest.mark.parametrize("what", ["no history", "no era", "before the era", "store"])
def test_what_is_not_known_is_said(what: str) -> None:
    bed = Bed(
        eras=(make_era(SPEC, begin=(30,)),) if what == "before the era" else (make_era(SPEC),)
    )
    bundle = BUNDLE
    if what == "no history":
        bundle = make_bundle()
    elif what == "no era":
        bed.objects.remove("history/" + SPEC.fingerprint[:16] + "/eras/000001.json")
    elif what == "store":
        bed.objects.script([StoreFault("unavailable")])
    found = reason(bed.reader.attach(bundle, rows(0, 10, 0)))
    assert {
        "no history": "reads no card history",
        "no era": "began after this input",
        "before the era": "began after this input",
        "store": "unavailable",
    }[what] in found


def later_era(number: int, begin: int) -> Era:
    return replace(
        make_era(SPEC),
        number=number,
        begin=(begin,),
        id=f"{number:032x}",
        created=NOW + timedelta(hours=number),
    )


def test_era_of_an_input_is_the_one_whose_snapshots_show_that_it_was_in_use() -> None:
    bed = Bed(eras=(make_era(SPEC), later_era(2, 0)))
    bed.snapshot(20, writer=WRITER + "one")
    bed.snapshot(30, era=1, writer="history build")  # before any scorer has taken it up
    late = fold(SPEC, build_batch(ROWS[10:40]))[1]  # as if era 2 began at 10
    write_snapshot(bed.store, bed.eras[1], 0, 40, late, writer=WRITER + "two")
    assert values(bed.reader.attach(BUNDLE, rows(0, 15, 0))) == FEATURES[:15].tobytes()
    assert "era of the card history changed" in reason(bed.reader.attach(BUNDLE, rows(25, 35, 25)))
    found = bed.reader.attach(BUNDLE, rows(40, 50, 40))
    wanted, _ = fold(SPEC, build_batch(ROWS[10:50]))
    assert values(found) == wanted[30:].tobytes()


def test_inputs_before_and_after_the_beginning_of_an_era_are_told_apart() -> None:
    bed = Bed(eras=(make_era(SPEC, begin=(30,)),))
    assert bed.reader.changes(BUNDLE, 0) == [30]
    assert "began after" in reason(bed.reader.attach(BUNDLE, rows(10, 50, 10)))  # both at once
    before, after = rows(10, 50, 10).cut(bed.reader.changes(BUNDLE, 0))
    assert "began after" in reason(bed.reader.attach(BUNDLE, before))
    wanted, _ = fold(SPEC, build_batch(ROWS[30:50]))
    assert values(bed.reader.attach(BUNDLE, after)) == wanted.tobytes()
    assert bed.reader.changes(make_bundle(), 0) == []
    bed.objects.script([StoreFault("unavailable")])
    assert HistoryReader(bed.store, bed.log).changes(BUNDLE, 0) == []


def test_check_sum_is_that_of_the_state_at_a_committed_offset() -> None:
    bed = Bed()
    bed.reader.attach(BUNDLE, rows(0, 10, 0))
    for offset in (43, 43, 20):
        mark = history_mark(
            SPEC.fingerprint, 1, fold(SPEC, build_batch(ROWS[:offset]))[1].check_sum()
        )
        assert bed.reader.check_sum(0, offset, mark.fields()) == mark.fields()["sum"]


@pytest.mark.parametrize(
    ("why", "mark"),
    [
        ("names no card history", {"sum": "0" * 16}),
        ("no score with this card history", history_mark("f" * 64, 1, 1).fields()),
        ("no era 7", history_mark(SPEC.fingerprint, 7, 1).fields()),
    ],
)
def test_mark_that_cannot_be_compared_is_said(why: str, mark: dict[str, str]) -> None:
    bed = Bed()
    bed.reader.attach(BUNDLE, rows(0, 10, 0))
    assert why in reason(bed.reader.check_sum(0, 20, mark))
