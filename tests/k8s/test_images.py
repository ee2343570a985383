"""The Dockerfile and the lock files that it installs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable

import pytest

from tests.k8s.support.known_settings import known_names
from tests.k8s.support.rendering import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
LABELS = ("title", "description", "version", "revision", "licenses", "vendor")
LOCKS = sorted(path.stem for path in (ROOT / "locks").glob("*.txt"))


def _pins(path: str) -> dict[str, list[str]]:
    """The hashes of each requirement in a hash lock."""
    pins: dict[str, list[str]] = {}
    requirement = ""
    for line in (ROOT / path).read_text(encoding="utf-8").splitlines():
        if line.startswith("    --hash="):
            pins[requirement].append(line.strip(" \\"))
        else:
            requirement = line.rstrip(" \\").split(" ;")[0]
            pins.setdefault(requirement, [])
    return pins


def _versions(lock: str) -> dict[str, set[str]]:
    """The versions of each package; more than one if they depend on the Python version."""
    versions: dict[str, set[str]] = {}
    for requirement in _pins(f"locks/{lock}.txt"):
        package, _, version = requirement.partition("==")
        versions.setdefault(package, set()).add(version)
    return versions


def test_there_is_a_lock_for_each_image_and_for_the_build() -> None:
    assert LOCKS == ["build", "dashboard", "scorer", "tracing", "trainer"]
    for name in LOCKS:
        assert f"locks/{name}.txt" in DOCKERFILE


@pytest.mark.parametrize("name", LOCKS)
def test_images_have_the_tested_versions(name: str) -> None:
    tested = _pins("requirements.lock")
    for requirement, hashes in _pins(f"locks/{name}.txt").items():
        assert hashes, requirement
        assert set(hashes) == set(tested[requirement]), requirement


@pytest.mark.parametrize("name", LOCKS)
def test_locks_name_no_registry(name: str) -> None:
    assert "://" not in (ROOT / f"locks/{name}.txt").read_text(encoding="utf-8")


def _names(requirements: Iterable[str]) -> set[str]:
    return {re.split(r"[\[<>=~ ]", requirement, maxsplit=1)[0] for requirement in requirements}


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("build", PROJECT["build-system"]["requires"]),
        ("scorer", PROJECT["project"]["dependencies"]),
        *((extra, EXTRAS[extra]) for extra in ("dashboard", "tracing", "trainer")),
    ],
)
def test_locks_contain_the_requirements_of_the_project(lock: str, wanted: list[str]) -> None:
    assert _names(wanted) <= set(_versions(lock))


def test_traces_can_be_switched_on_without_building_an_image() -> None:
    traced = DOCKERFILE.split(" AS traced-packages\n")[1].split("\nFROM ")[0]
    assert "-r /locks/tracing.txt" in traced
    for stage in ("scorer-app", "dashboard-packages"):
        assert f"FROM traced-packages AS {stage}\n" in DOCKERFILE


def test_installing_one_lock_over_another_changes_no_version() -> None:
    for order in (("scorer", "trainer"), ("scorer", "tracing", "dashboard")):
        present: dict[str, set[str]] = {}
        for name in order:
            for package, versions in _versions(name).items():
                assert present.setdefault(package, versions) == versions, f"{name}: {package}"


def test_package_has_the_version_of_the_image() -> None:
    """The build has no .git. Without the argument, the package would have the fallback version."""
    assert "ARG VERSION=" in DOCKERFILE.split("\nFROM ")[0]
    wheel = DOCKERFILE.split(" AS wheel\n")[1].split("\nFROM ")[0]
    assert 'SETUPTOOLS_SCM_PRETEND_VERSION="${VERSION}"' in wheel.split("ARG VERSION\n")[1]
    assert PROJECT["project"]["dynamic"] == ["version"]


@pytest.mark.parametrize("target", ["scorer", "trainer", "dashboard"])
def test_images_have_all_labels(target: str) -> None:
    runtime = DOCKERFILE.split(" AS runtime\n")[1].split("\nFROM ")[0]
    own = DOCKERFILE.split(f"FROM runtime AS {target}\n")[1].split("\nFROM ")[0]
    found = set(re.findall(r'org\.opencontainers\.image\.(\w+)="[^"]+"', runtime + own))
    assert found == set(LABELS)
    assert "ARG VERSION\nARG REVISION=" in runtime
    assert f'licenses="{PROJECT["project"]["license"]}"' in runtime


def test_runtime_images_have_no_installer() -> None:
    runtime = DOCKERFILE.split(" AS runtime\n")[1].split("\nFROM ")[0]
    for path in ("/usr/local/bin/pip*", "/ensurepip", "/site-packages/*"):
        assert path in runtime.split("rm -rf ")[1]
    installed = re.findall(r"apt-get install -y -q --no-install-recommends (.+) \\\n", DOCKERFILE)
    assert installed == ["libgomp1"]
    assert DOCKERFILE.count("apt-get install") == 1


def test_every_install_is_checked_against_hashes() -> None:
    logical = DOCKERFILE.replace("\\\n", " ")
    for line in logical.splitlines():
        if "-r " in line and "install" in line:
            assert "--require-hashes" in line
            assert "--only-binary :all:" in line


def test_images_run_as_an_unprivileged_user() -> None:
    for target in ("scorer", "trainer", "dashboard"):
        assert f"FROM runtime AS {target}\n" in DOCKERFILE
    runtime = DOCKERFILE.split(" AS runtime\n")[1].split("FROM runtime")[0]
    assert "USER 10001:10001" in runtime
    assert "STOPSIGNAL SIGTERM" in runtime
    assert "USER" not in DOCKERFILE.split("FROM runtime", 1)[1]


def test_trainer_stops_on_its_stop_signal() -> None:
    """As process 1, Python handles SIGINT, but an unhandled SIGTERM is ignored."""
    trainer = DOCKERFILE.split("FROM runtime AS trainer\n")[1].split("FROM runtime")[0]
    assert "STOPSIGNAL SIGINT" in trainer


def test_syntax_is_supported_by_every_builder() -> None:
    for unwanted in ("# syntax", "--mount", "--link", "--chmod", "<<"):
        assert unwanted not in DOCKERFILE


def test_every_variable_is_read_by_a_process() -> None:
    blocks = re.findall(r"^ENV (.+?[^\\])$", DOCKERFILE, flags=re.MULTILINE | re.DOTALL)
    names = {name for block in blocks for name in re.findall(r"([A-Z_]+)=", block)}
    assert "NUMBA_CPU_NAME" in names
    assert names - known_names() == set()


def test_build_context_contains_what_is_copied() -> None:
    allowed = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE)
    sources = {source.split("/")[0] for line in copied for source in line.split()}
    assert sources == allowed
