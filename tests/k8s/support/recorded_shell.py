"""A shell whose commands are fakes: each records its arguments and gives a plausible answer.

Only the fakes and the text tools listed here are found, so nothing else on this machine can run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.k8s.support.rendering import render, select

REAL: Final = (
    "base64", "bash", "cat", "grep", "head", "jq", "rm", "sed", "sh", "sleep", "sort", "tail",
    "tar", "tr",
)  # fmt: skip
"""Text tools that run for real."""

FAKES: Final = (
    "curl", "docker", "fraud-dashboard", "fraud-trainer", "helm", "inf", "kafka-acls.sh", "kind",
    "kubectl", "make", "openssl", "pip", "pytest", "python", "stream-scorer", "tra",
)  # fmt: skip
"""``inf`` and ``tra`` are recorded where the shortcuts do not define them: with Compose."""

VALUES: Final = {
    "KEDA_CHARTS": "https://example.com/charts",
    "OLD": "b2xk",
    "NEW": "bmV3",
    "SCORER": "registry.example.com/scorer@sha256:1",
    "TRAINER": "registry.example.com/trainer@sha256:1",
    "DASHBOARD": "registry.example.com/dashboard@sha256:1",
}
"""Variables that the reader is asked to set."""

_FAKE: Final = """#!/bin/sh
name="${0##*/}"
printf '%s\\0' "$name" "$@" "$(printf '\\036')" >> "$FOLDER/calls"
case "$name $*" in
  kubectl*"exec"*"tar "*) tar -c -T /dev/null ;;
  kubectl*"get deployment"*) cat "$FOLDER/deployment.json" ;;
  kubectl*"get cronjob"*"-o json"*) cat "$FOLDER/cronjob.json" ;;
  kubectl*"get job"*"-o jsonpath"*) printf 'Complete' ;;
  kubectl*"get secret"*"-o jsonpath"*) printf 'eA==' ;;
  kubectl*"--dry-run=client"*) cat "$FOLDER/job-of-cronjob.json" ;;
  kubectl*"create -f -"*) cat > "$FOLDER/job-$$.json"; echo job.batch/command-x ;;
  kubectl*) echo "pod/stream-scorer-1 started Events waiting for guard tripped" ;;
  fraud-dashboard*) echo "alice:viewer:0" ;;
  openssl*) echo 00 ;;
  *) echo "model loaded, waiting for guard tripped, started, /predict 5" ;;
esac
"""
_END: Final = "\x1e"


class RecordedShell:
    """Runs text as a script in ``folder`` and returns the commands it called."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bin = folder / "bin"
        self._work = folder / "work"
        self._bin.mkdir()
        (self._work / ".venv/bin").mkdir(parents=True)
        (self._work / ".venv/bin/activate").touch()
        for name in REAL:
            found = shutil.which(name)
            assert found, name
            (self._bin / name).symlink_to(found)
        for name in FAKES:
            path = self._bin / name
            path.write_text(_FAKE, encoding="utf-8")
            path.chmod(0o755)
        self._write_answers()

    def _write_answers(self) -> None:
        objects = render("overlays/production")
        cronjob = select(objects, "CronJob", "training-pipeline")
        answers = {
            "deployment": select(objects, "Deployment", "stream-scorer"),
            "cronjob": cronjob,
            "job-of-cronjob": {"kind": "Job", "spec": cronjob["spec"]["jobTemplate"]["spec"]},
        }
        for name, answer in answers.items():
            (self._folder / f"{name}.json").write_text(json.dumps(answer), encoding="utf-8")

    def run(self, script: str, before: str = "") -> list[list[str]]:
        """The commands that ``script`` called, each as a list of words.

        An undefined variable, an unknown command or a syntax error fails.

        Args:
            script: what the reader types.
            before: what the reader pasted earlier: definitions of functions.
        """
        calls = self._folder / "calls"
        calls.write_bytes(b"")
        done = subprocess.run(
            ["bash", "-c", f"set -u\n{before}\n{script}"],
            cwd=self._work,
            env={"PATH": str(self._bin), "FOLDER": str(self._folder), **VALUES},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == "", f"{script}\n{done.stderr}"
        assert done.returncode in (0, 1), (script, done.returncode)  # 1: grep found nothing
        text = calls.read_text("utf-8")
        found = [call.split("\0")[:-1] for call in text.split(f"{_END}\0")[:-1]]
        for path in sorted(self._folder.glob("job-[0-9]*.json")):
            job = json.loads(path.read_text("utf-8"))
            found += [c["args"] for c in job["spec"]["template"]["spec"]["containers"]]
            path.unlink()
        return found
