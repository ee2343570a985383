"""The decisions of the simulator: KEDA's metric, the HPA's replicas, and the consumer group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.autoscaling.group import Group
from stream_scorer.autoscaling.hpa import Hpa, wanted_replicas
from stream_scorer.autoscaling.manifest import (
    Behavior,
    Fallback,
    KafkaTrigger,
    Policy,
)
from stream_scorer.autoscaling.scaler import KafkaScaler, bounded_lag, fallback_replicas
from tests.support.keda_kit import (
    QUICK_UP,
    SLOW_DOWN,
    THRESHOLD,
    make_autoscaler,
)

# --- KEDA's metric


def test_lag_is_bounded_by_the_partitions() -> None:
    assert bounded_lag(KafkaTrigger(THRESHOLD), [1000, 1000, 0]) == 3 * THRESHOLD
    assert bounded_lag(KafkaTrigger(THRESHOLD), [100, 50, 0]) == 150


def test_lag_just_above_the_bound_passes_as_it_does_in_keda() -> None:
    assert bounded_lag(KafkaTrigger(THRESHOLD), [299, 50, 50]) == 399


def test_idle_consumers_remove_the_bound() -> None:
    trigger = KafkaTrigger(THRESHOLD, allow_idle_consumers=True)
    assert bounded_lag(trigger, [1000, 1000, 0]) == 2000


def test_partitions_without_lag_do_not_count_if_configured() -> None:
    trigger = KafkaTrigger(THRESHOLD, limit_to_partitions_with_lag=True)
    assert bounded_lag(trigger, [5000, 0, 0]) == THRESHOLD


@pytest.mark.parametrize(
    ("lag", "pods"), [(0, 1), (100, 1), (101, 2), (401, 6), (700, 12), (99_999, 12)]
)
def test_even_distribution_takes_the_next_divisor_of_the_partitions(lag: int, pods: int) -> None:
    trigger = KafkaTrigger(THRESHOLD, ensure_even_distribution=True)
    assert bounded_lag(trigger, [lag, *[0] * 11]) == pods * THRESHOLD


def test_partition_with_an_unchanged_offset_can_be_left_out() -> None:
    scaler = KafkaScaler(KafkaTrigger(THRESHOLD, exclude_persistent_lag=True))
    assert scaler.read([80, 60], [5, 5]).metric == 140
    reading = scaler.read([80, 60], [5, 9])
    assert reading.metric == 60
    assert reading.is_active


def test_lag_at_the_activation_threshold_does_not_activate() -> None:
    scaler = KafkaScaler(KafkaTrigger(THRESHOLD, activation_lag_threshold=12))
    assert not scaler.read([1] * 12, [0] * 12).is_active
    assert scaler.read([2, *[1] * 11], [0] * 12).is_active


@pytest.mark.parametrize(
    ("behavior", "current", "expected"),
    [
        ("static", 9, 6),
        ("currentReplicas", 9, 9),
        ("currentReplicasIfHigher", 9, 9),
        ("currentReplicasIfHigher", 2, 6),
        ("currentReplicasIfLower", 9, 6),
        ("currentReplicasIfLower", 2, 2),
    ],
)
def test_fallback_gives_the_pods_its_behavior_says(
    behavior: str, current: int, expected: int
) -> None:
    assert fallback_replicas(Fallback(3, 6, behavior), current) == expected


# --- the HPA's decisions


def test_pods_are_lag_over_threshold_rounded_up() -> None:
    assert wanted_replicas(301, THRESHOLD, 1) == 4


def test_deviation_within_a_tenth_changes_nothing() -> None:
    assert wanted_replicas(440, THRESHOLD, 4) == 4
    assert wanted_replicas(441, THRESHOLD, 4) == 5
    assert wanted_replicas(360, THRESHOLD, 4) == 4
    assert wanted_replicas(290, THRESHOLD, 4) == 3


def decide_all(hpa: Hpa, readings: Sequence[tuple[float, float | None]], first: int) -> list[int]:
    """Replicas after each (second, metric)."""
    counts, current = [], first
    for now, metric in readings:
        current = hpa.decide(now, current, metric, THRESHOLD)
        counts.append(current)
    return counts


def test_scale_up_takes_the_larger_of_the_policies_each_period() -> None:
    readings = [(15.0 * n, 1200.0) for n in range(4)]
    assert decide_all(Hpa(make_autoscaler()), readings, 2) == [6, 12, 12, 12]


def test_scale_up_takes_the_smaller_policy_with_select_min() -> None:
    up = replace(QUICK_UP, select="Min")
    hpa = Hpa(make_autoscaler(behavior=Behavior(up, SLOW_DOWN)))
    assert decide_all(hpa, [(0.0, 1200.0), (15.0, 1200.0), (30.0, 1200.0)], 2) == [4, 8, 12]


def test_changes_within_a_policys_period_count_towards_its_limit() -> None:
    up = replace(QUICK_UP, policies=(Policy("Pods", 2, 60),))
    hpa = Hpa(make_autoscaler(behavior=Behavior(up, SLOW_DOWN)))
    readings = [(15.0 * n, 1200.0) for n in range(6)]
    assert decide_all(hpa, readings, 2) == [4, 4, 4, 4, 6, 6]


def test_scale_up_waits_for_the_lowest_of_its_window() -> None:
    up = replace(QUICK_UP, stabilization_seconds=30)
    hpa = Hpa(make_autoscaler(behavior=Behavior(up, SLOW_DOWN)))
    readings = [(0.0, 0.0), (15.0, 1200.0), (30.0, 400.0), (45.0, 1200.0)]
    assert decide_all(hpa, readings, 2) == [2, 2, 4, 4]


def test_scale_down_waits_for_its_window_then_halves_each_period() -> None:
    hpa = Hpa(make_autoscaler())
    readings = [(0.0, 1200.0), *((15.0 * n, 0.0) for n in range(1, 70))]
    counts = decide_all(hpa, readings, 12)
    changes = {
        now: after
        for (now, _), before, after in zip(readings[1:], counts, counts[1:], strict=False)
        if before != after
    }
    assert changes == {600.0: 6, 720.0: 3, 840.0: 2}


def test_pods_added_within_the_period_can_all_be_removed_at_once() -> None:
    """The policy counts from the replicas at the start of its period, when there were few."""
    down = replace(SLOW_DOWN, stabilization_seconds=0)
    hpa = Hpa(make_autoscaler(behavior=Behavior(QUICK_UP, down)))
    assert decide_all(hpa, [(0.0, 1200.0), (15.0, 1200.0), (30.0, 0.0)], 2) == [6, 12, 2]


def test_disabled_direction_never_scales() -> None:
    down = replace(SLOW_DOWN, stabilization_seconds=0, select="Disabled")
    hpa = Hpa(make_autoscaler(behavior=Behavior(QUICK_UP, down)))
    assert decide_all(hpa, [(0.0, 0.0), (900.0, 0.0)], 8) == [8, 8]


def test_without_behavior_doubling_and_the_controllers_window_apply() -> None:
    hpa = Hpa(make_autoscaler(behavior=None))
    readings = [(0.0, 1200.0), (15.0, 1200.0), (30.0, 0.0), (314.0, 0.0), (316.0, 0.0)]
    assert decide_all(hpa, readings, 2) == [4, 8, 12, 12, 2]


def test_unreadable_metric_changes_nothing() -> None:
    assert decide_all(Hpa(make_autoscaler()), [(0.0, None)], 5) == [5]


def test_replicas_outside_the_limits_are_brought_back() -> None:
    hpa = Hpa(make_autoscaler())
    assert hpa.decide(0.0, 1, 0.0, THRESHOLD) == 2
    assert hpa.decide(15.0, 20, 0.0, THRESHOLD) == 12


def test_deployment_at_zero_is_left_to_keda() -> None:
    assert Hpa(make_autoscaler(low=0)).decide(0.0, 0, 5000.0, THRESHOLD) == 0


# --- the consumer group


@given(
    st.lists(st.floats(0, 5000), min_size=1, max_size=30),
    st.integers(1, 20),
    st.sampled_from([None, 0.3, 1.0]),
)
def test_no_record_is_lost_or_made_up(
    arrivals: list[float], members: int, hot_share: float | None
) -> None:
    group = Group(12, 300.0, 2.0, hot_share)
    group.resize(0.0, members)
    for second, records in enumerate(arrivals):
        group.arrive(float(second), records)
        group.work(float(second), second + 1.0)
    there = sum(p.lag + p.done for p in group.partitions)
    assert there == pytest.approx(sum(arrivals), abs=1e-3)


def test_more_members_than_partitions_do_not_help() -> None:
    done = []
    for members in (4, 9):
        group = Group(4, 100.0, 0.0)
        group.resize(0.0, members)
        group.arrive(0.0, 10_000)
        group.work(0.0, 10.0)
        done.append(sum(group.committed))
    assert done == [4000, 4000]


def test_hot_partition_is_drained_by_one_member_only() -> None:
    group = Group(12, 100.0, 0.0, hot_share=0.6)
    group.resize(0.0, 12)
    group.arrive(0.0, 10_000)
    group.work(0.0, 10.0)
    assert group.lags[0] == 5000
    assert sum(group.lags[1:]) == 0


def test_unused_capacity_of_a_partition_goes_to_the_others() -> None:
    group = Group(2, 100.0, 0.0, hot_share=0.9)
    group.resize(0.0, 1)
    group.arrive(0.0, 100)
    group.work(0.0, 1.0)
    assert sum(group.lags) == 0


def test_rebalance_pauses_the_group() -> None:
    group = Group(2, 100.0, 3.0)
    group.arrive(0.0, 1000)
    group.resize(0.0, 1)
    group.work(0.0, 3.0)
    assert sum(group.committed) == 0
    group.work(3.0, 4.0)
    assert sum(group.committed) == 100


def test_age_is_that_of_the_oldest_waiting_record() -> None:
    group = Group(1, 10.0, 0.0)
    group.resize(0.0, 1)
    group.arrive(0.0, 15)
    group.arrive(1.0, 100)
    group.work(1.0, 2.0)
    assert group.max_age(5.0) == 5.0
    group.work(2.0, 3.0)
    assert group.max_age(5.0) == 4.0
