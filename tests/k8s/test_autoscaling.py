"""The autoscalers have the settings they need to work."""

from __future__ import annotations

import re

import pytest

from stream_scorer.autoscaling.manifest import parse_scaled_object
from stream_scorer.autoscaling.simulation import SimulationOptions, simulate
from stream_scorer.autoscaling.summary import summarize
from stream_scorer.autoscaling.trace import Trace
from stream_scorer.process.topics import DEFAULT_PARTITIONS
from tests.k8s.support.rendering import K8S, ROOT, VARIANTS, render, select, trigger, workload

each_variant = pytest.mark.parametrize("variant", VARIANTS)
DERIVATION = re.compile(r"([\d,]+) x (\d+) = ([\d,]+)")


@each_variant
def test_there_is_a_partition_for_every_scorer(variant: str) -> None:
    spec = select(render(variant), "ScaledObject", "stream-scorer")["spec"]
    assert 1 <= spec["minReplicaCount"] <= spec["maxReplicaCount"] <= DEFAULT_PARTITIONS
    assert spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


@each_variant
def test_manifests_set_no_replicas_where_an_autoscaler_does(variant: str) -> None:
    objects = render(variant)
    scaled = {
        item["spec"]["scaleTargetRef"]["name"]
        for item in objects
        if item["kind"] in {"ScaledObject", "HorizontalPodAutoscaler"}
    }
    assert scaled == {"stream-scorer", "fraud-dashboard"}
    for name in scaled:
        assert "replicas" not in workload(objects, name)["spec"]


@each_variant
def test_each_deployment_has_one_autoscaler(variant: str) -> None:
    targets = [
        item["spec"]["scaleTargetRef"]["name"]
        for item in render(variant)
        if item["kind"] in {"ScaledObject", "HorizontalPodAutoscaler"}
    ]
    assert len(targets) == len(set(targets))


@each_variant
def test_trigger_has_only_fields_that_keda_reads_with_string_values(variant: str) -> None:
    metadata = trigger(render(variant))
    known = (
        "bootstrapServers consumerGroup topic lagThreshold activationLagThreshold version "
        "offsetResetPolicy ensureEvenDistributionOfPartitions excludePersistentLag sasl tls"
    )
    assert set(metadata) <= set(known.split())
    # `version: 2.5.0` is a string in YAML. `lagThreshold: 10000` is a number, which KEDA refuses.
    assert all(isinstance(value, str) for value in metadata.values())


@each_variant
def test_lag_is_counted_from_where_the_consumer_reads(variant: str) -> None:
    metadata = trigger(render(variant))
    assert metadata["offsetResetPolicy"] == "earliest"
    assert metadata["ensureEvenDistributionOfPartitions"] == "true"
    assert metadata["excludePersistentLag"] == "false"
    assert int(metadata["activationLagThreshold"]) >= DEFAULT_PARTITIONS
    assert int(metadata["lagThreshold"]) >= 1000  # the default of KEDA, 10, is far too low


@each_variant
def test_unreadable_lag_never_shrinks_the_group(variant: str) -> None:
    spec = select(render(variant), "ScaledObject", "stream-scorer")["spec"]
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"


@each_variant
def test_scale_down_waits_because_it_is_a_rebalance(variant: str) -> None:
    spec = select(render(variant), "ScaledObject", "stream-scorer")["spec"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    down = behavior["scaleDown"]
    assert down["stabilizationWindowSeconds"] >= 300
    # A policy counts from the replicas at the start of its period. If a quick rise is younger than
    # the period, that number is small, and all pods could be removed at once.
    assert down["stabilizationWindowSeconds"] > max(p["periodSeconds"] for p in down["policies"])
    assert all(p["type"] == "Percent" and p["value"] <= 50 for p in down["policies"])


@each_variant
def test_dashboard_scales_on_cpu_and_memory_it_requests(variant: str) -> None:
    objects = render(variant)
    spec = select(objects, "HorizontalPodAutoscaler", "fraud-dashboard")["spec"]
    targets = {
        metric["resource"]["name"]: metric["resource"]["target"]["averageUtilization"]
        for metric in spec["metrics"]
    }
    assert targets == {"cpu": 70, "memory": 80}
    dashboard = workload(objects, "fraud-dashboard")
    (container,) = dashboard["spec"]["template"]["spec"]["containers"]
    assert set(targets) <= set(container["resources"]["requests"])
    down = spec["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] == 300
    assert down["policies"] == [{"type": "Percent", "value": 10, "periodSeconds": 60}]


def test_lag_threshold_is_the_planned_rate_times_the_accepted_delay() -> None:
    """The derivation is next to the value and in the guide."""
    path = K8S / "base" / "inference" / "scorer-scaledobject.yaml"
    derived = [DERIVATION.search(p.read_text()) for p in (path, ROOT / "docs" / "autoscaling.md")]
    figures = {tuple(int(n.replace(",", "")) for n in found.groups()) for found in derived if found}
    ((rate, delay, threshold),) = figures
    assert all(derived)
    assert rate * delay == threshold
    assert {int(trigger(render(variant))["lagThreshold"]) for variant in VARIANTS} == {threshold}


@each_variant
def test_simulated_burst_scales_to_the_maximum_and_back(variant: str) -> None:
    scaler = parse_scaled_object(select(render(variant), "ScaledObject", "stream-scorer"))
    capacity = 20_000.0
    over = 2.0 * scaler.max_replicas * capacity
    trace = Trace((0.0, 60.0, 120.0), (1000.0, over, 1000.0))
    ticks = simulate(scaler, trace, SimulationOptions(capacity, DEFAULT_PARTITIONS))
    summary = summarize(ticks, scaler.trigger.lag_threshold)
    assert summary.max_replicas == scaler.max_replicas
    assert summary.seconds_to_max_replicas is not None
    assert summary.seconds_to_max_replicas <= 60 + 3 * 15 + 1
    assert ticks[-1].replicas == scaler.min_replicas
    assert summary.lag_at_end == 0
    assert summary.changes_of_replicas <= 6  # each is a rebalance
    assert not scaler.notes  # no field without effect


@pytest.mark.parametrize("name", ["stream-scorer", "fraud-dashboard"])
@each_variant
def test_pods_spread_without_blocking_drains_or_scheduling(variant: str, name: str) -> None:
    objects = render(variant)
    spec = select(objects, "PodDisruptionBudget", name)["spec"]
    assert spec["maxUnavailable"] == 1  # one rebalance at a time; never 0, which blocks a drain
    assert "minAvailable" not in spec
    pods = workload(objects, name)["spec"]["template"]["spec"]
    spread = {one["topologyKey"]: one for one in pods["topologySpreadConstraints"]}
    assert set(spread) == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    # A scorer that waits for the right zone scores nothing.
    assert {one["whenUnsatisfiable"] for one in spread.values()} == {"ScheduleAnyway"}
