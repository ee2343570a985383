"""The top of the page: what the version is, the warning, the verdict, the headline figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trainer.report.markup import Html, table, tag
from trainer.report.numbers import (
    NONE,
    decimal,
    interval,
    percent,
    shares_interval,
    signed,
    whole,
)
from trainer.report.subject import Subject, synthetic_warning
from trainer.report.view import View

NOTHING: Final = Html("")
_COMPARED: Final = {
    "average_precision": "average precision",
    "recall_at_budget": "recall at the review budget",
}


def header(subjects: Sequence[Subject]) -> Html:
    """Name, source and warning."""
    first = subjects[0]
    facts = first.facts
    created = (facts.text("created_at") or "").replace("T", " ")[:40]
    rows, frauds = facts.count("training", "rows"), facts.count("training", "frauds")
    trees = facts.count("served", "trees") or facts.count("parameters", "trees_used")
    parts = [
        f"trained {created}" if created else "",
        f"{whole(rows)} transactions, {whole(frauds)} frauds" if rows is not None else "",
        f"{whole(trees)} trees" if trees else "",
        f"source {facts.text('training', 'source')}" if facts.text("training", "source") else "",
    ]
    facts_line = [tag("span", part) for part in parts if part]
    title = f"Fraud model {first.name}"
    if len(subjects) > 1:
        title += f" against {subjects[1].name}"
    return tag(
        "header",
        tag("p", "Evaluation report", class_="kicker"),
        tag("h1", title),
        tag("p", *facts_line, class_="facts"),
    )


def warnings(subjects: Sequence[Subject]) -> Html:
    """The warning about synthetic data, which stays in sight."""
    words = synthetic_warning(subjects)
    if words is None:
        return NOTHING
    parts = (tag("strong", "Synthetic data"), tag("p", words))
    return tag("aside", *parts, class_="synthetic", role="note")


def tiles(subjects: Sequence[Subject]) -> Html:
    """The headline figures with their intervals."""
    first = subjects[0]
    test = first.test
    chance = test.share("fraud_rate")
    found = [
        _tile("Average precision", decimal(test.number("average_precision")),
              _ends(interval(test.interval("average_precision_interval"))),
              f"chance {decimal(chance)}" if chance is not None else ""),
        _tile("ROC AUC", decimal(test.number("roc_auc")),
              _ends(interval(test.interval("roc_auc_interval"))), "chance 0.500"),
    ]  # fmt: skip
    top = test.at("top", "0.02")
    if top.share("recall") is not None:
        precision = top.share("precision")
        found.append(
            _tile("Recall in the top 2 %", percent(top.share("recall")),
                  _ends(shares_interval(top.interval("recall_interval"))),
                  f"precision {percent(precision)}")
        )  # fmt: skip
    for name in ("review", "block"):
        at, score = test.at(name), first.facts.number("thresholds", name)
        if at.share("share") is None:
            continue
        precision = at.share("precision")
        does = "Flagged" if name == "review" else "Blocked"
        found.append(
            _tile(does, percent(at.share("share")),
                  "no transaction" if precision is None else f"precision {percent(precision)}",
                  f"score from {score:.4g}" if score is not None else "")
        )  # fmt: skip
    return tag("div", *found, class_="tiles")


def _ends(words: str) -> str:
    return "" if words == NONE else f"95 %: {words}"


def _tile(name: str, value: str, first: str, second: str) -> Html:
    return tag(
        "div",
        tag("span", name, class_="name"),
        tag("b", value),
        tag("span", first or " "),
        tag("span", second or " "),
        class_="tile",
    )


def verdict(subjects: Sequence[Subject]) -> Html:
    """The gate's verdict with its reasons."""
    gate = subjects[0].facts.at("gate")
    passed = gate.flag("passed")
    state = {True: "passed", False: "refused", None: "not recorded"}[passed]
    lines = [tag("li", line, class_="bad") for line in gate.texts("refusals", most=40)]
    lines += [tag("li", line) for line in gate.texts("notes", most=40)]
    compared = _comparison(gate)
    return tag(
        "section",
        tag("h2", f"Gate: {state}"),
        tag("ul", *lines) if lines else NOTHING,
        compared,
        class_=f"gate {'refused' if passed is False else 'passed' if passed else 'unknown'}",
        id="gate",
    )


def _comparison(gate: View) -> Html:
    champion = gate.text("champion", "version") or "the champion"
    rows = []
    for name, found in gate.entries("comparison", most=10):
        difference = found.number("difference")
        if difference is None:
            continue
        ends = found.interval("interval")
        judged = "within chance"
        if ends is not None and ends[0] > 0:
            judged = "better beyond chance"
        elif ends is not None and ends[1] < 0:
            judged = "worse beyond chance"
        rows.append(
            (
                _COMPARED.get(name, name.replace("_", " ")),
                signed(difference, 4),
                NONE if ends is None else f"{signed(ends[0], 4)} to {signed(ends[1], 4)}",
                NONE if ends is None else judged,
            )
        )
    head = ("figure", "difference", "95 % interval", "judgement")
    where = "on the same rows"
    if gate.flag("comparison", "is_paired") is False:
        where = "by its published figures, which are of other rows"
    return table(f"Difference to {champion} {where}", head, rows, align="lrrl")


def summary_sentence(subjects: Sequence[Subject]) -> Html:
    """What the headline figures were measured on, and what is served."""
    first = subjects[0]
    test, served = first.test, first.facts.at("served")
    rows, frauds = test.count("rows"), test.count("frauds")
    if rows is None:
        return NOTHING
    folds = len(first.facts.items("evaluation", "folds"))
    where = f"the {folds} evaluation windows together" if folds else "the latest rows"
    counted = f"{whole(rows)} transactions with {whole(frauds)} frauds"
    if first.facts.at("imported"):
        words = (
            f"Figures are from the rows given to the import: {counted}. The model was trained "
            "elsewhere. If it has seen these rows, it looks better than it is."
        )
        return tag("p", words, class_="lead")
    words = (
        f"Figures are from {where}: {counted}, all "
        "later than the rows that the evaluated model was trained on."
    )
    if served.flag("is_refit"):
        which = f"all {whole(served.count('rows'))} labelled rows"
        burn_in = first.facts.count("training", "history", "burn_in", "rows")
        if burn_in:
            which = f"all labelled rows but the first {whole(burn_in)}"
        words += (
            f" The served model is another one: it was refit on {which}, and has no later rows to "
            "be measured on."
        )
    elif served.flag("is_refit") is False:
        words += " The served model was not refit: it has not seen the latest rows."
    return tag("p", words, class_="lead")
