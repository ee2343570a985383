"""Load traces, from a CSV file or generated from a short description."""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stream_scorer.errors import UsageError

_DAY_STEPS: Final = 96  # steps of a quarter of an hour


@dataclass(frozen=True, slots=True)
class Trace:
    """The rate in records per second from each time until the next; the last rate stays."""

    seconds: tuple[float, ...]
    rates: tuple[float, ...]

    def rate_at(self, now: float) -> float:
        """Records per second at ``now``; 0 before the first time."""
        place = bisect_right(self.seconds, now) - 1
        return self.rates[place] if place >= 0 else 0.0

    @property
    def end(self) -> float:
        """The last time at which the rate changes."""
        return self.seconds[-1]


def open_trace(text: str) -> Trace:
    """``burst:…``, ``steady:…``, ``day:…`` or the path of a CSV file.

    Raises:
        UsageError: the text is none of them, or the trace is invalid; the message says where.
    """
    kind, colon, parameters = text.partition(":")
    if colon and kind in _GENERATORS and not Path(text).exists():
        generate, defaults = _GENERATORS[kind]
        return generate(_parameters(kind, parameters, defaults))
    return _read(Path(text))


def _burst(given: Mapping[str, float]) -> Trace:
    start, end = given["start"], given["start"] + given["seconds"]
    return Trace((0.0, start, end), (given["base"], given["peak"], given["base"]))


def _steady(given: Mapping[str, float]) -> Trace:
    return Trace((0.0, given["seconds"]), (given["rate"], given["rate"]))


def _day(given: Mapping[str, float]) -> Trace:
    """A sine wave: lowest at the start, highest in the middle."""
    length, low, high = given["seconds"], given["low"], given["high"]
    at = [length * step / _DAY_STEPS for step in range(_DAY_STEPS + 1)]
    rates = [low + (high - low) * (1 - math.cos(2 * math.pi * t / length)) / 2 for t in at]
    return Trace(tuple(at), tuple(rates))


_GENERATORS: Final[dict[str, tuple[Callable[[Mapping[str, float]], Trace], dict[str, float]]]] = {
    "burst": (_burst, {"base": 1000, "peak": 100_000, "start": 60, "seconds": 120}),
    "steady": (_steady, {"rate": 10_000, "seconds": 600}),
    "day": (_day, {"low": 1000, "high": 100_000, "seconds": 86_400}),
}


def _parameters(kind: str, text: str, defaults: Mapping[str, float]) -> dict[str, float]:
    given = dict(defaults)
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or name not in defaults:
            known = ",".join(f"{key}={number:g}" for key, number in defaults.items())
            raise UsageError(f"--trace {kind}: {part!r} is not one of {kind}:{known}")
        given[name] = _not_negative(value, f"--trace {kind}: {name}")
    if given.get("seconds") == 0:
        raise UsageError(f"--trace {kind}: seconds must be above 0")
    return given


def _read(path: Path) -> Trace:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the trace {path}: {error}") from error
    rows = list(csv.reader(line for line in text.splitlines() if not line.startswith("#")))
    if not rows or [cell.strip() for cell in rows[0]] != ["seconds", "records_per_second"]:
        raise UsageError(f"{path}: the first line must be seconds,records_per_second")
    return _trace(path, [row for row in rows[1:] if row])


def _trace(path: Path, rows: Sequence[Sequence[str]]) -> Trace:
    at, rates = [], []
    for number, row in enumerate(rows, 1):
        where = f"{path}, record {number}"
        if len(row) != 2:
            raise UsageError(f"{where}: must have two columns")
        at.append(_not_negative(row[0], where))
        rates.append(_not_negative(row[1], where))
        if len(at) > 1 and at[-1] <= at[-2]:
            raise UsageError(f"{where}: seconds must increase from line to line")
    if not at:
        raise UsageError(f"{path}: no records")
    return Trace(tuple(at), tuple(rates))


def _not_negative(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise UsageError(f"{where}: {text!r} is not a number of 0 or more")
    return value
