"""Each quota fits everything that the autoscalers may request, and not much more."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from typing import Final

import pytest

from tests.k8s.support.rendering import (
    VARIANTS,
    Object,
    all_containers,
    pod_spec,
    render,
    render_with,
)

INFERENCE: Final = "fraud-detection-inference"
TRAINING: Final = "fraud-detection-training"
TRAININGS: Final = 2  # Sunday's, and one started by hand
SPARE: Final = Fraction(3, 2)  # a quota far above the need limits nothing

OPTIONS = ("strimzi", "gateway", "workload-identity", "private-ca")
QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|[KMGT]i)?")
UNITS = {None: Fraction(1), "m": Fraction(1, 1000)} | {
    f"{letter}i": Fraction(1024**power) for power, letter in enumerate("KMGT", 1)
}

each_variant = pytest.mark.parametrize("variant", VARIANTS)
each_namespace = pytest.mark.parametrize("namespace", [INFERENCE, TRAINING])


def amount(quantity: str) -> Fraction:
    """The exact value of a Kubernetes quantity."""
    found = QUANTITY.fullmatch(str(quantity))
    assert found, quantity
    return Fraction(found[1]) * UNITS[found[2]]


def the_only(objects: list[Object], kind: str, namespace: str) -> Object:
    (found,) = [
        item
        for item in objects
        if item["kind"] == kind and item["metadata"].get("namespace") == namespace
    ]
    spec: Object = found["spec"]
    return spec


def workloads(objects: list[Object], namespace: str) -> list[Object]:
    found = [o for o in objects if pod_spec(o) and o["metadata"].get("namespace") == namespace]
    assert found
    return found


def most_pods(objects: list[Object], workload: Object) -> int:
    """The number of its pods at full scale during a rollout."""
    if workload["kind"] == "CronJob":
        assert workload["spec"]["concurrencyPolicy"] == "Forbid"
        return TRAININGS
    name = workload["metadata"]["name"]
    (scaler,) = [
        item["spec"]
        for item in objects
        if item["kind"] in {"ScaledObject", "HorizontalPodAutoscaler"}
        and item["spec"]["scaleTargetRef"]["name"] == name
    ]
    most = int(scaler.get("maxReplicaCount") or scaler["maxReplicas"])
    if workload["kind"] == "StatefulSet":  # it replaces a pod only after its end
        return most
    return most + int(workload["spec"]["strategy"]["rollingUpdate"]["maxSurge"])


def needed(objects: list[Object], namespace: str) -> Counter[str]:
    """The total requests and limits, by the names of the quota."""
    total: Counter[str] = Counter()
    for workload in workloads(objects, namespace):
        pods = most_pods(objects, workload)
        total["pods"] += pods
        for container in all_containers(workload):
            for side in ("requests", "limits"):
                for name, value in container["resources"][side].items():
                    total[f"{side}.{name}"] += pods * amount(value)  # type: ignore[assignment]
    return total


def hard(objects: list[Object], namespace: str) -> dict[str, Fraction]:
    """The limits of the quota that apply to pods."""
    limits = the_only(objects, "ResourceQuota", namespace)["hard"]
    return {
        name: amount(value)
        for name, value in limits.items()
        if name == "pods"
        or (name.startswith(("requests.", "limits.")) and name != "requests.storage")
    }


@each_namespace
@each_variant
def test_quota_has_room_for_everything_at_full_scale(variant: str, namespace: str) -> None:
    objects = render(variant)
    have, want = hard(objects, namespace), needed(objects, namespace)
    assert set(have) == set(want)
    for name, value in want.items():
        # A terminating pod still counts while its successor starts.
        slack = 1 if name != "pods" else Fraction(6, 5)
        assert have[name] >= value * slack, f"{name}: {have[name]} for {value}"


@each_namespace
@pytest.mark.parametrize("variant", ["base", "overlays/production"])
def test_quota_is_not_far_above_the_need(variant: str, namespace: str) -> None:
    objects = render(variant)
    want = needed(objects, namespace)
    for name, value in hard(objects, namespace).items():
        spare = want[name] * SPARE if name != "pods" else want[name] + 6
        assert value <= spare, f"{name}: {value} for {want[name]}"


@each_namespace
@each_variant
def test_every_container_sets_what_the_quota_counts_and_is_admitted(
    variant: str, namespace: str
) -> None:
    objects = render_with(variant, *OPTIONS) if "production" in variant else render(variant)
    (bounds,) = the_only(objects, "LimitRange", namespace)["limits"]
    counted = set(hard(objects, namespace)) - {"pods"}
    for workload in workloads(objects, namespace):
        for container in all_containers(workload):
            resources = container["resources"]
            named = {f"{side}.{name}" for side in resources for name in resources[side]}
            assert named == counted, container["name"]  # otherwise a default would apply
            for name, most in bounds["max"].items():
                request, limit = resources["requests"][name], resources["limits"][name]
                assert amount(request) <= amount(limit) <= amount(most), (container["name"], name)


@each_namespace
def test_defaults_of_the_limit_range_are_small(namespace: str) -> None:
    objects = render("base")
    (bounds,) = the_only(objects, "LimitRange", namespace)["limits"]
    counted = {name.partition(".")[2] for name in hard(objects, namespace) if "." in name}
    assert set(bounds["default"]) == set(bounds["defaultRequest"]) == set(bounds["max"]) == counted
    for name in counted:
        sizes = [amount(bounds[key][name]) for key in ("defaultRequest", "default", "max")]
        assert sizes == sorted(sizes)


def test_quota_allows_a_volume_for_each_dashboard_and_no_other() -> None:
    objects = render("base")
    claims, storage = 0, Fraction(0)
    for item in workloads(objects, INFERENCE):
        for claim in item["spec"].get("volumeClaimTemplates", []):
            pods = most_pods(objects, item)
            claims += pods
            storage += pods * amount(claim["spec"]["resources"]["requests"]["storage"])
    limits = the_only(objects, "ResourceQuota", INFERENCE)["hard"]
    assert int(limits["persistentvolumeclaims"]) == claims == 10
    assert amount(limits["requests.storage"]) == storage
    assert the_only(objects, "ResourceQuota", TRAINING)["hard"]["persistentvolumeclaims"] == "0"


@each_namespace
def test_quota_allows_no_load_balancers(namespace: str) -> None:
    limits = the_only(render("base"), "ResourceQuota", namespace)["hard"]
    assert limits["services.loadbalancers"] == "0"
