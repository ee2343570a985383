"""The rules under which the autoscalers can work."""

from __future__ import annotations

import pytest

from stream_scorer.topics import DEFAULT_PARTITIONS
from tests.k8s.rendering import VARIANTS, render, select, trigger

pytestmark = pytest.mark.parametrize("variant", VARIANTS)


def test_there_is_a_partition_for_every_scorer(variant: str) -> None:
    spec = select(render(variant), "ScaledObject", "stream-scorer")["spec"]
    assert 1 <= spec["minReplicaCount"] <= spec["maxReplicaCount"] <= DEFAULT_PARTITIONS
    assert spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


def test_no_replicas_where_an_autoscaler_owns_them(variant: str) -> None:
    objects = render(variant)
    scaled = {
        item["spec"]["scaleTargetRef"]["name"]
        for item in objects
        if item["kind"] in {"ScaledObject", "HorizontalPodAutoscaler"}
    }
    assert scaled == {"stream-scorer", "fraud-dashboard"}
    for name in scaled:
        assert "replicas" not in select(objects, "Deployment", name)["spec"]


def test_each_deployment_has_one_autoscaler(variant: str) -> None:
    targets = [
        item["spec"]["scaleTargetRef"]["name"]
        for item in render(variant)
        if item["kind"] in {"ScaledObject", "HorizontalPodAutoscaler"}
    ]
    assert len(targets) == len(set(targets))


def test_trigger_has_only_fields_that_keda_reads_and_strings_for_values(variant: str) -> None:
    metadata = trigger(render(variant))
    known = (
        "bootstrapServers consumerGroup topic lagThreshold activationLagThreshold version "
        "offsetResetPolicy ensureEvenDistributionOfPartitions excludePersistentLag sasl tls"
    )
    assert set(metadata) <= set(known.split())
    # `version: 2.5.0` is no number in YAML; `lagThreshold: 10000` would be, and refused.
    assert all(isinstance(value, str) for value in metadata.values())


def test_lag_is_counted_as_the_consumer_reads(variant: str) -> None:
    metadata = trigger(render(variant))
    assert metadata["offsetResetPolicy"] == "earliest"
    assert metadata["ensureEvenDistributionOfPartitions"] == "true"
    assert metadata["excludePersistentLag"] == "false"
    assert int(metadata["activationLagThreshold"]) >= DEFAULT_PARTITIONS
    assert int(metadata["lagThreshold"]) >= 1000  # keda's default, 10, is far off


def test_unreadable_lag_never_shrinks_the_group(variant: str) -> None:
    spec = select(render(variant), "ScaledObject", "stream-scorer")["spec"]
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"


def test_scale_down_waits_because_it_is_a_rebalance(variant: str) -> None:
    spec = select(render(variant), "ScaledObject", "stream-scorer")["spec"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 300


def test_dashboard_scales_on_cpu_and_memory_it_requests(variant: str) -> None:
    objects = render(variant)
    spec = select(objects, "HorizontalPodAutoscaler", "fraud-dashboard")["spec"]
    targets = {
        metric["resource"]["name"]: metric["resource"]["target"]["averageUtilization"]
        for metric in spec["metrics"]
    }
    assert targets == {"cpu": 70, "memory": 80}
    deployment = select(objects, "Deployment", "fraud-dashboard")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert set(targets) <= set(container["resources"]["requests"])
    down = spec["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] == 300
    assert down["policies"] == [{"type": "Percent", "value": 10, "periodSeconds": 60}]
