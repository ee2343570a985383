"""Simulations, the parsing of manifests and traces, and the keda-sim command."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_scorer.__main__ import main
from stream_scorer.autoscaling.manifest import (
    Autoscaler,
    Fallback,
    KafkaTrigger,
    Policy,
    parse_scaled_object,
)
from stream_scorer.autoscaling.manifest_file import load_scaled_object
from stream_scorer.autoscaling.simulation import SimulationOptions, Step, simulate
from stream_scorer.autoscaling.summary import summarize
from stream_scorer.autoscaling.trace import Trace, open_trace
from stream_scorer.errors import UsageError
from tests.autoscaling.beside import compare, read_run
from tests.support.keda_kit import (
    THRESHOLD,
    make_autoscaler,
    make_document,
    make_trigger,
)

RECORDINGS = Path(__file__).parents[2] / "autoscaling" / "recordings"


# --- the simulation


def make_options(**changed: Any) -> SimulationOptions:
    return replace(SimulationOptions(50.0, 12, 10.0, 3.0, settle_seconds=1200.0), **changed)


def sequence(ticks: list[Step]) -> list[int]:
    counts = [tick.replicas for tick in ticks]
    return [counts[0], *(b for a, b in pairwise(counts) if a != b)]


def test_burst_scales_to_the_maximum_and_back_in_few_steps() -> None:
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


def test_keda_scales_from_zero_and_back_after_the_cooldown() -> None:
    auto = make_autoscaler(low=0, polling_seconds=30, cooldown_seconds=300)
    ticks = simulate(auto, Trace((0.0, 100.0, 110.0), (0.0, 10.0, 0.0)), make_options())
    woken = next(t.second for t in ticks if t.replicas)
    slept = next(t.second for t in ticks if t.second > woken and not t.replicas)
    assert 100 < woken <= 130
    assert slept - woken > 300
    assert ticks[-1].lag == 0


def test_lag_below_the_activation_threshold_does_not_scale_from_zero() -> None:
    trigger = KafkaTrigger(THRESHOLD, activation_lag_threshold=50)
    auto = make_autoscaler(low=0, trigger=trigger)
    ticks = simulate(auto, Trace((0.0, 10.0), (4.0, 0.0)), make_options(settle_seconds=300))
    assert {t.replicas for t in ticks} == {0}


def test_idle_count_of_zero_scales_below_the_minimum() -> None:
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


# --- parsing


def rules(**changed: Any) -> dict[str, Any]:
    return {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": changed}}}


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
        ({"triggers": make_trigger(consumerGroup=None)}, "metadata.consumerGroup is missing"),
        ({"triggers": make_trigger(consumerGroup="")}, "metadata.consumerGroup is missing"),
        ({"triggers": make_trigger(bootstrapServers=None)}, "metadata.bootstrapServers is missing"),
        ({"triggers": make_trigger(offsetResetPolicy="first")}, "offsetResetPolicy is 'first'"),
        ({"triggers": make_trigger(lagThreshold="9" * 5000)}, "lagThreshold is '999"),
        ({"triggers": make_trigger(lagThreshold=str(2**63))}, "lagThreshold is '92"),
        ({"minReplicaCount": 10**5000}, "minReplicaCount is a number with more than 40 digits"),
        ({"initialCooldownPeriod": "soon"}, "initialCooldownPeriod is 'soon'"),
        ({"advanced": rules(tolerance=float("nan"))}, "behavior.scaleDown.tolerance is nan"),
        ({"advanced": rules(tolerance="nan")}, "behavior.scaleDown.tolerance is 'nan'"),
        ({"advanced": rules(tolerance=-0.1)}, "behavior.scaleDown.tolerance is -0.1"),
        ({"advanced": rules(policies=[])}, "scaleDown.policies must be a list of at least one"),
        ({"advanced": rules(policies=3)}, "scaleDown.policies must be a list of at least one"),
        ({"advanced": rules(policies=[7])}, "scaleDown.policies[0] must be a mapping"),
    ],
)
def test_unsupported_field_is_named(changed: dict[str, Any], named: str) -> None:
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


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("offsetResetPolicy: earliest", "offsetResetPolicy: first", "line {}: spec.triggers[0]."),
        ("maxReplicaCount: 12", "maxReplicaCount: -1", "line {}: spec.maxReplicaCount is -1"),
        ("replicas: 6", "replicas: " + "9" * 5000, "is not valid YAML: Exceeds the limit"),
        (
            "        topic: transactions",
            "        topc: x",
            "line {}: spec.triggers[0].metadata.topc",
        ),
    ],
)
def test_fault_in_a_file_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = Path("k8s/base/inference/scorer-scaledobject.yaml").read_text("utf-8")
    assert text.count(old) == 1
    path = tmp_path / "scaledobject.yaml"
    path.write_text(text.replace(old, new))
    line = 1 + text[: text.index(old)].count("\n")
    with pytest.raises(UsageError) as raised:
        load_scaled_object(path)
    assert f"{path}" in str(raised.value)
    assert message.format(line) in str(raised.value)


def test_missing_field_is_named_with_the_line_of_its_mapping(tmp_path: Path) -> None:
    text = Path("k8s/base/inference/scorer-scaledobject.yaml").read_text("utf-8")
    path = tmp_path / "scaledobject.yaml"
    path.write_text(text.replace("        consumerGroup: stream-scorer\n", ""))
    line = 1 + text[: text.index("bootstrapServers:")].count("\n")
    with pytest.raises(UsageError) as raised:
        load_scaled_object(path)
    assert f"line {line}: spec.triggers[0].metadata.consumerGroup is missing" in str(raised.value)


def test_manifest_that_nests_too_deep_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text("[" * 5000)
    with pytest.raises(UsageError, match="it nests too deep"):
        load_scaled_object(path)


def test_tolerance_may_be_a_quantity() -> None:
    behavior = parse_scaled_object(make_document(advanced=rules(tolerance="50m"))).behavior
    assert behavior is not None
    assert behavior.down.tolerance == 0.05


# --- scaling to zero


def zero(activation: int = 0, **changed: Any) -> Autoscaler:
    trigger = KafkaTrigger(lag_threshold=100, activation_lag_threshold=activation)
    return make_autoscaler(0, trigger=trigger, cooldown_seconds=120, **changed)


def test_steady_load_keeps_the_last_pod() -> None:
    ticks = simulate(zero(12), open_trace("steady:rate=45,seconds=3600"), make_options())
    counts = sequence(ticks[:3600])
    assert counts[-1] == 1  # after the backlog of the first minute
    assert 0 not in counts


def test_pods_go_to_zero_a_cooldown_after_the_last_record() -> None:
    trace = Trace((0.0, 600.0), (45.0, 0.0))
    ticks = simulate(zero(12), trace, make_options())
    last = max(tick.second for tick in ticks if tick.replicas)
    assert 600 + 120 - 30 <= last <= 600 + 120 + 30  # KEDA looks every 30 s


def test_load_below_the_activation_threshold_waits_at_zero() -> None:
    ticks = simulate(zero(500), open_trace("steady:rate=1,seconds=300"), make_options())
    assert {tick.replicas for tick in ticks[:300]} == {0}


def test_rate_holds_until_the_next_time(tmp_path: Path) -> None:
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


def test_generated_trace_refuses_unknown_parameters() -> None:
    with pytest.raises(UsageError, match="top=5"):
        open_trace("burst:top=5")


def test_day_is_lowest_at_its_ends_and_highest_in_the_middle() -> None:
    trace = open_trace("day:low=10,high=30,seconds=960")
    assert [round(trace.rate_at(t)) for t in (0, 480, 960)] == [10, 30, 10]


# --- the command


def test_command_prints_json_and_writes_a_chart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, drawn = tmp_path / "so.yaml", tmp_path / "out.svg"
    manifest.write_text(yaml.safe_dump(make_document(maxReplicaCount=6)))
    code = main(
        ["keda-sim", str(manifest), "--trace", "burst:base=10,peak=900,start=30,seconds=60",
         "--capacity", "100", "--partitions", "6", "--json", "--picture", str(drawn)]
    )  # fmt: skip
    result = json.loads(capsys.readouterr().out)
    assert code == 0
    assert result["summary"]["max_replicas"] == 6
    assert len(result["ticks"]) == 90 + 1800
    assert result["summary"]["pod_seconds"] == sum(t["replicas"] for t in result["ticks"])
    assert drawn.read_text().startswith("<svg")
    assert "lagThreshold 100" in drawn.read_text()


def test_command_warns_about_what_scaling_cannot_fix(
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


def test_user_error_is_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["keda-sim", str(tmp_path / "none.yaml"), "--trace", "steady:"])
    assert code == 1
    assert capsys.readouterr().err.count("\n") == 1


# --- against recordings of real controllers


@pytest.mark.parametrize("name", ["production", "local"])
def test_simulator_decides_as_a_recorded_keda_and_hpa_did(name: str) -> None:
    found = compare(read_run(RECORDINGS / f"{name}.json"))
    assert found.simulated.sequence == found.recorded.sequence
    assert found.simulated.seconds_to_most == pytest.approx(found.recorded.seconds_to_most, abs=2)
    assert found.simulated.seconds_back == pytest.approx(found.recorded.seconds_back, abs=5)
    assert found.simulated.peak_lag == pytest.approx(found.recorded.peak_lag, rel=0.1)
    assert found.mean_difference < 0.1
