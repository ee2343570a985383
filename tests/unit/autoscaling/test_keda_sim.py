"""The autoscaler's simulator: KEDA's metric, the HPA's decisions, the group, the command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.__main__ import main
from stream_scorer.autoscaling.group import Group
from stream_scorer.autoscaling.hpa import Hpa, wanted_replicas
from stream_scorer.autoscaling.manifest import (
    Autoscaler,
    Behavior,
    Fallback,
    KafkaTrigger,
    Policy,
    ScalingRules,
    parse_scaled_object,
)
from stream_scorer.autoscaling.manifest_file import load_scaled_object
from stream_scorer.autoscaling.scaler import KafkaScaler, bounded_lag, fallback_replicas
from stream_scorer.autoscaling.simulation import SimulationOptions, Step, simulate
from stream_scorer.autoscaling.summary import summarize
from stream_scorer.autoscaling.trace import Trace, open_trace
from stream_scorer.errors import UsageError
from tests.autoscaling.beside import compare, read_run

RECORDINGS = Path(__file__).parents[2] / "autoscaling" / "recordings"
THRESHOLD = 100
QUICK_UP = ScalingRules(0, "Max", (Policy("Percent", 100, 15), Policy("Pods", 4, 15)), 0.1)
SLOW_DOWN = ScalingRules(600, "Max", (Policy("Percent", 50, 120),), 0.1)


def make_autoscaler(low: int = 2, high: int = 12, **changed: Any) -> Autoscaler:
    trigger = KafkaTrigger(lag_threshold=THRESHOLD)
    whole = Autoscaler("scorer", trigger, low, high, behavior=Behavior(QUICK_UP, SLOW_DOWN))
    return replace(whole, **changed)


def make_document(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "scorer"},
        "spec": {
            "scaleTargetRef": {"name": "scorer"},
            "minReplicaCount": 1,
            "triggers": [{"type": "kafka", "metadata": {"topic": "t", "lagThreshold": "100"}}],
            **spec,
        },
    }


def make_trigger(**metadata: Any) -> list[dict[str, Any]]:
    return [{"type": "kafka", "metadata": {"topic": "t", **metadata}}]


# -- KEDA's metric


def test_lag_is_bounded_by_the_partitions() -> None:
    assert bounded_lag(KafkaTrigger(THRESHOLD), [1000, 1000, 0]) == 3 * THRESHOLD
    assert bounded_lag(KafkaTrigger(THRESHOLD), [100, 50, 0]) == 150


def test_lag_just_above_the_bound_passes_as_it_does_in_keda() -> None:
    assert bounded_lag(KafkaTrigger(THRESHOLD), [299, 50, 50]) == 399


def test_idle_consumers_lift_the_bound() -> None:
    trigger = KafkaTrigger(THRESHOLD, allow_idle_consumers=True)
    assert bounded_lag(trigger, [1000, 1000, 0]) == 2000


def test_partitions_without_lag_do_not_count_when_asked() -> None:
    trigger = KafkaTrigger(THRESHOLD, limit_to_partitions_with_lag=True)
    assert bounded_lag(trigger, [5000, 0, 0]) == THRESHOLD


@pytest.mark.parametrize(
    ("lag", "pods"), [(0, 1), (100, 1), (101, 2), (401, 6), (700, 12), (99_999, 12)]
)
def test_even_distribution_takes_the_next_divisor_of_the_partitions(lag: int, pods: int) -> None:
    trigger = KafkaTrigger(THRESHOLD, ensure_even_distribution=True)
    assert bounded_lag(trigger, [lag, *[0] * 11]) == pods * THRESHOLD


def test_partition_whose_offset_stands_still_can_be_left_out() -> None:
    scaler = KafkaScaler(KafkaTrigger(THRESHOLD, exclude_persistent_lag=True))
    assert scaler.read([80, 60], [5, 5]).metric == 140
    reading = scaler.read([80, 60], [5, 9])
    assert reading.metric == 60
    assert reading.is_active


def test_lag_at_the_activation_threshold_wakes_nobody() -> None:
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


# -- the HPA's decision


def test_pods_are_lag_over_threshold_rounded_up() -> None:
    assert wanted_replicas(301, THRESHOLD, 1) == 4


def test_deviation_within_a_tenth_changes_nothing() -> None:
    assert wanted_replicas(440, THRESHOLD, 4) == 4
    assert wanted_replicas(441, THRESHOLD, 4) == 5
    assert wanted_replicas(360, THRESHOLD, 4) == 4
    assert wanted_replicas(290, THRESHOLD, 4) == 3


def decide_all(hpa: Hpa, moments: Sequence[tuple[float, float | None]], first: int) -> list[int]:
    """Replicas after each (second, metric)."""
    counts, current = [], first
    for now, metric in moments:
        current = hpa.decide(now, current, metric, THRESHOLD)
        counts.append(current)
    return counts


def test_scale_up_takes_the_larger_of_the_policies_each_period() -> None:
    moments = [(15.0 * n, 1200.0) for n in range(4)]
    assert decide_all(Hpa(make_autoscaler()), moments, 2) == [6, 12, 12, 12]


def test_scale_up_takes_the_smaller_policy_when_asked() -> None:
    up = replace(QUICK_UP, select="Min")
    hpa = Hpa(make_autoscaler(behavior=Behavior(up, SLOW_DOWN)))
    assert decide_all(hpa, [(0.0, 1200.0), (15.0, 1200.0), (30.0, 1200.0)], 2) == [4, 8, 12]


def test_changes_within_a_policys_period_count_against_it() -> None:
    up = replace(QUICK_UP, policies=(Policy("Pods", 2, 60),))
    hpa = Hpa(make_autoscaler(behavior=Behavior(up, SLOW_DOWN)))
    moments = [(15.0 * n, 1200.0) for n in range(6)]
    assert decide_all(hpa, moments, 2) == [4, 4, 4, 4, 6, 6]


def test_scale_up_waits_for_the_lowest_of_its_window() -> None:
    up = replace(QUICK_UP, stabilization_seconds=30)
    hpa = Hpa(make_autoscaler(behavior=Behavior(up, SLOW_DOWN)))
    moments = [(0.0, 0.0), (15.0, 1200.0), (30.0, 400.0), (45.0, 1200.0)]
    assert decide_all(hpa, moments, 2) == [2, 2, 4, 4]


def test_scale_down_waits_for_its_window_then_halves_each_period() -> None:
    hpa = Hpa(make_autoscaler())
    moments = [(0.0, 1200.0), *((15.0 * n, 0.0) for n in range(1, 70))]
    counts = decide_all(hpa, moments, 12)
    changes = {
        now: after
        for (now, _), before, after in zip(moments[1:], counts, counts[1:], strict=False)
        if before != after
    }
    assert changes == {600.0: 6, 720.0: 3, 840.0: 2}


def test_pods_added_within_the_period_can_all_go_at_once() -> None:
    """The policy counts from the replicas at its period's start, which were few."""
    down = replace(SLOW_DOWN, stabilization_seconds=0)
    hpa = Hpa(make_autoscaler(behavior=Behavior(QUICK_UP, down)))
    assert decide_all(hpa, [(0.0, 1200.0), (15.0, 1200.0), (30.0, 0.0)], 2) == [6, 12, 2]


