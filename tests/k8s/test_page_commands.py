"""Every command of the pages runs in a recorded shell, in its form for a cluster and for Compose.

Arguments of our own commands are parsed by their own parsers. Services, containers, objects,
labels, folders, targets and scripts that a command names must exist.
"""

from __future__ import annotations

import re
import shlex
import shutil
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fastapi.testclient import TestClient

from tests.k8s.support.command_checks import faults
from tests.k8s.support.recorded_shell import FAKES, RecordedShell
from tests.k8s.support.rendering import ROOT
from tests.k8s.support.runbooks import sections
from tests.support.dashboard_kit import StaticModel, make_app, tiny_bundle

PAGES = (
    "CONTRIBUTING.md",
    "README.md",
    "docs/autoscaling.md",
    "docs/model.md",
    "docs/observability.md",
    "docs/operations.md",
    "docs/runbooks.md",
    "k8s/README.md",
)
NOT_RUN = {
    ("docs/autoscaling.md", "peak"): "what keda-sim prints, not commands",
    ("docs/model.md", "dvc"): "DVC is not part of the environment",
    ("k8s/README.md", "k8s/base"): "a list of folders, not commands",
}
"""Blocks that cannot run here, by page and first word, with the reason."""

SHORTCUTS = ("as_operator", "as_scorer", "build_history", "in_scorer", "in_trainer", "logs")
INLINE = re.compile(rf"`((?:inf|tra|{'|'.join(SHORTCUTS)}|docker compose) [^`]+|logs)`")

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "jq"))), reason="needs bash and jq"
)


