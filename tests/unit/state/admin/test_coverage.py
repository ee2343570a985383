"""The first and the last transaction of retained inputs."""

from __future__ import annotations

import pytest

from stream_scorer.kafka.spans import Span
from stream_scorer.state.admin import coverage
from stream_scorer.state.admin.coverage import find_edges
from tests.support.state.history_kit import DAY, make_card_rows
from tests.support.state.operator_kit import OperatorBed


def spans(bed: OperatorBed) -> dict[int, Span]:
    return {p: Span(0, len(rows)) for p, rows in enumerate(bed.inputs)}


def bed_of(days: list[float]) -> OperatorBed:
    rows = [row for row in make_card_rows(4 * len(days), cards=9) if "card1" in row][: len(days)]
    for row, day in zip(rows, days, strict=True):
        row["TransactionDT"] = round(day * DAY)
    return OperatorBed(rows=rows)


def test_edges_are_those_of_all_partitions() -> None:
    days = [40.0, 41.0, 43.5, 44.0, 46.0, 52.5]
    bed = bed_of(days)
    assert sum(len(rows) > 0 for rows in bed.inputs) > 1
    assert find_edges(bed.log, spans(bed)) == (40 * DAY, round(52.5 * DAY))


def test_only_the_ends_of_each_partition_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "_SAMPLE", 3)
    bed = bed_of([40 + n / 10 for n in range(40)])
    assert find_edges(bed.log, spans(bed)) == (40 * DAY, round(43.9 * DAY))
    lengths = {span.high - span.low for _, span in bed.log.reads}
    assert lengths == {3}
    assert len(bed.log.reads) == 6


def test_nothing_is_covered_without_inputs() -> None:
    bed = OperatorBed(rows=[])
    assert find_edges(bed.log, spans(bed)) is None
    assert find_edges(bed.log, {}) is None
