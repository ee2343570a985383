"""Programs and operations as lines for a terminal; whatever a program says is escaped."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from stream_scorer.runtime.text import printable

_WIDTH: Final = 100
_WIDEST_NAME: Final = 40


def list_programs(programs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each program in a few lines."""
    for facts in programs:
        yield f"{printable(facts['name'])}: {printable(facts['title'])}"
        yield f"  {_counts(facts)}"
        yield from _wrapped("groups: " + _groups(facts), "  ")
        yield from _spaces(facts, "  ")


def show_program(
    facts: Mapping[str, Any], features: Sequence[Mapping[str, str]], version: str | None
) -> Iterator[str]:
    """A program with all features of each group."""
    of_version = f"{version}: " if version else ""
    yield f"{of_version}{printable(facts['name'])}: {printable(facts['title'])}"
    yield f"  {_counts(facts)}"
    yield f"  fingerprint {facts['fingerprint']}"
    yield from _spaces(facts, "  ")
    names = min(max(len(feature["name"]) for feature in features), _WIDEST_NAME)
    operations = max(len(feature["operation"]) for feature in features)
    by_group = sorted(features, key=lambda feature: list(facts["groups"]).index(feature["group"]))
    for group, members in groupby(by_group, key=lambda feature: feature["group"]):
        yield ""
        yield f"{group} ({_many(facts['groups'][group], 'feature')})"
        for feature in members:
            name, operation = feature["name"], feature["operation"]
            text = printable(feature["text"])
            yield f"  {name:<{names}}  {operation:<{operations}}  {text}"


def confirm_program(
    file: str, facts: Mapping[str, Any], fitted: Mapping[str, int], oddities: Sequence[str]
) -> Iterator[str]:
    """What a valid file contains; ``fitted`` is operation → number of features."""
    columns = facts["columns"]
    yield f"{printable(file)}: program {printable(facts['name'])} is valid"
    yield f"  features    {facts['features']} in {_many(len(facts['groups']), 'group')}"
    yield f"  columns     {_many(columns['number'], 'number')}, {_many(columns['text'], 'text')}"
    yield from _wrapped(", ".join(facts["operations"]), "  operations  ")
    yield from _spaces(facts, "  ")
    learned = ", ".join(f"{op} ({_many(n, 'feature')})" for op, n in fitted.items())
    yield from _wrapped(learned or "nothing is learned from the training rows", "  fitted      ")
    for oddity in oddities:
        yield f"warning: {oddity}"


def list_operations(
    operations: Sequence[Mapping[str, Any]], kinds: Sequence[Mapping[str, str]] = ()
) -> Iterator[str]:
    """Every operation with its fields and its meaning, and what a program looks like.

    ``kinds`` are those of history features.
    """
    yield "A program is a TOML file: format, name and title, then operations, in this form."
    yield ""
    yield from (f"    {line}".rstrip() for line in _EXAMPLE.strip().splitlines())
    yield ""
    yield "Every operation has these fields:"
    yield from _fields(_SHARED_FIELDS)
    for facts in operations:
        yield ""
        learns = ", learns from the training rows" if facts["is_fitted"] else ""
        yield f"{facts['op']}, version {facts['version']}{learns}"
        for paragraph in facts["meaning"].splitlines():
            yield from _wrapped(paragraph, "  ")
        yield from _fields([("columns", _columns(facts["columns"])), ("names", facts["names"])])
        yield from _fields([(field["name"], field["type"]) for field in facts["fields"]])
        if facts["fields"]:
            yield from _fields([("", facts["fields_meaning"])])
    yield from _list_kinds(kinds)


def _list_kinds(kinds: Sequence[Mapping[str, str]]) -> Iterator[str]:
    if not kinds:
        return
    yield ""
    yield "A program can have features of card history too, computed from earlier transactions with"
    yield "the same key. Each key space remembers a record for each key:"
    yield ""
    yield from (f"    {line}".rstrip() for line in _HISTORY_EXAMPLE.strip().splitlines())
    yield ""
    yield from _fields(_SPACE_FIELDS)
    yield ""
    yield "Kinds of history features, what each is given, and what it computes:"
    width = max(len(kind["kind"]) for kind in kinds)
    for kind in kinds:
        given = "" if kind["takes"] == "nothing" else f" [{kind['takes']}]"
        yield from _wrapped(f"{kind['text']}{given}", f"  {kind['kind']:<{width}} ")


_EXAMPLE: Final = """
format = 1
name = "mine/1"
title = "Amounts and cards"

[[operation]]
op = "copy"
version = 1
group = "amount"
columns = ["TransactionAmt", "C1..C14"]

[[operation]]
op = "share"
version = 1
group = "card"
columns = ["card1"]
names = ["card1_frequency"]
"""

_HISTORY_EXAMPLE: Final = """
[[history]]
space = "client"
version = 1
key = ["card1", "addr1"]
start_day = "D1"
ttl_days = 180
ring = 8

[[history.features]]
kind = "count_in"
group = "windows"
seconds = [3600, 86400]
"""

_SPACE_FIELDS: Final = (
    ("space", "a name of your choice; the names of its features begin with it."),
    ("version", "of the meaning of card history."),
    ("key", "columns that make the key, card1 first. A missing value of another one is a value."),
    ("start_day", "optional: a column of days. The transaction's day minus these days is part of"),
    ("", "the key; a transaction without it has no history in this space."),
    ("ttl_days", "a record that was not used for this long counts as absent."),
    ("ring", "how many of the last transactions are remembered with time and amount."),
)  # fmt: skip

_SHARED_FIELDS: Final = (
    ("op, version", "the operation, as below. The meaning of a version never changes."),
    ("group", "a name of your choice: what --without leaves out and fraud-trainer ablate judges."),
    ("columns", "the columns of the transaction that it reads. first..last is a run of them."),
    ("names", "optional: the names of its features, if you do not like the usual ones."),
)


def _fields(named: Sequence[tuple[str, str]]) -> Iterator[str]:
    for name, text in named:
        yield from _wrapped(text, f"  {name:<12} ")


def _columns(facts: Mapping[str, Any]) -> str:
    least, most = facts["least"], facts["most"]
    if most == 0:
        return "none; it reads the time of the transaction"
    count = f"{least}" if least == most else f"{least} to {most}"
    kinds = " or ".join(f"{kind}s" for kind in facts["kinds"])
    return f"{count}, {kinds}"


def _counts(facts: Mapping[str, Any]) -> str:
    columns = facts["columns"]["number"] + facts["columns"]["text"]
    return f"{_many(facts['features'], 'feature')} from {_many(columns, 'column')}"


def _groups(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{group} ({n})" for group, n in facts["groups"].items())


def _spaces(facts: Mapping[str, Any], start: str) -> Iterator[str]:
    """The key spaces of a program, one a line; none for a program without card history."""
    history = facts["history"]
    for space in [] if history is None else history["spaces"]:
        key = " and ".join(space["key"])
        if space["start_day"]:
            key += f" and day - {space['start_day']}"
        yield from _wrapped(
            f"{space['space']}: key {key}; {_many(len(space['features']), 'feature')}, "
            f"{space['bytes_a_key']} bytes a key, kept {_many(space['ttl_days'], 'day')}, the last "
            f"{_many(space['ring'], 'transaction')} remembered",
            f"{start}history     ",
        )


def _many(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _wrapped(text: str, start: str) -> list[str]:
    return textwrap.wrap(
        printable(text), _WIDTH, initial_indent=start, subsequent_indent=" " * len(start)
    )
