"""The cluster operations of a recording, through ``kubectl`` and KUBECONFIG."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Scale:
    """The Deployment and its HPA at one time; ``metric`` is the average as the HPA prints it."""

    replicas: int
    ready: int
    desired: int | None
    metric: str | None


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(
        ["kubectl", *arguments], input=stdin, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def load_manifests(path: Path) -> list[dict[str, Any]]:
    """The objects that ``kubectl kustomize`` wrote."""
    return [item for item in yaml.safe_load_all(path.read_text(encoding="utf-8")) if item]


def find_scaled_object(objects: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The only ScaledObject."""
    (found,) = (item for item in objects if item["kind"] == "ScaledObject")
    return found


def point_at(scaled_object: dict[str, Any], bootstrap: str) -> None:
    """Point KEDA to a broker without TLS and SASL; nothing else changes."""
    (trigger,) = scaled_object["spec"]["triggers"]
    trigger.pop("authenticationRef", None)
    for key in ("sasl", "tls"):
        trigger["metadata"].pop(key, None)
    trigger["metadata"]["bootstrapServers"] = bootstrap


def recreate(objects: Sequence[dict[str, Any]], scaled_object: dict[str, Any]) -> None:
    """Delete the namespaces and create every object; returns when KEDA is ready."""
    namespaces = [item for item in objects if item["kind"] == "Namespace"]
    names = [item["metadata"]["name"] for item in namespaces]
    kubectl("delete", "namespace", "--ignore-not-found", "--timeout=180s", *names)
    for items in (namespaces, objects):
        kubectl(
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f",
            "-",
            stdin=yaml.safe_dump_all(items),
        )
    name, namespace = scaled_object["metadata"]["name"], scaled_object["metadata"]["namespace"]
    wait = ("wait", "--for=condition=Ready", f"scaledobject/{name}", "--timeout=120s")
    kubectl("-n", namespace, *wait)


def read_scale(scaled_object: dict[str, Any]) -> Scale:
    """The current state from the API server."""
    name, namespace = scaled_object["metadata"]["name"], scaled_object["metadata"]["namespace"]
    target = scaled_object["spec"]["scaleTargetRef"]["name"]
    kinds = (f"deployment.apps/{target}", f"hpa/keda-hpa-{name}")
    deployment, hpa = json.loads(kubectl("-n", namespace, "get", *kinds, "-o", "json"))["items"]
    metrics = hpa["status"].get("currentMetrics") or [{}]
    return Scale(
        deployment["spec"]["replicas"],
        deployment["status"].get("readyReplicas", 0),
        hpa["status"].get("desiredReplicas"),
        metrics[0].get("external", {}).get("current", {}).get("averageValue"),
    )
