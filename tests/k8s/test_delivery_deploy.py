"""``.ci/deploy.py`` against a fake kubectl that records its arguments."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.support.rendering import K8S, ROOT

DIGEST = "sha256:" + "ab" * 32
IMAGES = {
    name: f"registry.test:5000/fraud/{image}@{DIGEST}"
    for name, image in (
        ("scorer", "stream-scorer"),
        ("trainer", "fraud-trainer"),
        ("dashboard", "fraud-dashboard"),
    )
}
ARGUMENTS = [f"{name}={image}" for name, image in IMAGES.items()]

KUBECTL = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
  apply*)
    for last; do :; done
    cp -R "$(dirname "$(dirname "$last")")" "$COPY"
    touch "$COPY/applied" ;;
  *"get cronjob/"*) printf '%s' "$TRAINER" ;;
  *"get statefulset/"*) [ -z "$REVISION" ] || printf fraud-dashboard-5d7 ;;
  *"get deployment/"* | *"get controllerrevision/fraud-dashboard-5d7 "*)
    if [ -e "$COPY/applied" ]; then printf 8; else printf '%s' "$REVISION"; fi ;;
esac
case "$*" in *$FAILS*) echo "no" >&2; exit 1 ;; esac
"""


class Deployment:
    """A run of the script, and the kubectl calls it made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.copy = folder / "copy"
        path = folder / "kubectl"
        path.write_text(KUBECTL, encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(self, *arguments: str, fails: str = "nothing", before: str = "7") -> int:
        """Run the script; returns its exit code."""
        done = subprocess.run(
            [sys.executable, str(ROOT / ".ci/deploy.py"), *arguments],
            env={
                "PATH": f"{self._folder}:{os.environ['PATH']}",
                "CALLS": str(self._folder / "calls"),
                "COPY": str(self.copy),
                "FAILS": fails,
                "REVISION": before,
                "TRAINER": "old@sha256:1" if before else "",
            },
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        self.err = done.stderr
        return done.returncode

    @property
    def calls(self) -> list[str]:
        """The kubectl calls, without those that only read."""
        path = self._folder / "calls"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        return [line for line in lines if " get " not in line]


def _images(item: Any) -> Iterator[str]:
    if isinstance(item, dict):
        if isinstance(item.get("image"), str):
            yield item["image"]
        item = list(item.values())
    if isinstance(item, list):
        for child in item:
            yield from _images(child)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def test_images_are_applied_by_digest_and_the_rollout_is_awaited(deployment: Deployment) -> None:
    assert deployment.run(*ARGUMENTS) == 0, deployment.err
    apply, scorer, dashboard = deployment.calls
    assert apply.startswith("apply -k ")
    assert "rollout status deployment/stream-scorer --timeout=900s" in scorer
    assert "rollout status statefulset/fraud-dashboard --timeout=900s" in dashboard
    applied = deployment.copy / "overlays/production/kustomization.yaml"
    spec = yaml.safe_load(applied.read_text("utf-8"))
    pinned = {i["name"]: f"{i['newName']}@{i['digest']}" for i in spec.pop("images")}
    assert pinned == {f"stream-scorer/{name}": image for name, image in IMAGES.items()}
    ours = yaml.safe_load((K8S / "overlays/production/kustomization.yaml").read_text("utf-8"))
    del ours["images"]
    assert spec == ours


def test_timeout_of_the_rollout_can_be_raised(deployment: Deployment) -> None:
    assert deployment.run(*ARGUMENTS, "--timeout", "1800") == 0, deployment.err
    _, *waits = deployment.calls
    assert len(waits) == 2
    assert all(wait.endswith(" --timeout=1800s") for wait in waits)


@pytest.mark.parametrize("fails", ["apply", "statefulset/fraud-dashboard --timeout"])
def test_failed_rollout_is_rolled_back(deployment: Deployment, fails: str) -> None:
    assert deployment.run(*ARGUMENTS, fails=fails) == 1
    assert "failed and rolled back" in deployment.err
    scorer, dashboard, trainer = deployment.calls[-3:]
    assert scorer.endswith("rollout undo deployment/stream-scorer --to-revision=7")
    assert dashboard.endswith("rollout undo statefulset/fraud-dashboard --to-revision=7")
    assert trainer.endswith("set image cronjob/training-pipeline trainer=old@sha256:1")


def test_deployment_that_did_not_change_is_not_rolled_back(deployment: Deployment) -> None:
    """``rollout undo`` of an unchanged deployment would restore the previous release."""
    assert deployment.run(*ARGUMENTS, fails="apply", before="8") == 1
    assert not [line for line in deployment.calls if "undo" in line]


def test_failed_first_deployment_is_not_rolled_back(deployment: Deployment) -> None:
    assert deployment.run(*ARGUMENTS, fails="rollout", before="") == 1
    assert not [line for line in deployment.calls if "undo" in line or "set image" in line]


def test_rollback_continues_if_one_step_fails(deployment: Deployment) -> None:
    assert deployment.run(*ARGUMENTS, fails="rollout") == 1
    assert deployment.calls[-1].endswith("trainer=old@sha256:1")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ARGUMENTS[:2],
        [*ARGUMENTS[:2], ARGUMENTS[0]],
        [*ARGUMENTS[:2], "dashboard=registry.test/fraud-dashboard:latest"],
        [*ARGUMENTS[:2], f"dashboard=x@{DIGEST[:-1]}"],
        [*ARGUMENTS, "--overlay", "docs"],
        [*ARGUMENTS, "--timeout", "0"],
    ],
)
def test_wrong_arguments_deploy_nothing(deployment: Deployment, arguments: list[str]) -> None:
    assert deployment.run(*arguments) == 2
    assert not [line for line in deployment.calls if line.startswith("apply")]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kustomize_renders_the_copy(deployment: Deployment) -> None:
    assert deployment.run(*ARGUMENTS) == 0
    done = subprocess.run(
        ["kubectl", "kustomize", str(deployment.copy / "overlays/production")],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rendered = [item for item in yaml.safe_load_all(done.stdout) if item]
    assert {image for item in rendered for image in _images(item)} >= set(IMAGES.values())
    assert not [i for item in rendered for i in _images(item) if "@sha256:" not in i]
