"""The workflows: actions are pinned, permissions are minimal, and every target exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
IDS = [path.stem for path in WORKFLOWS]
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+){2}$")

every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=IDS)


def _load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return found


def _jobs(path: Path) -> dict[str, dict[str, Any]]:
    jobs: dict[str, dict[str, Any]] = _load(path)["jobs"]
    return jobs


def _steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in _jobs(path).values():
        yield from job.get("steps", [])


def test_all_workflows_are_there() -> None:
    assert IDS == ["ci", "locks", "nightly", "release"]


@every_workflow
def test_actions_are_pinned_by_commit_with_their_version_beside(path: Path) -> None:
    lines = [line.strip(" -") for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    assert lines
    for line in lines:
        assert PINNED.fullmatch(line) or line.startswith("uses: ./"), line


def test_one_action_has_one_pin_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for name, pin in re.findall(
            r"uses: ([^@\s]+)@(.+)$", path.read_text("utf-8"), re.MULTILINE
        ):
            pins.setdefault(name, set()).add(pin)
    assert {name: pin for name, pin in pins.items() if len(pin) > 1} == {}


@every_workflow
def test_permissions_are_granted_per_job(path: Path) -> None:
    assert _load(path)["permissions"] == {}
    for name, job in _jobs(path).items():
        assert "permissions" in job, name
        assert job["permissions"] != "write-all"


def test_only_what_publishes_may_write() -> None:
    writers = {
        (path.stem, name, right)
        for path in WORKFLOWS
        for name, job in _jobs(path).items()
        for right, value in job["permissions"].items()
        if value == "write"
    }
    assert writers == {
        ("locks", "lock", "actions"),
        ("locks", "lock", "contents"),
        ("locks", "lock", "pull-requests"),
        ("release", "image", "packages"),
        ("release", "publish", "id-token"),
        ("release", "publish", "packages"),
        ("release", "release", "contents"),
    }


@every_workflow
def test_jobs_have_timeouts_and_do_not_run_twice_at_once(path: Path) -> None:
    assert "concurrency" in _load(path)
    for name, job in _jobs(path).items():
        assert "uses" in job or 0 < job["timeout-minutes"] <= 120, name


@every_workflow
def test_no_expression_is_pasted_into_a_script(path: Path) -> None:
    """``${{ … }}`` in a script could turn a branch's name into a command; use the environment."""
    for step in _steps(path):
        assert "${{" not in step.get("run", ""), step


@every_workflow
def test_checkouts_leave_no_credentials_behind(path: Path) -> None:
    for step in _steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@every_workflow
def test_secrets_and_tokens_are_given_to_single_steps(path: Path) -> None:
    """In a job's environment, every package that any step runs could read them."""
    for holder in (_load(path), *_jobs(path).values()):
        for value in holder.get("env", {}).values():
            assert "secrets." not in str(value)
            assert "github.token" not in str(value)


def test_images_name_the_repository_they_are_made_of() -> None:
    (build,) = (
        step["run"]
        for step in _steps(ROOT / ".github/workflows/release.yml")
        if "docker buildx build" in step.get("run", "")
    )
    label = "org.opencontainers.image.source=$GITHUB_SERVER_URL/$GITHUB_REPOSITORY"
    assert f'--label "{label}"' in build


@every_workflow
def test_make_targets_and_scripts_exist(path: Path) -> None:
    for step in _steps(path):
        script = step.get("run", "")
        for target in re.findall(r"\bmake ([a-z][a-z-]*)", script):
            assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
        for name in re.findall(r"\.ci/[\w.]+", script):
            assert (ROOT / name).is_file(), name


def test_changes_run_all_that_the_one_script_runs() -> None:
    def targets(text: str) -> set[str]:
        return set(re.findall(r"\bmake ([a-z][a-z-]*)", re.sub(r"#.*", "", text)))

    both = targets((ROOT / ".ci/run").read_text("utf-8")) - {"env"}
    assert both <= targets((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))


def test_the_required_check_waits_for_every_other() -> None:
    jobs = _jobs(ROOT / ".github/workflows/ci.yml")
    assert set(jobs["passed"]["needs"]) == jobs.keys() - {"passed"}


def test_python_versions_are_those_the_project_names() -> None:
    named = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text("utf-8"))
    tested = _jobs(ROOT / ".github/workflows/ci.yml")["test"]["strategy"]["matrix"]["python"]
    assert tested == named


def test_pushed_images_have_the_names_production_pulls() -> None:
    overlay = yaml.safe_load((ROOT / "k8s/overlays/production/kustomization.yaml").read_text())
    pulled = {
        image["name"].removeprefix("stream-scorer/"): image["newName"].rpartition("/")[2]
        for image in overlay["images"]
    }
    for job in ("image", "publish"):
        matrix = _jobs(ROOT / ".github/workflows/release.yml")[job]["strategy"]["matrix"]
        pushed = {m["target"]: m["name"] for m in matrix["include"] if "target" in m}
        assert pushed == pulled


def test_build_arguments_are_ones_the_dockerfile_has() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    for path in WORKFLOWS:
        for name in re.findall(r"--build-arg (\w+)", path.read_text("utf-8")):
            assert re.search(rf"^ARG {name}\b", dockerfile, re.MULTILINE), name


def test_no_registry_is_named() -> None:
    for path in (*WORKFLOWS, ROOT / ".github/dependabot.yml"):
        for host in ("ghcr.io", "docker.io", "quay.io", "amazonaws.com"):
            assert host not in path.read_text("utf-8")
