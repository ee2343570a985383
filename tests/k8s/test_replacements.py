"""The KEDA trigger and the alert links follow the settings, in our rendering and in kustomize."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.support.rendering import (
    K8S,
    VARIANTS,
    Object,
    read_env,
    render,
    render_with,
    select,
    trigger,
)
from tests.k8s.support.rules import alerts

URL = read_env(K8S / "overlays/production/runbooks.env")["url"]
OWN = """
resources: [../production]
configMapGenerator:
  - name: inference-settings
    namespace: fraud-detection-inference
    behavior: merge
    literals: [KAFKA_BOOTSTRAP_SERVERS=own:9, KAFKA_GROUP_ID=own-group, INPUT_TOPIC=own-topic]
  - name: runbooks
    namespace: fraud-detection-inference
    behavior: merge
    literals: ["url=https://wiki.test/runbooks"]
transformers: [../../transformers/kafka-trigger, ../../transformers/runbook-links]
"""


def _links(objects: list[Object]) -> dict[str, str]:
    return {
        rule["alert"]: rule["annotations"]["runbook_url"]
        for item in objects
        if item["kind"] == "PrometheusRule"
        for group in item["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }


def _watched(objects: list[Object]) -> tuple[str, str, str]:
    found = trigger(objects)
    return found["bootstrapServers"], found["consumerGroup"], found["topic"]


def _set(objects: list[Object]) -> tuple[str, str, str]:
    names = [item["metadata"]["name"] for item in objects if item["kind"] == "ConfigMap"]
    (name,) = (name for name in names if name.startswith("inference-settings"))
    found = select(objects, "ConfigMap", name)["data"]
    return found["KAFKA_BOOTSTRAP_SERVERS"], found["KAFKA_GROUP_ID"], found["INPUT_TOPIC"]


def test_alerts_link_to_the_address_of_the_overlay() -> None:
    links = _links(render("overlays/production"))
    assert links == {alert["alert"]: f"{URL}#{alert['alert'].lower()}" for alert in alerts()}
    assert URL.startswith("https://")


def test_address_of_the_runbooks_is_not_applied_to_the_cluster() -> None:
    assert "runbooks" not in {o["metadata"]["name"] for o in render("overlays/production")}


@pytest.mark.parametrize("variant", VARIANTS)
def test_autoscaler_watches_the_broker_group_and_topic_of_the_settings(variant: str) -> None:
    objects = render(variant)
    assert _watched(objects) == _set(objects)


def test_autoscaler_uses_the_address_of_strimzi() -> None:
    objects = render_with("overlays/production", "strimzi")
    assert _watched(objects) == _set(objects)
    assert _watched(objects) != _watched(render("overlays/production"))


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the manifests with a user's own overlay on top of production."""
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    copy = tmp_path_factory.mktemp("manifests") / "k8s"
    shutil.copytree(K8S, copy)
    (copy / "overlays/own").mkdir()
    (copy / "overlays/own/kustomization.yaml").write_text(OWN)
    return copy


def _kustomize(folder: Path) -> list[Any]:
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def test_own_overlay_sets_each_value_in_one_place(manifests: Path) -> None:
    objects = _kustomize(manifests / "overlays/own")
    assert _watched(objects) == _set(objects) == ("own:9", "own-group", "own-topic")
    assert {link.partition("#")[0] for link in _links(objects).values()} == {
        "https://wiki.test/runbooks"
    }
    assert "runbooks" not in {item["metadata"]["name"] for item in objects}


@pytest.mark.parametrize("variant", VARIANTS)
def test_our_rendering_replaces_like_kustomize(manifests: Path, variant: str) -> None:
    real, ours = _kustomize(manifests / variant), render(variant)
    assert _watched(real) == _watched(ours)
    assert _links(real) == _links(ours)
