"""The embedded broker's log file, the only place where Kafka reports why it did not start."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_KEPT_BYTES: Final = 20_000_000
_EVENT: Final = re.compile(r"\d{4}-\S+ ([A-Z]+) ")
_EXCEPTION: Final = re.compile(r"(Caused by: )?[\w.$]+(Exception|Error)\b")


def last_errors(written: str, limit: int = 6) -> list[str]:
    """The last ERROR and FATAL lines of a broker log, with exceptions but no stack traces."""
    found: list[str] = []
    in_error = False
    for line in written.splitlines():
        if event := _EVENT.match(line):
            in_error = event[1] in ("ERROR", "FATAL")
        if in_error and (event or _EXCEPTION.match(line)):
            found.append(line)
    return found[-limit:]


def rotate(path: Path) -> int:
    """Rotate a large log; returns the size of the remaining file, where new lines will start."""
    size = path.stat().st_size if path.exists() else 0
    if size > _KEPT_BYTES:
        path.replace(path.with_suffix(".log.1"))
        return 0
    return size


def read_from(path: Path, offset: int) -> str:
    """The text written after ``offset`` bytes; empty if there is no log."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read().decode("utf-8", errors="replace")