def test_disabled_direction_never_moves() -> None:
    down = replace(SLOW_DOWN, stabilization_seconds=0, select="Disabled")
    hpa = Hpa(make_autoscaler(behavior=Behavior(QUICK_UP, down)))
    assert decide_all(hpa, [(0.0, 0.0), (900.0, 0.0)], 8) == [8, 8]


def test_without_behavior_doubling_and_the_controllers_window_hold() -> None:
    hpa = Hpa(make_autoscaler(behavior=None))
    moments = [(0.0, 1200.0), (15.0, 1200.0), (30.0, 0.0), (314.0, 0.0), (316.0, 0.0)]
    assert decide_all(hpa, moments, 2) == [4, 8, 12, 12, 2]


def test_unreadable_metric_changes_nothing() -> None:
    assert decide_all(Hpa(make_autoscaler()), [(0.0, None)], 5) == [5]


def test_replicas_outside_the_limits_are_brought_back() -> None:
    hpa = Hpa(make_autoscaler())
    assert hpa.decide(0.0, 1, 0.0, THRESHOLD) == 2
    assert hpa.decide(15.0, 20, 0.0, THRESHOLD) == 12


def test_deployment_at_zero_is_left_to_keda() -> None:
    assert Hpa(make_autoscaler(low=0)).decide(0.0, 0, 5000.0, THRESHOLD) == 0


