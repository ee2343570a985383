"""The shortcuts of the runbooks in every installed shell, against a fake kubectl."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.cli.parsing.parser import build_parser
from tests.k8s.support.rendering import Object, render, select
from tests.k8s.support.rules import alerts
from tests.k8s.support.runbooks import PATH, sections
from tests.k8s.test_quotas import INFERENCE, amount, hard, needed, the_only

KUBECTL = """#!/bin/sh
echo "$*" >> "$FOLDER/calls"
case "$*" in
  *"get deployment"*) cat "$FOLDER/deployment.json" ;;
  *"get cronjob"*) cat "$FOLDER/cronjob.json" ;;
  *create*) cat > "$FOLDER/job.json"; echo job.batch/command-x ;;
  *"get job"*) printf '%s' "$CONDITIONS" ;;
  *logs*) echo "what it printed" ;;
esac
"""
SHELLS = [shell for shell in ("sh", "bash", "zsh") if shutil.which(shell)]

pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")


def _shortcuts() -> str:
    found = re.search(r"```sh\n(.*?)```", sections()["shortcuts"], re.DOTALL)
    assert found, PATH
    return found[1]


class Terminal:
    """A shell with the shortcuts, and the kubectl calls they make."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        objects = render("overlays/production")
        for kind, name in (("Deployment", "stream-scorer"), ("CronJob", "training-pipeline")):
            path = folder / f"{kind.lower()}.json"
            path.write_text(json.dumps(select(objects, kind, name)), encoding="utf-8")
        path = folder / "kubectl"
        path.write_text(KUBECTL, encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(self, shell: str, *command: str, ended: str = "SuccessCriteriaMet Complete") -> int:
        """Run a command; returns its exit code and sets ``out``."""
        done = subprocess.run(
            [shell, "-c", f"{_shortcuts()}\n{shlex.join(command)}"],
            env={
                "PATH": f"{self._folder}:{os.environ['PATH']}",
                "FOLDER": str(self._folder),
                "CONDITIONS": ended,
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.stderr == ""
        self.out = done.stdout
        return done.returncode

    @property
    def calls(self) -> list[str]:
        """The arguments of each kubectl call."""
        return (self._folder / "calls").read_text("utf-8").splitlines()

    @property
    def job(self) -> Object:
        """The Job that was created."""
        found: Object = json.loads((self._folder / "job.json").read_text("utf-8"))
        return found

    def container(self) -> Any:
        """The only container of the Job."""
        (found,) = self.job["spec"]["template"]["spec"]["containers"]
        return found


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


each_shell = pytest.mark.parametrize("shell", SHELLS)


@each_shell
def test_command_runs_in_a_scorer(terminal: Terminal, shell: str) -> None:
    assert terminal.run(shell, "in_scorer", "stream-scorer", "doctor") == 0
    assert terminal.calls == [
        "-n fraud-detection-inference exec deploy/stream-scorer -- stream-scorer doctor"
    ]


@each_shell
def test_command_runs_as_the_operator_in_a_new_pod(terminal: Terminal, shell: str) -> None:
    command = ["stream-scorer", "dlq", "list", "--reason", "two words", "--json"]
    assert terminal.run(shell, "as_operator", *command) == 0
    assert terminal.out == "what it printed\n"
    assert all(line.startswith("-n fraud-detection-inference ") for line in terminal.calls)
    container = terminal.container()
    assert container["args"] == command
    scorer = select(render("overlays/production"), "Deployment", "stream-scorer")
    (its,) = scorer["spec"]["template"]["spec"]["containers"]
    # The last one takes precedence: the operator's user and password replace the scorer's.
    last = {"secretRef": {"name": "kafka-operator", "optional": True}}
    assert container["envFrom"] == [*its["envFrom"], last]
    assert container["securityContext"] == its["securityContext"]
    assert not [field for field in container if field.endswith("Probe") or field == "ports"]


@each_shell
def test_operator_pod_is_not_selected_as_a_scorer_but_reaches_kafka(
    terminal: Terminal, shell: str
) -> None:
    terminal.run(shell, "as_operator", "stream-scorer", "verify")
    template = terminal.job["spec"]["template"]
    (label,) = template["metadata"]["labels"].items()
    objects = render("overlays/production")
    selector = select(objects, "Deployment", "stream-scorer")["spec"]["selector"]["matchLabels"]
    assert dict([label]) != selector
    policy = select(objects, "NetworkPolicy", "stream-scorer")["spec"]["podSelector"]
    (expression,) = policy["matchExpressions"]
    assert expression["key"] == label[0]
    assert expression["operator"] == "In"
    assert {label[1], *selector.values()} <= set(expression["values"])
    assert "topologySpreadConstraints" not in template["spec"]


@each_shell
def test_histories_are_built_in_a_job_that_goes_on(terminal: Terminal, shell: str) -> None:
    flags = ["--seed", "v8", "--follow"]
    assert terminal.run(shell, "build_history", *flags) == 0
    assert terminal.out == "job.batch/command-x\n"  # its name; nothing waits for its end
    # Both ends of the pipe start at once, in any order.
    assert sorted(line.split()[2] for line in terminal.calls) == ["create", "get"]
    container, spec = terminal.container(), terminal.job["spec"]
    assert container["args"] == ["stream-scorer", "history", "build", *flags]
    assert build_parser().parse_args(container["args"][1:]).follow
    scorer = select(render("overlays/production"), "Deployment", "stream-scorer")
    pod = scorer["spec"]["template"]["spec"]
    (its,) = pod["containers"]
    # A release that was rolled back must not build histories for the one that scores.
    assert container["image"] == its["image"]
    assert container["securityContext"] == its["securityContext"]
    assert container["volumeMounts"] == its["volumeMounts"]
    assert container["envFrom"][:-1] == its["envFrom"]
    assert container["envFrom"][-1] == {"secretRef": {"name": "kafka-operator", "optional": True}}
    assert spec["template"]["spec"]["serviceAccountName"] == pod["serviceAccountName"]
    assert (spec["backoffLimit"], spec["template"]["spec"]["restartPolicy"]) == (0, "Never")
    assert "activeDeadlineSeconds" not in spec
    assert terminal.job["metadata"] == {"generateName": "history-build-"}


def test_quota_has_room_for_a_build_of_histories(terminal: Terminal) -> None:
    terminal.run(SHELLS[0], "build_history", "--from", "earliest")
    objects = render("overlays/production")
    have, want = hard(objects, INFERENCE), needed(objects, INFERENCE)
    resources = terminal.container()["resources"]
    (bounds,) = the_only(objects, "LimitRange", INFERENCE)["limits"]
    for side in ("requests", "limits"):
        for name, value in resources[side].items():
            assert amount(value) <= have[f"{side}.{name}"] - want[f"{side}.{name}"], (side, name)
            assert amount(value) <= amount(bounds["max"][name])
    assert have["pods"] > want["pods"]


@each_shell
def test_command_runs_with_the_trainers_credentials(terminal: Terminal, shell: str) -> None:
    command = ["fraud-trainer", "models", "show", "v8", "--json"]
    assert terminal.run(shell, "in_trainer", *command) == 0
    assert all(line.startswith("-n fraud-detection-training ") for line in terminal.calls)
    container = terminal.container()
    assert container["args"] == command
    cronjob = select(render("overlays/production"), "CronJob", "training-pipeline")
    pod = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert container["envFrom"] == pod["containers"][0]["envFrom"]
    created = terminal.job["spec"]["template"]["spec"]
    assert created["serviceAccountName"] == pod["serviceAccountName"]
    assert container["resources"]["requests"] == {"cpu": "250m", "memory": "1Gi"}


@each_shell
def test_failed_command_is_not_retried_and_shows_its_output(terminal: Terminal, shell: str) -> None:
    command = ("in_trainer", "fraud-trainer", "models", "promote", "v9")
    assert terminal.run(shell, *command, ended="FailureTarget Failed") == 1
    assert terminal.out == "what it printed\n"
    spec = terminal.job["spec"]
    assert (spec["backoffLimit"], spec["template"]["spec"]["restartPolicy"]) == (0, "Never")
    assert spec["ttlSecondsAfterFinished"] > 0


def test_job_of_a_command_does_not_count_as_a_training(terminal: Terminal) -> None:
    terminal.run(SHELLS[0], "in_trainer", "fraud-trainer", "models", "list")
    (alert,) = (a for a in alerts() if a["alert"] == "FraudTrainingFailed")
    patterns = set(re.findall(r'job_name=~"([^"]*)"', alert["expr"]))
    name = terminal.job["metadata"]["generateName"] + "x"
    for pattern in patterns:
        assert not re.fullmatch(pattern, name)
        for training in ("training-pipeline-1", "retrain", "first-training"):
            assert re.fullmatch(pattern, training)
