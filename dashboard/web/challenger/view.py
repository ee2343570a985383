"""The challenger and its newest comparison as the page of models shows them.

The comparison is what ``fraud-trainer models compare --publish`` wrote. Anyone may have written the
object, so what cannot be shown is a problem like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from dashboard.web.parts import Parts
from stream_scorer.errors import StoreError
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.runtime.json_limits import parse_object
from stream_scorer.runtime.text import printable

_DECISIONS: Final = ("APPROVE", "REVIEW", "BLOCK")
_VERDICTS: Final = {"better": "good", "no worse": "", "worse": "bad"}
_MEASURES: Final = {
    "average_precision": "Average precision",
    "recall_at_budget": "Recall at the review budget",
}
_SOURCES: Final = ("matured", "sampled")
_TEXT_CHARACTERS: Final = 400
_UNREADABLE: Final = "the comparison in the artifact store cannot be read"


def read_comparison(store: ArtifactStore) -> tuple[str | None, str | None, dict[str, Any] | None]:
    """Champion, challenger and the result that was published for the two.

    Raises:
        StoreError: the store cannot be reached, or what it has is no comparison.
    """
    pointer, challenger = store.current(), store.challenger().version
    champion = None if pointer is None else pointer.version
    if champion is None or challenger is None or champion == challenger:
        return champion, challenger, None
    content = store.read_comparison(champion, challenger)
    if content is None:
        return champion, challenger, None
    try:
        return champion, challenger, parse_object(content)
    except ValueError as error:
        raise StoreError(f"{_UNREADABLE}: {error}") from error


def read_challenger(parts: Parts) -> dict[str, Any]:
    """What there is to show. It may wait for the store; it never fails."""
    found: dict[str, Any] = {"problem": "", "champion": None, "challenger": None, "result": None}
    try:
        found["champion"], found["challenger"], result = read_comparison(parts.catalog.store)
        if result is not None:
            found["result"] = describe(result)
    except StoreError as error:
        found["problem"] = printable(str(error))
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
        found["problem"] = _UNREADABLE
    return found


def describe(result: Mapping[str, Any]) -> dict[str, Any]:
    """The result in texts.

    Raises:
        LookupError, TypeError, ValueError: it is not a result.
    """
    verdict = str(result["verdict"])[:_TEXT_CHARACTERS]
    more = result["more_labels"]
    return {
        "verdict": verdict,
        "kind": _VERDICTS.get(verdict, ""),
        "more": int(more) if more is not None else None,
        "reason": printable(str(result["reason"])[:_TEXT_CHARACTERS]),
        # Comparisons of an earlier release have none.
        "next": printable(str(result.get("next", ""))[:_TEXT_CHARACTERS]),
        "computed_at": _time(result["computed_at"]),
        "since": _time(result["since"]),
        "rows": int(result["rows"]),
        "agreement": f"{float(result['agreement']) * 100:.2f} %",
        "psi": f"{float(result['psi']):.3f}",
        "moves": _moves(result["decisions"]),
        "labels": [_labels(source, result["labels"][source]) for source in _SOURCES],
    }


def _moves(cells: Any) -> list[dict[str, Any]]:
    """One row for each decision of the champion, with those of the challenger side by side."""
    found = {(cell["champion"], cell["challenger"]): cell for cell in cells}
    return [
        {
            "decision": one.capitalize(),
            "cells": [
                {
                    "rows": int(cell["rows"]),
                    "amount": None if cell["amount"] is None else f"{float(cell['amount']):,.2f}",
                    "is_same": one == other,
                }
                for other in _DECISIONS
                if (cell := found[one, other]) is not None
            ],
        }
        for one in _DECISIONS
    ]


def _labels(source: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    if "why_not" in facts:
        return {"source": source, "why_not": printable(str(facts["why_not"])[:_TEXT_CHARACTERS])}
    rows = []
    for key, name in _MEASURES.items():
        found = facts[key]
        interval = found["interval"]
        rows.append(
            {
                "name": name,
                "challenger": f"{float(found['candidate']):.4f}",
                "champion": f"{float(found['champion']):.4f}",
                "difference": f"{float(found['difference']):+.4f}",
                "interval": "too few labels"
                if interval is None
                else f"{float(interval[0]):+.4f} to {float(interval[1]):+.4f}",
            }
        )
    return {
        "source": source,
        "labels": int(facts["labels"]),
        "frauds": int(facts["frauds"]),
        "rows": rows,
    }


def _time(milliseconds: Any) -> str:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