# -- the group


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


def test_capacity_one_partition_does_not_need_goes_to_its_neighbours() -> None:
    group = Group(2, 100.0, 0.0, hot_share=0.9)
    group.resize(0.0, 1)
    group.arrive(0.0, 100)
    group.work(0.0, 1.0)
    assert sum(group.lags) == 0


def test_rebalance_stops_the_work_for_its_time() -> None:
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


# -- all together


def make_options(**changed: Any) -> SimulationOptions:
    return replace(SimulationOptions(50.0, 12, 10.0, 3.0, settle_seconds=1200.0), **changed)


def sequence(ticks: list[Step]) -> list[int]:
    counts = [tick.replicas for tick in ticks]
    return [counts[0], *(b for a, b in pairwise(counts) if a != b)]


def test_burst_goes_to_the_most_and_back_in_few_steps() -> None:
    trigger = KafkaTrigger(THRESHOLD, ensure_even_distribution=True)
    auto = make_autoscaler(trigger=trigger)
    ticks = simulate(auto, Trace((0.0, 60.0, 120.0), (20.0, 900.0, 20.0)), make_options())
    assert sequence(ticks) == [2, 6, 12, 6, 3, 2]
    summary = summarize(ticks, THRESHOLD)
    assert summary.max_replicas == 12
    assert summary.lag_at_end == 0
    assert summary.changes_of_replicas == 5
    assert summary.seconds_to_max_replicas is not None
    assert 60 < summary.seconds_to_max_replicas <= 60 + 3 * 15 + 1


def test_new_pods_work_only_after_their_start() -> None:
    ticks = simulate(make_autoscaler(), open_trace("steady:rate=900,seconds=60"), make_options())
    raised = next(t for t in ticks if t.replicas > 2)
    assert raised.working == 2
    later = next(t for t in ticks if t.working > 2)
    assert later.second == pytest.approx(raised.second + 10, abs=1)


def test_from_zero_keda_wakes_and_puts_to_sleep_after_the_cooldown() -> None:
    auto = make_autoscaler(low=0, polling_seconds=30, cooldown_seconds=300)
    ticks = simulate(auto, Trace((0.0, 100.0, 110.0), (0.0, 10.0, 0.0)), make_options())
    woken = next(t.second for t in ticks if t.replicas)
    slept = next(t.second for t in ticks if t.second > woken and not t.replicas)
    assert 100 < woken <= 130
    assert slept - woken > 300
    assert ticks[-1].lag == 0


def test_lag_below_the_activation_threshold_wakes_nobody_from_zero() -> None:
    trigger = KafkaTrigger(THRESHOLD, activation_lag_threshold=50)
    auto = make_autoscaler(low=0, trigger=trigger)
    ticks = simulate(auto, Trace((0.0, 10.0), (4.0, 0.0)), make_options(settle_seconds=300))
    assert {t.replicas for t in ticks} == {0}


def test_idle_count_of_zero_sleeps_below_the_minimum() -> None:
    auto = make_autoscaler(low=3, idle_replicas=0, cooldown_seconds=60)
    trace = Trace((0.0, 200.0, 210.0), (0.0, 50.0, 0.0))
    assert sequence(simulate(auto, trace, make_options())) == [3, 0, 5, 0]


