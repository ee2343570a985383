"""The last result of live quality as pages show it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from dashboard.web.parts import Parts
from dashboard.web.roles import HIDDEN
from stream_scorer.errors import StoreError
from stream_scorer.quality import words
from stream_scorer.runtime.text import printable

log = logging.getLogger(__name__)

PLAIN_PROBLEM: Final = f"the result cannot be read from the artifact store; {HIDDEN}"
"""What everybody reads of a problem with the store, whose own words name hosts and buckets."""

_MAX_ROWS: Final = 20
_SOURCES: Final = ("matured", "reviewed", "sampled")

Write = Callable[[float], str]


def read_quality(parts: Parts) -> dict[str, Any]:
    """What there is to show. It may wait for the store; it never fails.

    Anyone may have written the object, so what cannot be shown is a problem like any other.
    """
    try:
        result = parts.quality.read()
        return {"problem": "", "computed_at": None} if result is None else describe(result)
    except StoreError as error:
        log.warning("the result of live quality cannot be read: %s", error)
        return {"problem": PLAIN_PROBLEM, "computed_at": None}
    except (AttributeError, KeyError, LookupError, TypeError, ValueError, OverflowError):
        problem = "the result of live quality in the artifact store cannot be read"
        return {"problem": problem, "computed_at": None}


def describe(result: Mapping[str, Any]) -> dict[str, Any]:
    """The result in texts."""
    return {
        "problem": "",
        "computed_at": _time(result["computed_at"]),
        "since": _time(result["since"]),
        "maturity_days": f"{result['maturity_days']:g}",
        "scores": int(result["scores"]),
        "labels": int(result["labels"]),
        "versions": [_version(version) for version in result["versions"][:_MAX_ROWS]],
        "meaning_of_products": words.MEANING_OF_PRODUCTS,
        "notes": words.problem_texts(result["problems"]),
    }


def version_of(quality: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """One version of a described result."""
    versions = quality.get("versions", ())
    return next((version for version in versions if version["version"] == name), None)


def _version(version: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of one version, each once for each kind of labels that has it."""
    rows = []
    for measure in ("precision", "recall"):
        for threshold in ("review", "block"):
            name = f"{measure.capitalize()} at {threshold}"
            rows += _rows(name, version[measure][threshold], words.percent)
    rows += _rows("Average precision", version["average_precision"], words.ratio)
    rows.append(_amount("Fraud caught", version["money"]["caught"]))
    rows.append(_amount("Fraud missed", version["money"]["missed"]))
    missed = version["money"]["missed_in_sample"]
    rows += _rows("Fraud missed, estimated", missed, words.money)
    return {
        "version": printable(str(version["version"])),
        "scores": int(version["rows"]),
        "rows": rows,
        "short": [
            {
                "source": source,
                "promised": words.percent(version["promised_precision"]["review"]["value"]),
            }
            for source in words.falls_short(version)
        ],
        "products": [_product(product) for product in version["products"][:_MAX_ROWS]],
        "product_notes": list(map(printable, words.recall_notes(version["products"][:_MAX_ROWS]))),
    }


def _rows(
    name: str, by_source: Mapping[str, Mapping[str, Any]], write: Write
) -> list[dict[str, Any]]:
    """A row for each kind of labels that says something; one row with the reasons if none does."""
    known = [source for source in _SOURCES if by_source.get(source, {}).get("value") is not None]
    if not known:
        reasons = [by_source[source]["reason"] for source in _SOURCES if source in by_source]
        return [_row(name, "", "Not estimable", "", "; ".join(map(str, reasons)))]
    return [
        _row(
            name,
            source,
            write(by_source[source]["value"]),
            _interval(by_source[source]["interval"], write),
            f"{by_source[source]['n']:,} rows",
        )
        for source in known
    ]


def _amount(name: str, amount: Mapping[str, Any]) -> dict[str, Any]:
    frauds, unknown = amount["frauds"], amount["frauds_of_unknown_amount"]
    text = words.money(amount["value"])
    if frauds and unknown == frauds:
        text = "Unknown"
    note = f"{frauds:,} frauds" + (f", the amount of {unknown:,} is not known" if unknown else "")
    return _row(name, "all labels", text, _interval(amount["interval"], words.money), note)


def _row(name: str, source: str, value: str, interval: str, note: str) -> dict[str, Any]:
    return {
        "name": name,
        "source": source,
        "value": value,
        "interval": interval,
        "note": printable(note),
    }


def _interval(interval: Any, write: Write) -> str:
    return "" if interval is None else f"{write(interval[0])} to {write(interval[1])}"


def _product(product: Mapping[str, Any]) -> dict[str, Any]:
    figures = product["precision"]["review"]
    recall = product.get("recall", {}).get("review", {})  # absent in results of earlier releases
    return {
        "product": printable(str(product["product"])),
        "flagged": int(product["flagged"]),
        **{
            source: "" if figures[source]["value"] is None else words.figure_text(figures[source])
            for source in ("matured", "reviewed")
        },
        **{
            f"recall_{source}": words.brief_text(recall.get(source))
            for source in ("matured", "sampled")
        },
    }


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
