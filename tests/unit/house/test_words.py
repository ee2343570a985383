"""Words this project no longer uses, in identifiers and in whatever a person reads.

``docs/glossary.md`` has the words that stay. Each row below is a phrase an engineer would have to
translate, and what the field says instead.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = ("stream_scorer", "schemas", "trainer", "dashboard", "tests", ".ci")
PROSE = (".md", ".yaml", ".yml", ".html", ".js", ".env", ".toml", ".sh", ".txt", ".css")

RETIRED_PHRASES = {
    r"\bput off\b": "aborted, will be retried",
    r"\bcomes? again\b": "redelivered, repeated",
    r"\bfound out\b": "failed its guard",
    r"\bthe version before\b": "the previous version",
    r"\btwins?\b": "in-memory fake",
    r"\bpatien(?:ce|tly)\b": "retry, timeout",
    r"\banew\b": "again; recreated; reset",
    r"\bno rights? (?:on|to)\b": "not authorized for",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bso many\b": "N",
    r"\btakes? (?:only )?smaller\b": "accepts only smaller",
    r"\bsurroundings\b": "dependencies",
    r"\bwhose they are\b": "source coordinates",
    r"\bnobody's\b": "unattributed",
    r"\ba word to\b": "message for",
    r"\b(?:is|are|be|was|were) told\b": "is notified, is given",
    r"\btells\b": "reports, says",
    r"\bof old\b": "earlier",
    r"\bto never get there\b": "to prevent this",
    r"\ba new world\b": "if behaviour changed",
    r"\bnothing of that\b": "if none of these applies",
    r"\bno fewer than\b": "at least",
    r"\bas many as there are\b": "that many",
    r"\bin a hundred\b": "%",
    r"(?<!dead )(?<!dead-)(?<!capital )(?<!block )\bletters?\b(?!-spacing)": "dead letters",
    r"\bstatic page\b": "the page without live updates",
    r"\bnot following the stream\b": "Disconnected from Kafka",
    r"\blive, held\b": "Held while you read",
}

RETIRED_NAMES = {
    "patience": "timeout, retry",
    "patiently": "retry",
    "twin": "fake",
    "hopeless": "non_retriable",
    "trouble": "problem, error",
    "turned": "heartbeat",
    "silence": "seconds_since_…",
    "fallen": "rolled_back",
    "letters": "dead_letters",
    "settled": "completed",
    "mend": "fix",
    "anew": "again",
    "moments": "times",
    "asides": "notes",
    "surroundings": "dependencies",
}

RETIRED_IN_SOURCES = {"said": "shown, reported"}
"""In the names of tests they make sentences."""

# What stands in quotation marks here is the list itself.
_EXEMPT = {"tests/unit/house/test_words.py", "docs/glossary.md", "CHANGELOG.md", "LICENSE"}


def tracked() -> list[str]:
    """The files of the working tree that git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(name for name in out.splitlines() if (ROOT / name).is_file())


def python_sources() -> list[str]:
    return [n for n in tracked() if n.endswith(".py") and n.startswith(SOURCES)]


def prose() -> list[str]:
    return [
        n
        for n in tracked()
        if (n.endswith(PROSE) or Path(n).name in ("Makefile", "Dockerfile"))
        and "vendor/" not in n
        and not n.endswith("package-lock.json")
    ]


def strings(text: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of every string of a file, docstrings included, and of every comment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    for number, line in enumerate(text.splitlines(), 1):
        before, hash_sign, comment = line.partition("# ")
        if hash_sign and before.count('"') % 2 == 0 and before.count("'") % 2 == 0:
            yield number, comment


def names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) of everything a file defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


def parts(name: str) -> list[str]:
    """``DeadLetterCounts`` and ``dead_letter_counts`` → dead, letter, counts."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")


_ANY_RETIRED = re.compile("|".join(RETIRED_PHRASES), re.IGNORECASE)


def retired(text: str) -> Iterator[str]:
    flat = " ".join(text.split())
    if not _ANY_RETIRED.search(flat):
        return
    for phrase, instead in RETIRED_PHRASES.items():
        if found := re.search(phrase, flat, re.IGNORECASE):
            yield f"{found[0]!r} (say: {instead})"


@pytest.mark.parametrize("name", [n for n in python_sources() if n not in _EXEMPT])
def test_python_speaks_the_fields_words(name: str) -> None:
    source = (ROOT / name).read_text(encoding="utf-8")
    tree = ast.parse(source)
    faults = [f"{name}:{line}: {w}" for line, text in strings(source, tree) for w in retired(text)]
    words = RETIRED_NAMES | ({} if name.startswith("tests/") else RETIRED_IN_SOURCES)
    for line, identifier in names(tree):
        found = parts(identifier)
        for word in set(found) & words.keys():
            if word == "letters" and "dead" in found:
                continue
            faults.append(f"{name}:{line}: {identifier} (say: {words[word]})")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", [n for n in prose() if n not in _EXEMPT])
def test_pages_speak_the_fields_words(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8")
    # A phrase may be broken over two lines.
    faults = [f"{name}: {word}" for word in retired(lines)]
    assert not faults, "\n".join(faults)


def test_list_of_retired_words_can_fail() -> None:
    assert list(retired("the batch was put\noff")) != []
    assert list(retired("twelve dead letters")) == []
    assert list(retired("twelve letters")) != []
    assert "letters" in parts("LettersRead")