def test_outage_raises_to_the_fallback_after_its_failures_and_never_lowers() -> None:
    auto = make_autoscaler(fallback=Fallback(3, 6, "currentReplicasIfHigher"))
    options = make_options(outage=(60.0, 300.0), settle_seconds=400.0)
    ticks = simulate(auto, open_trace("steady:rate=1,seconds=1"), options)
    assert sequence(ticks) == [2, 6]
    raised = next(t.second for t in ticks if t.replicas == 6)
    assert 60 + 3 * 15 <= raised <= 60 + 4 * 15 + 1


def test_outage_without_fallback_changes_nothing() -> None:
    options = make_options(outage=(0.0, 300.0), settle_seconds=200.0)
    ticks = simulate(make_autoscaler(), open_trace("steady:rate=900,seconds=60"), options)
    assert sequence(ticks) == [2]


# -- what is read


def test_defaults_are_kedas() -> None:
    document = make_document(triggers=make_trigger())
    del document["spec"]["minReplicaCount"]
    auto = parse_scaled_object(document)
    assert auto.trigger == KafkaTrigger()
    assert (auto.trigger.lag_threshold, auto.min_replicas, auto.max_replicas) == (10, 0, 100)
    assert (auto.polling_seconds, auto.cooldown_seconds, auto.behavior) == (30, 300, None)


def test_half_a_behavior_is_completed_with_kubernetes_defaults() -> None:
    half = {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}
    advanced = {"horizontalPodAutoscalerConfig": {"behavior": half}}
    behavior = parse_scaled_object(make_document(advanced=advanced)).behavior
    assert behavior is not None
    assert behavior.up.policies == (Policy("Pods", 4, 15), Policy("Percent", 100, 15))
    assert behavior.down.policies == (Policy("Pods", 1, 60),)
    assert behavior.down.stabilization_seconds is None  # the controller's own


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"triggers": make_trigger(lagTreshold="5")}, "lagTreshold"),
        ({"triggers": make_trigger(lagThreshold=5)}, "must be a string"),
        ({"triggers": make_trigger(lagThreshold="0")}, "lagThreshold must be 1"),
        ({"triggers": make_trigger(lagThreshold="-5")}, "-5"),
        ({"triggers": make_trigger(allowIdleConsumers="yes")}, "allowIdleConsumers"),
        ({"triggers": make_trigger(partitionLimitation="1-3")}, "partitionLimitation"),
        (
            {
                "triggers": make_trigger(
                    limitToPartitionsWithLag="true", ensureEvenDistributionOfPartitions="true"
                )
            },
            "exclude each other",
        ),
        ({"triggers": [{"type": "cpu", "metadata": {}}]}, "'cpu'"),
        ({"triggers": make_trigger() * 2}, "one trigger"),
        ({"triggers": [make_trigger()[0] | {"metricType": "Value"}]}, "AverageValue"),
        ({"minReplicaCount": 5, "maxReplicaCount": 3}, "minReplicaCount is 5"),
        ({"minReplicaCount": 0, "idleReplicaCount": 0}, "idleReplicaCount"),
        ({"minReplicaCount": 3, "idleReplicaCount": 1}, "idleReplicaCount"),
        ({"minReplicaCount": "2"}, "'2'"),
        ({"pollInterval": 5}, "pollInterval"),
        ({"fallback": {"replicas": 3, "behavior": "scalingModifiers"}}, "scalingModifiers"),
        ({"advanced": {"scalingModifiers": {"formula": "x"}}}, "scalingModifiers"),
    ],
)
def test_what_cannot_be_followed_is_named(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_scaled_object(make_document(**changed))
    assert named in str(raised.value)


def test_scaled_object_is_picked_from_several_documents(tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    other = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "scorer"}}
    path.write_text(yaml.safe_dump_all([other, make_document(), other]))
    assert load_scaled_object(path).trigger.lag_threshold == 100


