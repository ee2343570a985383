"""Checks a file's column names against those that it may have."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from typing import Final

from schemas.csv.layout import FileFacts, Layout
from schemas.errors import UnusableFileError
from schemas.text import one_line

log = logging.getLogger(__name__)

SHOWN_CHARS: Final = 60
_SHOWN_UNKNOWN: Final = 20  # columns, in a warning
_MAX_COMPARED: Final = 1_000  # columns, with each missing one
_ALIKE: Final = 0.85  # difflib's ratio: "transactionid" and "transaction_id" have 0.96


def check_header(
    columns: Sequence[str], where: str, name: str, layout: Layout, facts: FileFacts
) -> None:
    """Fill ``facts`` with the known and unknown columns; the unknown ones are logged.

    ``where`` is the place of the header for messages, ``name`` the file.

    Raises:
        UnusableFileError: a column occurs twice, or a required one is missing.
    """
    plain = [layout.rename(column) for column in columns]
    seen: set[str] = set()
    for column in plain:
        if column in seen:
            raise UnusableFileError(
                f"{where}: column {one_line(column[:SHOWN_CHARS])} occurs twice"
            )
        seen.add(column)
    missing = [column for column in layout.required if column not in seen]
    if missing:
        shown = one_line(", ".join(columns[:5])[:SHOWN_CHARS])
        hint = "" if len(columns) > 1 else "; are its columns separated by commas?"
        raise UnusableFileError(
            f"{where}: no column {', '.join(missing)} "
            f"(found {len(columns)}: {shown}{'…' if len(columns) > 5 else ''})"
            f"{hint}{_near_misses(missing, columns)}"
        )
    facts.columns = [c for c in plain if layout.type_of(c) and c not in layout.without]
    facts.unknown = [
        column for column, known in zip(columns, plain, strict=True) if not layout.type_of(known)
    ]
    if facts.unknown:
        named = [_with_near_miss(column, layout) for column in facts.unknown[:_SHOWN_UNKNOWN]]
        left = len(facts.unknown) - len(named)
        more = f" and {left} more" if left else ""
        log.warning("%s: ignoring unknown columns: %s%s", name, ", ".join(named), more)


def _near_misses(missing: Sequence[str], columns: Sequence[str]) -> str:
    """The columns that are spelt almost like missing ones."""
    spelt = {c.casefold(): c for c in columns[:_MAX_COMPARED]}
    found = []
    for name in missing:
        near = difflib.get_close_matches(name.casefold(), spelt, 1, _ALIKE)
        found += [f"{spelt[near[0]][:SHOWN_CHARS]!r} should be {name!r}"] if near else []
    return f"; {', '.join(found)}" if found else ""


def _with_near_miss(column: str, layout: Layout) -> str:
    """An unknown column, with the one that is probably meant."""
    shown = one_line(column[:SHOWN_CHARS])
    known = {c.casefold(): c for c in layout.known}
    near = difflib.get_close_matches(layout.rename(shown).casefold(), known, 1, _ALIKE)
    return f"{shown} (did you mean {known[near[0]]}?)" if near else shown
