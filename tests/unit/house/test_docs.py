"""Links, commands, flags, make targets and defaults in the pages exist."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from dashboard.__main__ import _parser as dashboard_parser
from stream_scorer.cli.parsing.parser import build_parser
from stream_scorer.settings import ScorerSettings
from trainer.commands.parser import build_parser as trainer_parser

ROOT = Path(__file__).parents[3]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "k8s/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
PARSERS = {
    "stream-scorer": build_parser,
    "fraud-trainer": trainer_parser,
    "fraud-dashboard": dashboard_parser,
}
# What precedes a command: a line start, or whatever runs it in a container or a shell.
SHORTCUTS = "in_scorer |in_trainer |as_operator "
BEGINS = rf"(?:^|-- |&& |exec (?:\w+ )|run --rm \w+ |{SHORTCUTS}|env [A-Z_]+=\S+ )"
COMMAND = re.compile(rf"{BEGINS}({'|'.join(PARSERS)})((?: [^\n|;&>]*)?)", re.MULTILINE)
PLACEHOLDER = re.compile(r"[A-Z]|…|\$|\{")

every_page = pytest.mark.parametrize("path", PAGES, ids=NAMES)


@cache
def _code(path: Path) -> tuple[str, ...]:
    """Fenced shell blocks and inline code."""
    text = path.read_text("utf-8")
    blocks = re.findall(r"^ *```(?:sh)?\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    inline = [piece.replace("\n", " ") for piece in re.findall(r"`([^`]+)`", prose)]
    return tuple(re.sub(r" *\\\n\s*", " ", block) for block in [*blocks, *inline])


def _commands(path: Path) -> Iterator[tuple[str, list[str]]]:
    for code in _code(path):
        for line in code.splitlines():
            for name, rest in COMMAND.findall(line.strip()):
                words = shlex.split(rest.rstrip("."), comments=True)
                if words:
                    yield name, words


def _subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _faults(name: str, words: list[str]) -> Iterator[str]:
    """Subcommands and flags that do not exist."""
    parser = PARSERS[name]()
    for word in words:
        choices = _subcommands(parser)
        if word.startswith("-"):
            if word.partition("=")[0] not in parser._option_string_actions:
                yield f"{parser.prog} has no {word}"
        elif choices and not PLACEHOLDER.search(word):
            if word not in choices:
                yield f"{parser.prog} has no command {word}"
                return
            parser = choices[word]


@every_page
def test_commands_and_flags_exist(path: Path) -> None:
    assert [fault for name, words in _commands(path) for fault in _faults(name, words)] == []


@pytest.mark.parametrize("name", ["README.md", "docs/operations.md", "docs/runbooks.md"])
def test_pages_with_commands_are_parsed_as_having_commands(name: str) -> None:
    """The test above must not pass because it found nothing."""
    assert len(list(_commands(ROOT / name))) >= 5


def test_wrong_command_is_detected() -> None:
    assert list(_faults("stream-scorer", ["verify", "--comitted"]))
    assert list(_faults("fraud-trainer", ["models", "demote", "v8"]))


def _whole() -> Iterator[tuple[str, list[str]]]:
    for name, words in _commands(ROOT / "docs/operations.md"):
        if not any(PLACEHOLDER.search(word) for word in words):
            yield name, words


@pytest.mark.parametrize(("name", "words"), list(_whole()), ids=str)
def test_commands_of_the_guide_parse(name: str, words: list[str]) -> None:
    if "--version" in words:
        return  # exits the parser
    PARSERS[name]().parse_args(words)


@every_page
def test_make_targets_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for code in _code(path):
        for target in re.findall(r"^make ([a-z][a-z-]*)", code, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@every_page
def test_modules_that_are_run_exist(path: Path) -> None:
    for code in _code(path):
        for module in re.findall(r"python -m ((?:tests|stream_scorer|trainer)[\w.]*)", code):
            place = ROOT / module.replace(".", "/")
            assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), module


@cache
def _anchors(path: Path) -> frozenset[str]:
    heads = re.findall(r"^#{1,6} (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return frozenset(
        re.sub(r"[^\w -]", "", head.lower().replace("`", "")).replace(" ", "-") for head in heads
    )


@every_page
def test_links_resolve(path: Path) -> None:
    # Inline links only. ../../releases is a page of GitHub, not a file.
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
        if "://" in target or target.startswith("../../"):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file), target


SOURCES = ("stream_scorer", "schemas", "trainer", "dashboard")
LOG_SEARCH = re.compile(r"logs\b[^|`\n]*\| grep (?:-E )?(?:'([^']+)'|(\w+))")
LOG_BULLET = re.compile(r"^- (`[a-z][^`]*`(?:(?:, | or )`[a-z][^`]*`)*)", re.MULTILINE)
BUILT = {
    "/predict 5": "method, route and status of a request",
    '"level": "INFO"': "a field of each line in JSON",
}
"""What no single string of the sources contains, with what it is."""


@cache
def _texts() -> str:
    """Every string of the sources, one a line; {} stands for a value."""
    found = []
    for path in (path for source in SOURCES for path in (ROOT / source).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def _alternatives(pattern: str) -> list[str]:
    """``model (refused|loaded)`` → model refused, model loaded."""
    if group := re.fullmatch(r"(.*)\((.*)\)(.*)", pattern):
        return [f"{group[1]}{choice}{group[3]}" for choice in group[2].split("|")]
    return pattern.split("|")


def _quoted_log_texts() -> list[str]:
    text = (ROOT / "docs/runbooks.md").read_text("utf-8").partition("## Scorers")[2]
    found = [p for a, b in LOG_SEARCH.findall(text) for p in _alternatives(a or b)]
    for bullet in LOG_BULLET.findall(text):
        found += [phrase for phrase in re.findall(r"`([^`]+)`", bullet) if " " in phrase]
    return sorted({phrase.removeprefix("waiting for ").rstrip(" …") for phrase in found})


def test_searches_and_quotations_of_logs_are_found() -> None:
    assert {"guard tripped", "model refused", "a model", "records were rejected"} <= set(
        _quoted_log_texts()
    )


@pytest.mark.parametrize("phrase", _quoted_log_texts())
def test_log_text_of_the_runbooks_is_in_the_sources(phrase: str) -> None:
    assert phrase in BUILT or phrase in _texts()


def test_every_page_is_linked_from_the_readme_or_the_guide() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in (ROOT / "README.md", ROOT / "docs/operations.md")
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    }
    missing = {path for path in PAGES if path.parent.name == "docs"} - linked
    assert missing <= {ROOT / "docs/operations.md"}


def test_tuning_names_settings_with_their_defaults() -> None:
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    section = text.partition("## Tune")[2].partition("\n## ")[0]
    seen = 0
    for first, default in re.findall(r"^\| (`[A-Z].*?) \| (.*?) \|", section, re.MULTILINE):
        names = re.findall(r"`([A-Z_]+)`", first)
        values = default.replace("`", "").split(", ")
        for name, value in zip(names, values, strict=True):
            field = ScorerSettings.model_fields[name.lower()]
            expected = "none" if field.default is None else f"{field.default:g}" if isinstance(
                field.default, float
            ) else str(field.default)  # fmt: skip
            assert value == expected, name
            seen += 1
    assert seen >= 10


def test_nightly_audit_job_of_the_guide_is_valid() -> None:
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block
    job = yaml.safe_load(block[1])
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    name, *words = container["args"]
    PARSERS[name]().parse_args(words)
    scorer = yaml.safe_load((ROOT / "k8s/base/inference/scorer-deployment.yaml").read_text("utf-8"))
    model = scorer["spec"]["template"]["spec"]
    assert container["securityContext"] == model["containers"][0]["securityContext"]
    for field, value in pod["securityContext"].items():
        assert model["securityContext"][field] == value
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_python_in_the_guide_compiles() -> None:
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, "operations.md", "exec")
