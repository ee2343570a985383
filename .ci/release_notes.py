"""Prints a version's section of CHANGELOG.md.

    python .ci/release_notes.py v1.2.3 [CHANGELOG.md]

A release candidate (``v1.2.3rc1``) without its own section gets the section of its version.

Exit code: 0 done, 1 the section is missing or empty, 2 wrong usage.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

VERSION = re.compile(r"v?(\d+\.\d+\.\d+)(rc\d+)?")
HEADING = re.compile(r"^## +\[?([^\]\s]+)\]?.*$", re.MULTILINE)


class NoNotes(Exception):
    """The version has no release notes."""


def find_notes(changelog: str, tag: str) -> str:
    """The text under the heading of the version in ``tag``.

    Raises:
        ValueError: ``tag`` is not a version.
        NoNotes: the section is missing or empty.
    """
    match = VERSION.fullmatch(tag)
    if match is None:
        raise ValueError(f"{tag!r} is not a version such as v1.2.3")
    parts = HEADING.split(changelog)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    release, candidate = match[1], match[2] or ""
    found = sections.get(release + candidate, sections.get(release))
    if found is None:
        raise NoNotes(f"no section for {release}{candidate}")
    text = re.sub(r"^\[[^\]]+\]: .*$", "", found, flags=re.MULTILINE).strip()
    if not re.search(r"^[-*] ", text, flags=re.MULTILINE):
        raise NoNotes(f"the section for {release} is empty")
    return text


def main(arguments: Sequence[str]) -> int:
    """Run the command line."""
    if not 1 <= len(arguments) <= 2:
        print(__doc__, file=sys.stderr)
        return 2
    path = Path(arguments[1] if len(arguments) == 2 else "CHANGELOG.md")
    try:
        print(find_notes(path.read_text(encoding="utf-8"), arguments[0]))
    except ValueError as error:
        print(f"release_notes: {error}", file=sys.stderr)
        return 2
    except (NoNotes, OSError) as error:
        print(f"release_notes: {path}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
