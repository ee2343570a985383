"""The dashboard's trainings on a real API server, with the manifests' ServiceAccount and Role.

Run ``KUBECONFIG=… python -m tests.k8s.trainings_on_cluster`` against a cluster that may be written.
It needs an API server alone: no pod has to run. Its namespaces have other names than those of the
manifests, and are deleted afterwards.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboard.trainings.kubernetes_api import ApiError, KubernetesApi
from dashboard.trainings.kubernetes_runner import KubernetesRunner
from dashboard.trainings.training import (
    AlreadyRunning,
    NotCancellable,
    Order,
    State,
    TooSoon,
    TrainingsUnavailable,
    Trigger,
    UnknownTraining,
)
from dashboard.trainings.trainings import Trainings
from tests.k8s.support.rendering import render

SPACES = {"fraud-detection-inference": "dashboard", "fraud-detection-training": "training"}
WANTED = (
    ("Namespace", ""),
    ("ServiceAccount", ""),
    ("CronJob", "training-pipeline"),
    ("ConfigMap", "trainings"),
    ("Role", "trainings"),
    ("RoleBinding", "trainings"),
)
SECONDS = 60.0
"""For a command of kubectl."""

ORDER = Order("features drift: C13 'quoted' é", Trigger.DRIFT, "alertmanager", "0" * 32)


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Standard output of kubectl."""
    command = ["kubectl", *arguments]
    done = subprocess.run(
        command, input=stdin, text=True, capture_output=True, check=False, timeout=SECONDS
    )
    if done.returncode:
        raise SystemExit(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def write_credentials(folder: Path, token: str) -> str:
    """Write what a pod finds in its folder; returns the address of the API server."""
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    cluster = config["clusters"][0]["cluster"]
    (folder / "ca.crt").write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    (folder / "token").write_text(token)
    return str(cluster["server"])


def expect(error: type[Exception], words: str, call: Callable[[], object]) -> None:
    """Check that a call is refused."""
    with pytest.raises(error, match=words):
        call()


def check_refusals(api: KubernetesApi, training: str, dashboard: str, job: dict[str, Any]) -> None:
    """Check that the ServiceAccount may do nothing else."""
    batch, core = ("apis", "batch", "v1", "namespaces"), ("api", "v1", "namespaces")
    for path in (
        (*batch, training, "cronjobs"),
        (*batch, training, "cronjobs", "other"),
        (*core, training, "secrets"),
        (*core, training, "configmaps"),
        (*core, training, "serviceaccounts"),
        (*core, training, "pods", "any"),
        (*batch, dashboard, "jobs"),
        (*core, dashboard, "pods"),
        (*batch, "kube-system", "jobs"),
        ("api", "v1", "namespaces"),
        ("api", "v1", "nodes"),
        ("apis", "rbac.authorization.k8s.io", "v1", "clusterroles"),
    ):
        expect(ApiError, "forbidden", lambda path=path: api.get(*path))  # type: ignore[misc]
    foreign = {"metadata": {"name": "foreign"}, "spec": job["spec"]}
    for path in (
        (*batch, dashboard, "jobs"),
        (*batch, training, "cronjobs"),
        (*core, training, "pods"),
        (*core, training, "secrets"),
    ):
        expect(ApiError, "forbidden", lambda path=path: api.create(*path, body=foreign))  # type: ignore[misc]
    for path in (
        (*core, training, "configmaps", "other"),
        (*batch, training, "jobs", job["metadata"]["name"]),
        (*batch, training, "cronjobs", "training-pipeline"),
    ):
        expect(ApiError, "forbidden", lambda path=path: api.replace(*path, body=foreign))  # type: ignore[misc]
    for path in (
        (*core, training, "configmaps", "trainings"),
        (*batch, training, "cronjobs", "training-pipeline"),
        (*batch, training, "jobs"),
        (*core, training, "pods", "any"),
        (*batch, dashboard, "jobs", "any"),
    ):
        expect(ApiError, "forbidden", lambda path=path: api.delete(*path, body={}))  # type: ignore[misc]


def check_cooldown(trainings: Trainings, training: str, job: str, manifests: str) -> None:
    """Check that the cooldown outlives the Job that it counts from, and the manifests."""
    kubectl("-n", training, "delete", "job", job)  # as a history limit does
    assert trainings.list() == []
    expect(TooSoon, job, lambda: trainings.start(ORDER))
    kubectl("apply", "-f", "-", stdin=manifests)
    expect(TooSoon, job, lambda: trainings.start(ORDER))
    assert trainings.list() == []


def check_cancelling(trainings: Trainings, other: Trainings, training: str) -> None:
    """Check that a training of a person starts in the cooldown, and that it can be cancelled."""
    person = Order("a person's", Trigger.PERSON, "ana")
    started, _ = trainings.start(person)
    expect(UnknownTraining, "none", lambda: trainings.cancel("none", "ana"))
    for is_first in (True, False):
        found, is_new = (trainings if is_first else other).cancel(started.id, "ana")
        assert (found.is_running, is_new) == (True, is_first)
    job = json.loads(kubectl("-n", training, "get", "job", started.id, "-o", "json"))
    # The garbage collector removes it when the pods have ended. This API server may have none.
    assert job["metadata"]["finalizers"] == ["foregroundDeletion"]
    expect(AlreadyRunning, started.id, lambda: other.start(person))
    kubectl("-n", training, "patch", "job", started.id, "--type=merge",
            "-p", json.dumps({"metadata": {"finalizers": None}}))  # fmt: skip
    (ended,) = other.list()
    assert (ended.id, ended.state, ended.detail) == (
        started.id, State.CANCELLED, "cancelled by ana",
    )  # fmt: skip
    assert other.cancel(started.id, "eve") == (ended, False)
    assert other.start(person)[0].is_running


def check_trainings(folder: Path, training: str, dashboard: str, manifests: str) -> None:
    """Check everything that the dashboard does, and that it may do nothing else."""
    address = write_credentials(
        folder, kubectl("-n", dashboard, "create", "token", "fraud-dashboard").strip()
    )
    api = KubernetesApi(folder, address)
    runners = [KubernetesRunner(api, training, "training-pipeline") for _ in range(2)]
    assert runners[0].list() == []
    other = KubernetesRunner(api, training, "other")
    expect(TrainingsUnavailable, "Role and RoleBinding", lambda: other.start(ORDER, 0, []))
    now = time.time_ns() // 1_000_000
    started = runners[0].start(ORDER, now, [])
    expect(AlreadyRunning, started.id, lambda: runners[1].start(ORDER, 0, []))
    (found,) = runners[1].list()
    assert (found.id, found.reason, found.trigger, found.key) == (
        started.id, ORDER.reason, ORDER.trigger, ORDER.key,
    )  # fmt: skip
    assert runners[0].log(started.id) == ""
    job = json.loads(kubectl("-n", training, "get", "job", started.id, "-o", "json"))
    cron = json.loads(kubectl("-n", training, "get", "cronjob", "training-pipeline", "-o", "json"))
    assert job["metadata"]["ownerReferences"][0]["uid"] == cron["metadata"]["uid"]
    check_refusals(api, training, dashboard, job)
    when = "2030-01-01T00:00:00Z"
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": when}
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    status = {"conditions": conditions, "startTime": job["metadata"]["creationTimestamp"],
              "completionTime": when}  # fmt: skip
    kubectl("-n", training, "patch", "job", started.id, "--subresource=status", "--type=merge",
            "-p", json.dumps({"status": status}))  # fmt: skip
    (ended,) = runners[0].list()
    assert ended.state is State.SUCCEEDED
    first, second = (Trainings(runner, 24) for runner in runners)
    expect(NotCancellable, "it has ended, and is succeeded", lambda: first.cancel(ended.id, "ana"))
    check_cooldown(second, training, started.id, manifests)
    check_cancelling(first, second, training)
    (folder / "token").write_text("expired")
    expect(TrainingsUnavailable, "Unauthorized", runners[0].list)


def main() -> int:
    """Apply the manifests under other namespaces, check, and delete them."""
    suffix = uuid.uuid4().hex[:8]
    names = {space: f"{name}-{suffix}" for space, name in SPACES.items()}
    objects = [
        item
        for item in render("base")
        if any(
            item["kind"] == kind and name in ("", item["metadata"]["name"]) for kind, name in WANTED
        )
    ]
    text = yaml.safe_dump_all(objects)
    for space, name in names.items():
        text = text.replace(space, name)
    kubectl("apply", "-f", "-", stdin=text)
    try:
        with tempfile.TemporaryDirectory() as folder:
            check_trainings(
                Path(folder),
                names["fraud-detection-training"],
                names["fraud-detection-inference"],
                text,
            )
    finally:
        kubectl("delete", "namespace", "--wait=false", *names.values())
    sys.stdout.write(
        "ok: trainings run one at a time, can be cancelled, keep their cooldown without "
        "their Job, and everything else is refused\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
