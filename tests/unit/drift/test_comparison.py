"""Shifts between a reference and live rows, their report, and what is read of a large range."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.cli.drift.page import render_page
from stream_scorer.cli.drift.run import describe
from stream_scorer.drift.comparison import (
    Shift,
    compare_feature,
    compare_scores,
    most_moved,
    read_shift,
)
from stream_scorer.drift.features import FeatureReference
from stream_scorer.drift.picture import draw_bars
from stream_scorer.drift.reading.report import DriftReport, read_report
from stream_scorer.drift.reading.slices import SLICES, count_offsets, cut_slices
from stream_scorer.drift.reference import Reference
from stream_scorer.kafka.spans import Span

REFERENCE = FeatureReference("amount", np.array([10.0, 20.0]), np.array([40, 30, 20, 10]))


def shift(*counts: int, name: str = "amount") -> Shift:
    return compare_feature(replace(REFERENCE, name=name), np.array(counts))


def report(*features: Shift, **more: Any) -> DriftReport:
    return DriftReport("v3", 0, 86_400_000, 90_000_000, 1000, 5000, features, **more)


def test_same_distribution_has_no_shift() -> None:
    found = shift(4000, 3000, 2000, 1000)
    assert found.psi < found.by_chance
    assert found.verdict == "stable"
    assert list(found.missing) == pytest.approx([0.1, 0.1])


def test_index_is_the_sum_over_bins_and_missing_values_are_one() -> None:
    found = shift(100, 300, 200, 400)
    before, now = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.3, 0.2, 0.4])
    assert found.psi == pytest.approx(((now - before) * np.log(now / before)).sum(), rel=0.03)
    assert found.verdict == "large shift"
    assert list(found.missing) == pytest.approx([0.1, 0.4])


def test_scores_have_no_bin_of_missing_values() -> None:
    reference = Reference(np.array([0.5]), np.array([0.8, 0.2]), 1000)
    found = compare_scores(reference, np.array([200, 800]))
    assert (found.has_missing, found.missing) == (False, (0.0, 0.0))
    assert found.labels() == ["below 0.5", "0.5 and above"]
    assert list(found.expected) == pytest.approx([0.8, 0.2])


def test_bins_are_named_by_their_bounds() -> None:
    assert shift(1, 1, 1, 1).labels() == ["below 10", "10 to 20", "20 and above", "missing"]
    empty = FeatureReference("x", np.empty(0), np.array([5, 5]))
    assert compare_feature(empty, np.array([1, 1])).labels() == ["all values", "missing"]


def test_features_are_listed_by_how_far_they_moved() -> None:
    few, far, same = shift(35, 35, 20, 10), shift(0, 0, 0, 90, name="far"), shift(40, 30, 20, 10)
    assert [one.name for one in most_moved([same, few, far])] == ["far", "amount", "amount"]


def test_report_survives_json() -> None:
    scores = compare_scores(Reference(np.array([0.5]), np.array([0.8, 0.2]), 9), np.array([7, 3]))
    before = report(shift(1, 2, 3, 4), scores=scores, refused={"x": "y"}, problems=("p",))
    after = read_report(json.loads(json.dumps(before.as_json())))
    assert after.as_json() == before.as_json()
    assert after.refused == {"x": "y"}


@pytest.mark.parametrize(
    "change",
    [{"expected": [0.5]}, {"found": [0.1, 0.1, 0.1, 7]}, {"edges": "x"}, {"psi": float("nan")}],
)
def test_shift_that_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        read_shift(shift(1, 2, 3, 4).as_json() | change)


def test_terminal_shows_both_histograms_of_ten_features_and_the_reasons() -> None:
    shifts = [shift(1, 2, 3, 4 + i, name=f"f{i}") for i in range(12)]
    text = "\n".join(describe(report(*shifts, refused={"D1": "no reason"})))
    assert "f9:" in text
    assert "f10:" not in text
    assert re.search(r"10 to 20 +30\.0% +█+ +20\.0% +█+", text)
    assert "not compared: D1: no reason" in text
    assert "1,000 rows of up to 5,000" in text


def test_page_escapes_every_name_and_loads_nothing() -> None:
    name = "<script>alert(1)</script>"
    page = render_page(report(shift(1, 2, 3, 4, name=name), refused={name: name}))
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") == 3
    assert "http" not in page


def test_picture_has_a_pair_of_bars_for_each_bin() -> None:
    drawn = draw_bars(shift(1, 2, 3, 4))
    assert drawn.count('class="drift-before"') == drawn.count('class="drift-now"') == 4
    heights = [float(h) for h in re.findall(r'height="([\d.]+)"/>', drawn)]
    assert max(heights) <= 120
    assert draw_bars(shift(0, 0, 0, 0)).count("<rect") == 8


def test_small_range_is_read_whole() -> None:
    spans = {0: Span(5, 15), 3: Span(0, 10)}
    assert list(cut_slices(spans, 20)) == [spans]
    assert list(cut_slices({}, 20)) == []


def test_large_range_is_read_in_slices_over_all_of_it() -> None:
    spans = {0: Span(1000, 101_000), 1: Span(0, 300_000)}
    slices = list(cut_slices(spans, 24_000))
    assert len(slices) == SLICES
    assert sum(map(count_offsets, slices)) == pytest.approx(24_000, rel=0.01)
    for partition, span in spans.items():
        lows = np.array([one[partition].low for one in slices])
        assert lows[0] == span.low
        assert np.diff(lows) == pytest.approx((span.high - span.low) / SLICES, rel=0.01)
        assert all(one[partition].high <= span.high for one in slices)
    share = sum(one[1].high - one[1].low for one in slices) / 24_000
    assert share == pytest.approx(0.75, rel=0.01)


def test_tiny_partition_beside_a_large_one_is_not_read_twice() -> None:
    spans = {0: Span(0, 7), 1: Span(0, 1_000_000)}
    read = [
        offset
        for one in cut_slices(spans, 100)
        if 0 in one
        for offset in range(one[0].low, one[0].high)
    ]
    assert len(read) == len(set(read)) <= 7
