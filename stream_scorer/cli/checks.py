"""The checks of ``doctor``: what each found, and how a failure becomes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from stream_scorer.errors import ScorerError


class Level(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the output: what was checked, what was found, and what to do about it."""

    name: str
    level: Level
    found: str
    advice: str = ""


def guarded(name: str, checks: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Run the checks; a check that raises an error becomes a failed one."""
    try:
        yield from checks()
    except ScorerError as error:
        yield Check(name, Level.FAIL, str(error))
    except LookupError as error:  # the URL answers, but not as a schema registry does
        yield Check(name, Level.FAIL, str(error), "check SCHEMA_REGISTRY_URL")
    except OSError as error:  # mainly LightGBM without its OpenMP runtime
        yield Check(name, Level.FAIL, str(error), "see the checks above")
