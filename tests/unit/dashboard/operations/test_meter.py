"""Delays, versions by partition and score drift, from a sample of the scores."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from dashboard.cache.flag_table import Counts
from dashboard.feed.prefix import Stamp
from dashboard.feed.reading import FlagReader, Sample, Unsaved
from dashboard.operations.delays import BOUNDS, DelayWindow
from dashboard.operations.meter import MIN_SCORES, Meter
from schemas.resolver import LocalSchemas
from stream_scorer.drift.reference import Reference
from tests.support.dashboard_kit import Clock, encode_score, make_score

REFERENCE = Reference(np.array([0.25, 0.5]), np.array([0.5, 0.25, 0.25]), 4000)


def sample(version: str = "v7", partition: int = 0, score: float = 0.1, **more: int) -> Sample:
    times = {"scored_at": 999_900, "event_time": 999_700} | more
    return Sample(
        partition, score, Stamp(0.4, 0.8, version, times["scored_at"], times["event_time"])
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_meter(clock: Clock, *, is_live: bool = True) -> Meter:
    known = {"v7": REFERENCE}
    return Meter(known.get, lambda: is_live, clock)


def test_percentiles_are_within_a_fifth_and_the_window_is_an_hour() -> None:
    window = DelayWindow()
    for delay in range(1, 1001):
        window.add(60_000, delay)
    found = window.percentiles(60_000)
    assert found is not None
    for value, exact in ((found.p50, 500), (found.p95, 950), (found.p99, 990)):
        assert abs(value - exact) <= 0.2 * exact
    window.add(61 * 60_000, 10**12)  # beyond the last bound
    late = window.percentiles(61 * 60_000)
    assert late is not None
    assert (late.count, late.p50) == (1, BOUNDS[-1])
    assert window.percentiles(200 * 60_000) is None
    assert all(low < high for low, high in pairwise(BOUNDS))


def test_delay_of_clocks_that_differ_counts_as_none() -> None:
    window = DelayWindow()
    window.add(0, -5000)
    found = window.percentiles(0)
    assert found is not None
    assert found.p99 <= 1


def test_delays_are_measured_by_leg_while_the_feed_is_live(clock: Clock) -> None:
    meter = make_meter(clock)
    meter.observe(sample())
    found = meter.delays()
    assert {name: leg["count"] for name, leg in found.items()} == {
        "event_to_score": 1, "score_to_dashboard": 1, "event_to_dashboard": 1,
    }  # fmt: skip
    assert 160 <= found["event_to_score"]["p50_ms"] <= 240
    assert 250 <= found["event_to_dashboard"]["p50_ms"] <= 360
    replay = make_meter(clock, is_live=False)
    replay.observe(sample())
    assert set(replay.delays().values()) == {None}
    assert [row["version"] for row in replay.versions()] == ["v7"]


def test_version_of_a_partition_is_that_of_its_latest_score(clock: Clock) -> None:
    meter = make_meter(clock)
    for version, at in (("v7", 100), ("v7", 200), ("v8", 300), ("v7", 400), ("v7", 500)):
        meter.observe(sample(version, partition=3, scored_at=at))
    meter.observe(sample("v8", partition=0, scored_at=600))
    first, last = meter.versions()
    assert (first["partition"], first["version"], first["before"]) == (0, "v8", [])
    assert (last["partition"], last["version"], last["since"], last["last"]) == (3, "v7", 400, 500)
    assert last["before"] == [{"version": "v8", "first": 300, "last": 300}]


def test_drift_compares_the_last_hour_with_the_reference_of_the_version(clock: Clock) -> None:
    meter = make_meter(clock)
    assert meter.drift() is None
    meter.observe(sample("v6"))  # a version without a reference here
    assert meter.drift() is None
    for number in range(MIN_SCORES - 1):
        meter.observe(sample(score=(0.1, 0.2, 0.3, 0.7)[number % 4]))
    found = meter.drift()
    assert found is not None
    assert (found["index"], found["verdict"]) == (None, "too few scores")
    meter.observe(sample(score=0.25))  # an edge belongs to the bin above it
    found = meter.drift()
    assert found is not None
    assert found["index"] < 0.01
    assert found["verdict"] == "stable"
    for _ in range(3 * MIN_SCORES):
        meter.observe(sample(score=0.9))
    shifted = meter.drift()
    assert shifted is not None
    assert shifted["verdict"] == "large shift"
    clock.now += 3600
    assert meter.drift() is None


def test_reader_samples_small_batches_in_full_and_large_ones_by_offset() -> None:
    samples: list[Sample] = []
    reader = FlagReader("scores", LocalSchemas("fraud_score"), "transactions", samples.append)
    value = encode_score(make_score(0.2, model_version="v9", scored_at=5, event_time=3))
    reader.read([(1, offset, value) for offset in range(7, 17)], Unsaved(), Counts())
    assert len(samples) == 10
    assert samples[0] == Sample(1, 0.2, Stamp(0.4, 0.8, "v9", 5, 3))
    samples.clear()
    reader.read([(1, offset, value) for offset in range(160)], Unsaved(), Counts())
    assert len(samples) == 10
