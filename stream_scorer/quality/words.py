"""Figures in words, for the terminal, the page and the dashboard. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

PROBLEMS: Final = {
    "bad_label_records": "records of the labels topic are no labels",
    "conflicting_labels": "transactions have an analyst's label and a report that contradict each "
    "other; the last one stands",
    "labels_from_the_future": "labels were decided later than now and are left out: check the "
    "clock of whoever wrote them; stream-scorer labels list shows them first",
    "labels_of_several_scores": "labels stand for more than one score: their transaction id came "
    "more than once",
    "labels_of_unknown_transactions": "labels are of transactions without a score in this window",
    "scores_from_the_future": "scores were written later than now and are left out: check the "
    "brokers' clocks",
    "scores_removed_unread": "scores were removed by retention before they were read",
    "scores_without_time": "scores have no timestamp and are left out",
    "unreadable_batches": "batches of records cannot be unpacked and are left out",
    "unreadable_scores": "records are no scores, or contradict themselves, and are left out",
}
"""Kind of problem → what a number of them is."""

MEANING_OF_PRODUCTS: Final = (
    "Only flagged and sampled scores state their product. That of reported fraud that was not "
    "flagged is read from its input, and recall needs it of all of them."
)


def percent(value: float) -> str:
    """``29.6 %``."""
    return f"{value * 100:.1f} %"


def ratio(value: float) -> str:
    """``0.3933``."""
    return f"{value:.4f}"


def money(value: float) -> str:
    """``12,340``."""
    return f"{value:,.0f}"


def points(value: float) -> str:
    """``-4.2 points``, of percent."""
    return f"{value * 100:+.1f} points"


def figure_text(figure: Mapping[str, Any], write: Any = percent) -> str:
    """``71.4 % (68.0 % to 74.6 %) of 412``, or why there is none."""
    if figure.get("value") is None:
        return str(figure.get("reason") or "unknown")
    text = str(write(figure["value"]))
    if figure.get("interval") is not None:
        low, high = figure["interval"]
        text += f" ({write(low)} to {write(high)})"
    return text


def amount_text(amount: Mapping[str, Any]) -> str:
    """``12,340 (11,000 to 13,500) in 31 frauds``, with how many amounts are unknown."""
    known = amount["frauds"] - amount["frauds_of_unknown_amount"]
    if not amount["frauds"]:
        return "no labelled fraud"
    unknown = amount["frauds_of_unknown_amount"]
    if not known:
        return f"unknown: {unknown:,} frauds whose amount is not known"
    text = f"{figure_text(amount, money)} in {known:,} frauds"
    return text + (f", and {unknown:,} of unknown amount" if unknown else "")


def problem_texts(problems: Mapping[str, int]) -> list[str]:
    """A sentence each."""
    return [f"{n:,} {PROBLEMS[name]}" for name, n in problems.items() if name in PROBLEMS]


def falls_short(version: Mapping[str, Any], threshold: str = "review") -> list[str]:
    """The labels by which precision is below what was promised, beyond chance."""
    by_source = version["precision_change"][threshold]
    return [
        str(source)
        for source, figure in by_source.items()
        if figure["interval"] is not None and figure["interval"][1] < 0
    ]


def brief_text(figure: Mapping[str, Any] | None) -> str:
    """A figure for a table; the reasons of those that are not known are said below it."""
    if figure is None or figure.get("value") is None:
        return "not estimable"
    return figure_text(figure)


def recall_notes(products: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why recall is not known for some products, each reason once.

    The results of earlier releases have no recall by product.
    """
    notes: dict[str, None] = {}  # in order
    for source in ("matured", "sampled"):
        for product in products:
            figure = product.get("recall", {}).get("review", {}).get(source)
            if figure is not None and figure["value"] is None:
                notes[f"recall, {source}: {figure['reason']}"] = None
    return list(notes)