class Block(NamedTuple):
    """Commands of a page, and the line where they begin."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def _blocks(page: str) -> Iterator[Block]:
    """Fenced blocks that are shell or have no language."""
    text = (ROOT / page).read_text("utf-8")
    for found in re.finditer(r"^ *```(\w*)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        if found[1] in ("", "sh", "bash", "shell", "console"):
            line = text.count("\n", 0, found.start()) + 2
            yield Block(page, line, textwrap.dedent(found[2]))


def _inline(page: str) -> Iterator[Block]:
    """Commands within sentences, outside fenced blocks and the table of shortcuts."""
    text = (ROOT / page).read_text("utf-8")
    for other in (r"^ *```.*?^ *```", r"^\| `(?:inf|tra)[^\n]*$"):
        text = re.sub(other, _blank, text, flags=re.MULTILINE | re.DOTALL)
    for found in INLINE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found[1].replace("\n", " "))


def _blank(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


ALL = [block for page in PAGES for block in _blocks(page)]
DEFINITIONS = [b for b in ALL if b.page == "docs/runbooks.md" and "as_operator()" in b.text]
RUN = [b for b in ALL if (b.page, b.text.split()[0]) not in NOT_RUN and b not in DEFINITIONS]
INLINES = [block for page in PAGES for block in _inline(page)]
BOTH_FORMS = [
    b for b in [*RUN, *INLINES] if re.search(rf"\b(?:{'|'.join(SHORTCUTS)})\b(?!\()", b.text)
] + [b for b in [*RUN, *INLINES] if b.page == "docs/runbooks.md"]
"""Blocks that use a shortcut, and all of the runbooks."""


@cache
def _definitions() -> tuple[str, str]:
    """The functions for a cluster and for Compose, as the runbooks print them."""
    cluster, compose = DEFINITIONS
    return cluster.text, compose.text


@cache
def _replacements() -> dict[str, str]:
    """What to type with Compose, by what it replaces."""
    rows = re.findall(
        r"^\| (`(?:inf|tra) .*?`) \| `(.*?)`.*\|$", sections()["shortcuts"], re.MULTILINE
    )
    return {name: new for names, new in rows for name in re.findall(r"`(.*?)`", names)}


@pytest.fixture
def shell(tmp_path: Path) -> RecordedShell:
    return RecordedShell(tmp_path)


def _check(calls: list[list[str]], block: Block) -> None:
    assert calls, f"{block} calls nothing"
    assert [fault for words in calls for fault in faults(words)] == []


@pytest.mark.parametrize("block", [*RUN, *INLINES], ids=str)
def test_block_runs_in_a_cluster(shell: RecordedShell, block: Block) -> None:
    _check(shell.run(block.text, _definitions()[0]), block)


@pytest.mark.parametrize("block", sorted(set(BOTH_FORMS)), ids=str)
def test_block_with_shortcuts_runs_with_compose(shell: RecordedShell, block: Block) -> None:
    calls = shell.run(block.text, _definitions()[1])
    _check(calls, block)
    for words in calls:
        assert words[0] != "kubectl" or block.page != "docs/runbooks.md", words
        if words[0] in ("inf", "tra"):
            assert _replacement(words), f"{words} has no row for Compose"


def _replacement(words: list[str]) -> str | None:
    for count in (3, 2):
        if (found := _replacements().get(" ".join(words[:count]))) is not None:
            return found
    return None


def test_commands_for_compose_are_valid(shell: RecordedShell) -> None:
    assert len(_replacements()) >= 10
    for command in _replacements().values():
        assert [f for words in shell.run(command) for f in faults(words)] == [], command


def test_shortcuts_for_compose_and_a_cluster_are_the_same() -> None:
    cluster, compose = (set(re.findall(r"^(\w+)\(\)", d, re.MULTILINE)) for d in _definitions())
    assert set(SHORTCUTS) <= cluster & compose


def test_command_in_a_new_container_needs_no_running_scorer(shell: RecordedShell) -> None:
    compose = _definitions()[1]
    for name in ("as_scorer", "as_operator"):
        (words,) = shell.run(f"{name} stream-scorer doctor", compose)
        assert words[:3] == ["docker", "compose", "run"]
        assert {"--rm", "--no-deps"} <= set(words)
    (words,) = shell.run("in_scorer stream-scorer doctor", compose)
    assert words[:3] == ["docker", "compose", "exec"]


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("stream-scorer verify --comitted", "unrecognized arguments"),
        ("stream-scorer dlq show 3", "PARTITION-OFFSET"),
        ("docker compose exec scorers stream-scorer doctor", "no service scorers"),
        ("docker compose exec scorer stream-scorer doctr", "invalid choice"),
        ("docker compose --profile dem up", "no profile dem"),
        ("docker compose port scorer 9101", "does not publish port 9101"),
        ("kubectl -n fraud get pods", "no namespace fraud"),
        ("kubectl exec deploy/scorer -- stream-scorer doctor", "no Deployment scorer"),
        ("kubectl logs -l app.kubernetes.io/name=scorer", "no pod has the label"),
        ("kubectl apply -k k8s/overlays/test", "no kustomization"),
        ("kubectl create secret generic no-such --from-file=x", "nothing uses no-such"),
        ("make tests", "no target tests"),
        ("python restore.py", "no script restore.py"),
    ],
)
def test_wrong_command_is_detected(command: str, fault: str) -> None:
    assert any(fault in found for found in faults(shlex.split(command)))


@pytest.mark.parametrize("script", ["unknown-tool x", 'echo "$UNSET"', "if"])
def test_shell_detects_what_a_reader_could_not_run(shell: RecordedShell, script: str) -> None:
    with pytest.raises(AssertionError):
        shell.run(script)


def test_unknown_programs_cannot_run(shell: RecordedShell) -> None:
    assert "python3" not in FAKES
    with pytest.raises(AssertionError, match="not found"):
        shell.run("python3 --version")


def test_blocks_that_are_not_run_exist() -> None:
    found = {(block.page, block.text.split()[0]) for block in ALL}
    assert set(NOT_RUN) <= found
    assert len(RUN) > 30


def test_dead_letter_is_named_in_one_spelling() -> None:
    pages = [*PAGES, "docs/guarantees.md", "CHANGELOG.md"]
    found = [
        place
        for page in pages
        for place in re.findall(r"dlq show ([^\s`)]+)", (ROOT / page).read_text("utf-8"))
    ]
    assert set(found) == {"3-1207"}


@pytest.mark.parametrize("auth", ["none", "token"])
def test_request_of_the_readme_is_answered(shell: RecordedShell, tmp_path: Path, auth: str) -> None:
    """By the demo, which has no authentication, and by Compose."""
    (block,) = (b for b in RUN if b.page == "README.md" and b.text.startswith("curl"))
    ((_, *words),) = shell.run(block.text)
    headers = dict(value.split(": ", 1) for flag, value in pairwise(words) if flag == "-H")
    tokens = ROOT / "k8s/overlays/local/dashboard-tokens.txt"
    settings: dict[str, Any] = {"dashboard_auth": auth}
    if auth == "token":
        settings["dashboard_tokens_file"] = tokens
    app = make_app(tmp_path, model=StaticModel(tiny_bundle()), **settings)
    with TestClient(app, "http://localhost") as client:
        content = words[words.index("-d") + 1]
        answer = client.post("/predict", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
