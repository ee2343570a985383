"""Every pod is restricted, has limits and probes, and matches its selectors."""

from __future__ import annotations

import re

import pytest

from stream_scorer.model.serving.cache import KEPT_VERSIONS
from stream_scorer.model.store.history_cache import CACHE_MAX_BYTES
from stream_scorer.model.store.names import REQUIRED_FILES, SIGNATURE, size_limit
from tests.k8s.support.known_settings import default_of
from tests.k8s.support.rendering import (
    VARIANTS,
    Object,
    all_containers,
    pod_spec,
    render,
    select,
    workload,
)

pytestmark = pytest.mark.parametrize("variant", VARIANTS)

SELECTING = {"PodDisruptionBudget", "PodMonitor", "ServiceMonitor", "Deployment", "StatefulSet"}
LISTENERS = {"stream-scorer": "METRICS_PORT", "fraud-dashboard": "DASHBOARD_PORT"}


def _workloads(variant: str) -> list[Object]:
    found = [item for item in render(variant) if pod_spec(item)]
    assert {"stream-scorer", "fraud-dashboard", "training-pipeline"} <= {
        item["metadata"]["name"] for item in found
    }
    return found


def _pod_labels(item: Object) -> dict[str, str]:
    spec = item["spec"]["jobTemplate"]["spec"] if item["kind"] == "CronJob" else item["spec"]
    labels: dict[str, str] = spec["template"]["metadata"]["labels"]
    return labels


def test_every_pod_meets_the_restricted_standard(variant: str) -> None:
    for item in _workloads(variant):
        name, spec = item["metadata"]["name"], pod_spec(item)
        assert spec is not None
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        for container in all_containers(item):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name


def test_every_namespace_enforces_the_restricted_standard(variant: str) -> None:
    objects = render(variant)
    spaces = [item for item in objects if item["kind"] == "Namespace"]
    assert {"fraud-detection-training", "fraud-detection-inference"} <= {
        item["metadata"]["name"] for item in spaces
    }
    for item in spaces:
        labels = item["metadata"]["labels"]
        for mode in ("enforce", "audit", "warn"):
            assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"


def test_our_containers_have_a_read_only_root_and_a_tmp(variant: str) -> None:
    ours = [
        (item, container)
        for item in _workloads(variant)
        for container in all_containers(item)
        if container.get("args", [""])[0] in {"stream-scorer", "fraud-dashboard", "fraud-trainer"}
    ]
    assert len(ours) >= 3
    for item, container in ours:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
        assert pod_spec(item)["securityContext"]["runAsUser"] == 10001  # type: ignore[index]


def test_caches_fit_into_the_volume_of_a_scorer(variant: str) -> None:
    """A pod whose volume passes its limit is evicted."""
    scorer = select(render(variant), "Deployment", "stream-scorer")
    spec = pod_spec(scorer)
    (container,) = spec["containers"]  # type: ignore[index]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}  # type: ignore[index]
    limits = {
        path: int(volumes[mounts[path]]["emptyDir"]["sizeLimit"].removesuffix("Mi"))
        for path in ("/var/lib/stream-scorer", "/tmp")
    }
    bundle = sum(size_limit(name) for name in (*REQUIRED_FILES, SIGNATURE))
    written = (KEPT_VERSIONS + 1) * bundle + CACHE_MAX_BYTES
    assert written <= limits["/var/lib/stream-scorer"] << 20
    ephemeral = container["resources"]["limits"]["ephemeral-storage"]
    assert sum(limits.values()) + 256 <= int(ephemeral.removesuffix("Gi")) << 10, "room for logs"


def test_every_image_is_pinned(variant: str) -> None:
    for item in _workloads(variant):
        for container in all_containers(item):
            assert re.fullmatch(r"[a-z0-9./-]+:v?\d+\.\d+\.\d+", container["image"]), container


def test_every_container_has_requests_and_a_memory_limit(variant: str) -> None:
    for item in _workloads(variant):
        for container in all_containers(item):
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"]), container["name"]
            assert "memory" in resources["limits"], container["name"]


