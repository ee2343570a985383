"""Version, release notes and lock files: the inputs of a release."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from dashboard.__main__ import main as dashboard
from stream_scorer.__main__ import main as stream_scorer
from stream_scorer.runtime.version import installed_version
from trainer.__main__ import main as trainer

ROOT = Path(__file__).parents[3]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CHANGELOG = """# Changelog
## [Unreleased]
## [1.3.0]
### Added
- More.
## [1.2.3] - some day
### Fixed
- This.
- That.
## [1.2.2rc1]
### Fixed
[1.2.3]: ../../releases/tag/v1.2.3
"""


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f".ci/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


notes = _script("release_notes")


def _told(command: Callable[[list[str]], int]) -> int:
    try:
        return command(["--version"])
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.mark.parametrize(
    ("name", "command"),
    [("stream-scorer", stream_scorer), ("fraud-trainer", trainer), ("fraud-dashboard", dashboard)],
)
def test_every_command_prints_the_installed_version(
    name: str, command: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _told(command) == 0
    assert capsys.readouterr().out == f"{name} {installed_version()}\n"
    assert Version(installed_version()) > Version("0")


def _version_of(folder: Path, **environment: str) -> str:
    code = (
        "from hatchling.metadata.core import ProjectMetadata as M;"
        "from hatchling.plugin.manager import PluginManager as P; print(M('.', P()).version)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def _git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A minimal source tree that has a version."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def test_sources_without_history_can_be_installed_and_claim_no_release(sources: Path) -> None:
    assert Version(_version_of(sources)).is_devrelease


def test_version_of_sources_without_history_can_be_set(sources: Path) -> None:
    told = {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_STREAM_SCORER": "7.8.9"}
    assert _version_of(sources, **told) == "7.8.9"
    assert _version_of(sources, SETUPTOOLS_SCM_PRETEND_VERSION="7.8.9") == "7.8.9"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_version_is_the_tag_and_later_a_development_version(sources: Path) -> None:
    _git(sources, "init", "--quiet")
    _git(sources, "add", ".")
    _git(sources, "commit", "--quiet", "--message", "one")
    assert Version(_version_of(sources)).is_devrelease  # a clone without tags
    _git(sources, "tag", "v1.4.0rc1")
    assert _version_of(sources) == "1.4.0rc1"
    _git(sources, "commit", "--quiet", "--allow-empty", "--message", "two")
    _git(sources, "tag", "v1.4.0")
    assert _version_of(sources) == "1.4.0"
    _git(sources, "commit", "--quiet", "--allow-empty", "--message", "three")
    _git(sources, "tag", "data-2024")
    later = Version(_version_of(sources))
    assert later.is_devrelease
    assert later > Version("1.4.0")


def test_notes_are_the_section_of_the_version() -> None:
    assert notes.find_notes(CHANGELOG, "v1.2.3") == "### Fixed\n- This.\n- That."
    assert notes.find_notes(CHANGELOG, "v1.3.0rc2") == "### Added\n- More."


@pytest.mark.parametrize("tag", ["v1.2.4", "v1.2.2rc1", "v1.2.2"])
def test_a_version_without_notes_is_refused(tag: str) -> None:
    with pytest.raises(notes.NoNotes):
        notes.find_notes(CHANGELOG, tag)


def test_notes_command_fails_without_a_section(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "CHANGELOG.md"
    path.write_text(CHANGELOG, encoding="utf-8")
    assert notes.main(["v9.9.9", str(path)]) == 1
    assert "no section for 9.9.9" in capsys.readouterr().err
    assert notes.main(["9.9", str(path)]) == 2
    assert notes.main([]) == 2
    assert notes.main(["v1.0.0", str(tmp_path / "none.md")]) == 1


def test_our_changelog_has_notes_for_the_version_of_unhistoried_sources() -> None:
    base = Version(PYPROJECT["tool"]["hatch"]["version"]["fallback-version"]).base_version
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "Scorer" in notes.find_notes(text, f"v{base}")


def _locked(path: str) -> dict[str, Version]:
    found = re.findall(
        r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", (ROOT / path).read_text("utf-8"), flags=re.MULTILINE
    )
    return {name.lower(): Version(version) for name, version in found}


def test_locks_satisfy_what_the_project_asks_for() -> None:
    """A raised requirement without ``make lock`` fails here, not in a user's installation."""
    project = PYPROJECT["project"]
    wanted = [*project["dependencies"], *PYPROJECT["build-system"]["requires"]]
    for extra in project["optional-dependencies"].values():
        wanted += [text for text in extra if not text.startswith("stream-scorer[")]
    locked = _locked("requirements.lock")
    for text in wanted:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate():
            continue
        assert requirement.specifier.contains(locked[requirement.name.lower()]), text
    build = _locked("locks/build.txt")
    for text in PYPROJECT["build-system"]["requires"]:
        assert Requirement(text).name in build


def test_version_for_builds_without_history_is_the_same_everywhere() -> None:
    """Manifests, Compose and Dockerfile name the images of the next release."""
    fallback = PYPROJECT["tool"]["hatch"]["version"]["fallback-version"]
    assert f"\nARG VERSION={fallback}\n" in (ROOT / "Dockerfile").read_text("utf-8")
    base = Version(fallback).base_version
    assert f"\nSTREAM_SCORER_VERSION={base}\n" in (ROOT / ".env").read_text("utf-8")
    named = {
        tag
        for path in (ROOT / "k8s").rglob("*.yaml")
        for line in path.read_text("utf-8").splitlines()
        if "stream-scorer/" in line
        for tag in re.findall(r"newTag: ([^\s,}]+)|stream-scorer/\w+:(\S+)", line)
    }
    assert {tag for pair in named for tag in pair if tag} == {base}
