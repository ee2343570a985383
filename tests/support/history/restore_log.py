"""What scorers logged about their card histories: restores, snapshots, and what went wrong."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_MISMATCH: Final = "but its last scores were made with"
_DIFFERENT: Final = "two processes computed different histories"
_NOT_YET: Final = "cannot be restored yet"
_UNUSABLE: Final = "cannot be used"
_CACHED: Final = "comes from the cache"


@dataclass
class RestoreLog:
    """The restores of several processes.

    Attributes:
        checks: restores by whether a mark confirmed them.
        unchecked: partition and offset of those that no mark confirmed.
        replayed: inputs that were replayed.
        most_replayed: in one restore.
        seconds: how long each restore took.
        mismatches: messages about a state that is not the one scores were made with.
        different: messages about two states of one partition and offset.
        damaged: snapshots that could not be used.
        cached: restores that began with the local disk's snapshot.
        retries: messages about restores that were not possible at once.
        snapshots: written snapshots by result.
    """

    checks: Counter[str] = field(default_factory=Counter)
    unchecked: list[tuple[int, int]] = field(default_factory=list)
    replayed: int = 0
    most_replayed: int = 0
    seconds: list[float] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    damaged: int = 0
    cached: int = 0
    retries: list[str] = field(default_factory=list)
    snapshots: Counter[str] = field(default_factory=Counter)

    def add(self, line: dict[str, Any]) -> None:
        """Take one line of a log."""
        text = str(line.get("message", ""))
        if text == "history restored":
            self.checks[line["check"]] += 1
            if line["check"] != "checked":
                self.unchecked.append((line["partition"], line["offset"]))
            self.replayed += line["replayed"]
            self.most_replayed = max(self.most_replayed, line["replayed"])
            self.seconds.append(line["seconds"])
        elif text.startswith("snapshot "):
            self.snapshots[text.removeprefix("snapshot ")] += 1
        elif _MISMATCH in text:
            self.mismatches.append(text)
        elif _DIFFERENT in text:
            self.different.append(text)
        elif _NOT_YET in text:
            self.retries.append(text)
        elif _CACHED in text:
            self.cached += 1
        elif _UNUSABLE in text:
            self.damaged += 1


def noted_restores(records: Iterable[logging.LogRecord]) -> RestoreLog:
    """The restores among the log records of this process."""
    found = RestoreLog()
    for record in records:
        found.add(vars(record) | {"message": record.getMessage()})
    return found


def read_restores(logs: Iterable[Path]) -> RestoreLog:
    """The restores in these logs, which are JSON lines; other lines are passed over."""
    found = RestoreLog()
    for log in logs:
        for line in json_lines(log):
            found.add(line)
    return found


def json_lines(log: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log that are JSON objects; a killed process may have left half a line."""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found