def test_several_scaled_objects_need_a_name(tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    second = make_document(maxReplicaCount=7)
    second["metadata"] = {"name": "other"}
    path.write_text(yaml.safe_dump_all([make_document(), second]))
    with pytest.raises(UsageError, match="--name"):
        load_scaled_object(path)
    assert load_scaled_object(path, "other").max_replicas == 7


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "a: [", "kind: Service\n"])
def test_file_without_a_usable_scaled_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"x\.yaml"):
        load_scaled_object(path)


def test_rates_hold_until_the_next_moment(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("# made by hand\nseconds,records_per_second\n0,10\n30.5,20\n")
    trace = open_trace(str(path))
    assert [trace.rate_at(t) for t in (0, 30, 31, 999)] == [10, 10, 20, 20]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("second,rate\n0,1\n", "first line"),
        ("seconds,records_per_second\n", "no records"),
        ("seconds,records_per_second\n0,1\n0,2\n", "record 2"),
        ("seconds,records_per_second\n0,-1\n", "record 1"),
        ("seconds,records_per_second\n0,nan\n", "'nan'"),
        ("seconds,records_per_second\n0\n", "two columns"),
    ],
)
def test_fault_in_a_trace_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        open_trace(str(path))
    assert named in str(raised.value)


def test_made_trace_refuses_unknown_parameters() -> None:
    with pytest.raises(UsageError, match="top=5"):
        open_trace("burst:top=5")


def test_day_is_lowest_at_its_ends_and_highest_in_the_middle() -> None:
    trace = open_trace("day:low=10,high=30,seconds=960")
    assert [round(trace.rate_at(t)) for t in (0, 480, 960)] == [10, 30, 10]


# -- the command


def test_command_tells_figures_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, drawn = tmp_path / "so.yaml", tmp_path / "out.svg"
    manifest.write_text(yaml.safe_dump(make_document(maxReplicaCount=6)))
    code = main(
        ["keda-sim", str(manifest), "--trace", "burst:base=10,peak=900,start=30,seconds=60",
         "--capacity", "100", "--partitions", "6", "--json", "--picture", str(drawn)]
    )  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert told["summary"]["max_replicas"] == 6
    assert len(told["ticks"]) == 90 + 1800
    assert told["summary"]["pod_seconds"] == sum(t["replicas"] for t in told["ticks"])
    assert drawn.read_text().startswith("<svg")
    assert "lagThreshold 100" in drawn.read_text()


def test_command_warns_of_what_no_scaling_mends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "so.yaml"
    manifest.write_text(yaml.safe_dump(make_document(maxReplicaCount=20)))
    main(
        ["keda-sim", str(manifest), "--trace", "steady:rate=900,seconds=60", "--capacity", "100",
         "--partitions", "6", "--hot-share", "0.5", "--settle-seconds", "60"]
    )  # fmt: skip
    written = capsys.readouterr()
    assert "maxReplicaCount is 20, but 6 partitions" in written.err
    assert "hot partition gets up to 450" in written.err
    assert "need 9 pods; at most 6" in written.err
    assert "peak lag" in written.out


def test_users_mistake_is_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["keda-sim", str(tmp_path / "none.yaml"), "--trace", "steady:"])
    assert code == 1
    assert capsys.readouterr().err.count("\n") == 1


# -- beside what real controllers did


@pytest.mark.parametrize("name", ["production", "local"])
def test_simulator_decides_as_a_recorded_keda_and_hpa_did(name: str) -> None:
    found = compare(read_run(RECORDINGS / f"{name}.json"))
    assert found.simulated.sequence == found.recorded.sequence
    assert found.simulated.seconds_to_most == pytest.approx(found.recorded.seconds_to_most, abs=2)
    assert found.simulated.seconds_back == pytest.approx(found.recorded.seconds_back, abs=5)
    assert found.simulated.peak_lag == pytest.approx(found.recorded.peak_lag, rel=0.1)
    assert found.mean_difference < 0.1
