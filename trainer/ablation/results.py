"""The finished fits of an ablation, kept in a file so that none is repeated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from stream_scorer.errors import UsageError
from stream_scorer.runtime.files import replace_file
from stream_scorer.runtime.json_limits import parse_object, shown
from trainer.ablation.variants import Variant

FORMAT: Final = 1
_MAX_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Result:
    """One finished fit."""

    window: str
    seed: int
    variant: str
    digest: str
    average_precision: float
    seconds: float


@dataclass(slots=True)
class Results:
    """All finished fits.

    Attributes:
        basis: what is the same in all of them.
        windows: name → facts of the windows that were loaded.
        costs: digest of a group's operations → microseconds a row of its features.
    """

    basis: Mapping[str, Any]
    windows: dict[str, Any] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    _finished: dict[tuple[str, int, str], Result] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        """Keep a result."""
        self._finished[result.window, result.seed, result.digest] = result

    def find(self, window: str, seed: int, variant: Variant) -> Result | None:
        """The result of a variant, or of one with the same features; None if there is none."""
        return self._finished.get((window, seed, variant.digest))

    def check_window(self, name: str, facts: Mapping[str, Any], path: Path | None) -> None:
        """Note a window's rows.

        Raises:
            UsageError: the kept results are of other rows.
        """
        before = self.windows.setdefault(name, dict(facts))
        for key, value in facts.items():
            if before.get(key) != value:
                raise UsageError(
                    f"{path}: the results for {name} are of other rows ({key} was "
                    f"{shown(before.get(key))} and is {shown(value)}): use another --output"
                )

    def plain(self) -> dict[str, Any]:
        """As JSON values, from which :func:`read_results` reads it."""
        return {
            "format": FORMAT,
            "basis": dict(self.basis),
            "windows": self.windows,
            "costs": self.costs,
            "results": [asdict(result) for result in self._finished.values()],
        }


def read_results(path: Path, basis: Mapping[str, Any]) -> Results:
    """The results in a file; none if there is no file.

    Raises:
        UsageError: the file cannot be read, is no ablation, or one with another basis.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return Results(basis)
    except OSError as error:
        raise UsageError(f"cannot read --output {path}: {error.strerror}") from error
    if len(content) > _MAX_BYTES:
        raise UsageError(f"--output {path} is larger than {_MAX_BYTES} bytes: it is no ablation")
    hint = "it would be overwritten: use another --output"
    try:
        kept = parse_object(content)["kept"]
        results = _read(kept, basis)
    except (ValueError, LookupError, TypeError) as error:
        raise UsageError(f"--output {path} is not an ablation ({shown(error)}); {hint}") from error
    for name, value in basis.items():
        if results.basis.get(name) != value:
            raise UsageError(
                f"--output {path} has results with other conditions: {name} was "
                f"{shown(results.basis.get(name))} and is {shown(value)}; use another --output"
            )
    return results


def _read(kept: Any, basis: Mapping[str, Any]) -> Results:
    if kept["format"] != FORMAT:
        raise ValueError(f"format {shown(kept['format'])}")
    results = Results({name: kept["basis"].get(name) for name in basis})
    results.windows = dict(kept["windows"])
    results.costs = {str(key): float(value) for key, value in kept["costs"].items()}
    for item in kept["results"]:
        result = Result(**item)
        is_valid = (
            all(type(text) is str for text in (result.window, result.variant, result.digest))
            and type(result.seed) is int
            and 0 <= float(result.average_precision) <= 1
            and float(result.seconds) >= 0
        )
        if not is_valid:
            raise ValueError("a result is not valid")
        results.add(result)
    return results


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Replace a file; a crash leaves either the old one or the new one.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        replace_file(path, json.dumps(report).encode())
    except OSError as error:
        raise UsageError(f"cannot write --output {path}: {error.strerror}") from error
