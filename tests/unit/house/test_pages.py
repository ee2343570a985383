"""Pages for people: all of them can be found from the README, and their links lead somewhere."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
LINK = re.compile(r"\]\(([^)\s]+)\)")
PLAIN_FILES = (".pre-commit-config.yaml", ".editorconfig", ".devcontainer/devcontainer.json")


def tracked(*patterns: str) -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(name for name in set(out.splitlines()) if (ROOT / name).is_file())


PAGES = tracked("*.md")


def local_links(page: Path) -> Iterator[tuple[str, Path, str]]:
    """(as written, file, anchor) of a page's links to files of the repository."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in LINK.findall(text):
        # What GitHub makes of ../../releases is not a file.
        if "://" in target or target.startswith(("mailto:", "../../releases", "../../compare")):
            continue
        name, _, anchor = target.partition("#")
        yield target, (page.parent / name).resolve() if name else page, anchor


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub gives to a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)
    return frozenset(
        re.sub(r"[^\w -]", "", re.sub(r"\]\([^)]*\)", "", head).lower()).replace(" ", "-")
        for head in heads
    )


@pytest.mark.parametrize("name", PAGES)
def test_every_link_and_anchor_of_a_page_resolves(name: str) -> None:
    page = ROOT / name
    faults = [
        target
        for target, file, anchor in local_links(page)
        if not file.exists() or (anchor and anchor not in anchors(file))
    ]
    assert faults == []


def test_every_page_is_reachable_from_the_readme() -> None:
    found, todo = {ROOT / "README.md"}, [ROOT / "README.md"]
    while todo:
        for _, file, _ in local_links(todo.pop()):
            if file.suffix == ".md" and file not in found:
                found.add(file)
                todo.append(file)
    assert sorted({ROOT / name for name in PAGES} - found) == []


def test_readme_lists_every_page_of_the_first_level() -> None:
    text = (ROOT / "README.md").read_text("utf-8").partition("\n## Documentation\n")[2]
    listed = {target.partition("#")[0] for target in LINK.findall(text)}
    pages = {n for n in PAGES if re.fullmatch(r"(docs/)?[\w-]+\.md|docs/decisions/README\.md", n)}
    assert pages - {"README.md"} <= listed


def test_every_decision_has_context_decision_and_consequences_and_is_listed() -> None:
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text("utf-8")
    pages = [path for path in folder.glob("*.md") if path.name != "README.md"]
    assert len(pages) >= 7
    for page in pages:
        heads = re.findall(r"^## (.+)$", page.read_text("utf-8"), re.MULTILINE)
        assert heads == ["Context", "Decision", "Consequences"], page.name
        assert f"({page.name})" in index


def test_glossary_is_in_alphabetical_order() -> None:
    text = (ROOT / "docs/glossary.md").read_text("utf-8").partition("\n## ")[0]
    words = [word.lower() for word in re.findall(r"^\| \*\*(.+?)\*\*", text, re.MULTILINE)]
    assert len(words) >= 30
    assert words == sorted(words)


def test_hooks_are_local_and_run_the_locked_tools() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    assert {hook["language"] for hook in hooks} == {"system"}
    assert {hook["entry"].split()[0] for hook in hooks} == {".venv/bin/ruff", ".venv/bin/mypy"}


def test_dev_container_is_set_up_by_make() -> None:
    text = (ROOT / ".devcontainer/devcontainer.json").read_text("utf-8")
    assert json.loads(text)["postCreateCommand"] == "make env"


@pytest.mark.parametrize("name", PLAIN_FILES)
def test_files_for_tools_name_no_host_and_no_path_of_a_machine(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert not re.search(r"://|/home/|/root/|/usr/|\.(?:io|com|org|net)\b", text)
