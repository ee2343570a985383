"""The question in a query string: which model, which days, whose labels, which threshold."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from dashboard.web.problems import Problem
from stream_scorer.quality.sources import LabelSource

WINDOWS: Final = (1, 7, 14, 30, 90)
"""The windows that the page offers, in days. A link may have any other."""

API_PARAMETERS: Final = frozenset({"window", "labels", "model", "maturity", "threshold"})
PAGE_PARAMETERS: Final = API_PARAMETERS | {"minutes"}

DEFAULT_DAYS: Final = 7
DEFAULT_MATURITY: Final = 14
DEFAULT_MINUTES: Final = 4.0
MAX_DAYS: Final = 365
_MAX_MINUTES: Final = 600.0
_MAX_MODEL_CHARS: Final = 200
_DAYS: Final = re.compile(r"([0-9]{1,3})d?")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        days: length of the window.
        source: whose labels. None: the best there are.
        model: the model version. None: the one in use.
        maturity: with matured labels, how many days ago the window ends.
        threshold: the proposed review threshold. None: the one in use.
        minutes: what one alert takes an analyst.
    """

    days: int = DEFAULT_DAYS
    source: LabelSource | None = None
    model: str | None = None
    maturity: int = DEFAULT_MATURITY
    threshold: float | None = None
    minutes: float = DEFAULT_MINUTES

    def query(self, **more: Any) -> str:
        """The query string of this question with some of its parts replaced."""
        asked = replace(self, **more)
        pairs = {
            "model": asked.model,
            "window": f"{asked.days}d",
            "labels": asked.source,
            "maturity": f"{asked.maturity}d",
            "threshold": asked.threshold,
            "minutes": format(asked.minutes, "g"),
        }
        return urlencode({name: value for name, value in pairs.items() if value is not None})


def parse_question(query: Mapping[str, str]) -> Question:
    """The question in a query string. Empty parameters count as absent.

    Raises:
        Problem: 422, with each invalid parameter.
    """
    found: dict[str, Any] = {}
    faults: list[dict[str, str]] = []
    for name, field, parse, reason in _FIELDS:
        text = query.get(name, "").strip()
        if not text:
            continue
        value = parse(text)
        if value is None:
            faults.append({"field": name, "reason": f"{reason}, not {text[:40]!r}"})
        else:
            found[field] = value
    if faults:
        summary = f"invalid {faults[0]['field']}: {faults[0]['reason']}"
        raise Problem(422, summary, errors=faults)
    return Question(**found)


def _days(text: str, least: int) -> int | None:
    match = _DAYS.fullmatch(text)
    days = int(match[1]) if match else -1
    return days if least <= days <= MAX_DAYS else None


def _source(text: str) -> LabelSource | None:
    return LabelSource(text) if text in set(LabelSource) else None


def _number(text: str, most: float) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0.0 <= value <= most else None


def _model(text: str) -> str | None:
    return text if len(text) <= _MAX_MODEL_CHARS else None


_FIELDS: Final[tuple[tuple[str, str, Callable[[str], Any], str], ...]] = (
    ("window", "days", lambda text: _days(text, 1), f"must be 1d to {MAX_DAYS}d"),
    ("labels", "source", _source, f"must be one of {', '.join(LabelSource)}"),
    ("model", "model", _model, f"must have at most {_MAX_MODEL_CHARS} characters"),
    ("maturity", "maturity", lambda text: _days(text, 0), f"must be 0d to {MAX_DAYS}d"),
    ("threshold", "threshold", lambda text: _number(text, 1.0), "must be a number from 0 to 1"),
    (
        "minutes",
        "minutes",
        lambda text: _number(text, _MAX_MINUTES),
        f"must be a number from 0 to {_MAX_MINUTES:g}",
    ),
)