def test_threads_follow_the_cpu_limit(variant: str) -> None:
    for item in _workloads(variant):
        if item["metadata"]["name"] not in {*LISTENERS, "training-pipeline"}:
            continue
        (container,) = all_containers(item)
        env = {entry["name"]: entry for entry in container["env"]}
        for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
            assert env[name]["valueFrom"]["resourceFieldRef"] == {"resource": "limits.cpu"}
        assert float(container["resources"]["limits"]["cpu"]) >= 1


@pytest.mark.parametrize("name", sorted(LISTENERS))
def test_probes_use_the_port_of_the_process(variant: str, name: str) -> None:
    item = workload(render(variant), name)
    (container,) = all_containers(item)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert list(ports.values()) == [default_of(LISTENERS[name])]
    paths = {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    for probe, path in paths.items():
        request = container[probe]["httpGet"]
        assert request["path"] == path
        assert request["port"] in ports


def test_rollout_removes_a_scorer_only_after_its_successor_is_ready(variant: str) -> None:
    spec = select(render(variant), "Deployment", "stream-scorer")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] >= 30


def test_decisions_of_a_dashboard_survive_its_pod(variant: str) -> None:
    objects = render(variant)
    item = select(objects, "StatefulSet", "fraud-dashboard")
    spec, pods = item["spec"], pod_spec(item)
    (container,) = pods["containers"]  # type: ignore[index]
    # The default of DASHBOARD_STATE_DIR in the image is in this folder: see test_images.
    (state,) = [m for m in container["volumeMounts"] if m["mountPath"] == "/var/lib/stream-scorer"]
    (claim,) = spec["volumeClaimTemplates"]
    assert state["name"] == claim["metadata"]["name"]
    assert state["name"] not in {volume["name"] for volume in pods["volumes"]}  # type: ignore[index]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert spec["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }
    # In order, a pod that never becomes ready would block the rollback.
    assert spec["podManagementPolicy"] == "Parallel"
    assert spec["updateStrategy"] == {"type": "RollingUpdate"}
    assert pods["securityContext"]["fsGroup"] == pods["securityContext"]["runAsUser"]  # type: ignore[index]
    assert pods["terminationGracePeriodSeconds"] >= 30  # type: ignore[index]
    assert select(objects, "Service", spec["serviceName"])
    target = select(objects, "HorizontalPodAutoscaler", "fraud-dashboard")["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": item["apiVersion"], "kind": item["kind"],
                      "name": item["metadata"]["name"]}  # fmt: skip


def test_every_selector_finds_a_pod(variant: str) -> None:
    objects = render(variant)
    pods = [_pod_labels(item) for item in objects if pod_spec(item)]
    selectors = []
    for item in objects:
        spec = item.get("spec", {})
        if item["kind"] in SELECTING:
            selectors.append(spec["selector"]["matchLabels"])
        elif item["kind"] == "NetworkPolicy":
            selectors.append(spec["podSelector"].get("matchLabels", {}))
        elif item["kind"] == "Service":
            selectors.append(spec["selector"])
    assert len(selectors) >= 8
    for selector in selectors:
        assert any(selector.items() <= labels.items() for labels in pods), selector


def test_every_mounted_volume_exists(variant: str) -> None:
    for item in _workloads(variant):
        spec = pod_spec(item)
        assert spec is not None
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        claims = item["spec"].get("volumeClaimTemplates", [])
        volumes |= {claim["metadata"]["name"] for claim in claims}
        for container in all_containers(item):
            mounts = container.get("volumeMounts", [])
            assert {mount["name"] for mount in mounts} <= volumes, item["metadata"]["name"]


def test_traffic_is_denied_unless_allowed(variant: str) -> None:
    objects = render(variant)
    for namespace in ("fraud-detection-training", "fraud-detection-inference"):
        policies = {
            item["metadata"]["name"]: item["spec"]
            for item in objects
            if item["kind"] == "NetworkPolicy" and item["metadata"]["namespace"] == namespace
        }
        assert policies["default-deny"] == {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
        }
        assert len(policies) >= 3
