"""Two versions side by side: figures with differences, features gained and lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trainer.report.markup import Html, join, table, tag
from trainer.report.numbers import NONE, decimal, interval, signed
from trainer.report.subject import Subject, is_comparable
from trainer.report.view import View

NOTHING: Final = Html("")
MOST_NAMES: Final = 5_000
SHOWN_NAMES: Final = 60

_FIGURES: Final = (
    ("average precision", ("average_precision",), ("average_precision_interval",), True),
    ("ROC AUC", ("roc_auc",), ("roc_auc_interval",), True),
    ("log loss", ("log_loss",), (), False),
    ("recall in the top 1 %", ("top", "0.01", "recall"), ("top", "0.01", "recall_interval"), True),
    ("recall in the top 2 %", ("top", "0.02", "recall"), ("top", "0.02", "recall_interval"), True),
    ("recall in the top 5 %", ("top", "0.05", "recall"), ("top", "0.05", "recall_interval"), True),
    ("precision at review", ("review", "precision"), ("review", "precision_interval"), True),
    ("recall at review", ("review", "recall"), ("review", "recall_interval"), True),
    ("share flagged", ("review", "share"), (), None),
    ("precision at block", ("block", "precision"), ("block", "precision_interval"), True),
    ("recall at block", ("block", "recall"), ("block", "recall_interval"), True),
    ("fraud rate of the rows (chance)", ("fraud_rate",), (), None),
)


def comparison(subjects: Sequence[Subject]) -> Html:
    """The figures of both versions, and what differs in features."""
    if len(subjects) < 2:
        return NOTHING
    first, other = subjects[:2]
    rows = []
    for name, where, ends, is_higher_better in _FIGURES:
        ours, theirs = (s.test.number(*where) for s in (first, other))
        if ours is None and theirs is None:
            continue
        difference = None if ours is None or theirs is None else ours - theirs
        pair = [s.test.interval(*ends) if ends else None for s in (first, other)]
        are_apart = _are_apart(pair[0], pair[1])
        rows.append(
            (
                name,
                *(_value(s.test, where, ends) for s in (first, other)),
                _difference(difference, is_higher_better, are_apart),
            )
        )
    head = ("on the evaluated rows", first.name, other.name, f"{first.name} minus {other.name}")
    drawn = table(f"{first.name} and {other.name}", head, rows)
    return join([_caution(subjects), drawn, _features(first, other)])


def _caution(subjects: Sequence[Subject]) -> Html:
    first, other = subjects[:2]
    champion = first.facts.text("gate", "champion", "version")
    if is_comparable(subjects):
        words = (
            "Both versions were evaluated on the same rows, as far as their metadata shows. A "
            "difference has a colour where the intervals do not overlap; others may be chance."
        )
    else:
        words = (
            f"{first.name} and {other.name} were evaluated on different rows. A difference may "
            "come from the rows and not from the model."
        )
    if champion == other.name:
        words += " The gate compared both on the same rows; see the paired difference above."
    return tag("p", words, class_="lead")


def _value(test: View, where: tuple[str, ...], ends: tuple[str, ...]) -> str:
    value = test.number(*where)
    found = test.interval(*ends) if ends else None
    return decimal(value) if found is None else f"{decimal(value)} ({interval(found)})"


def _are_apart(a: tuple[float, float] | None, b: tuple[float, float] | None) -> bool:
    return a is not None and b is not None and (a[0] > b[1] or b[0] > a[1])


def _difference(value: float | None, is_higher_better: bool | None, are_apart: bool) -> Html | str:
    if value is None:
        return NONE
    if is_higher_better is None or not are_apart:
        return signed(value)
    is_better = (value > 0) == is_higher_better
    return tag("span", signed(value), class_="better" if is_better else "worse")


def _features(first: Subject, other: Subject) -> Html:
    ours, theirs = (s.facts.texts("features", "names", most=MOST_NAMES) for s in (first, other))
    if not ours or not theirs:
        return NOTHING
    gained = sorted(set(ours) - set(theirs))
    lost = sorted(set(theirs) - set(ours))
    if not gained and not lost:
        return tag("p", f"Both versions use the same {len(ours):,} features.", class_="small")
    return join(
        [
            tag("h3", f"Features: {len(gained)} gained, {len(lost)} lost"),
            _names(f"Only in {first.name}", gained),
            _names(f"Only in {other.name}", lost),
        ]
    )


def _names(title: str, names: Sequence[str]) -> Html:
    if not names:
        return NOTHING
    shown = [tag("code", name) for name in names[:SHOWN_NAMES]]
    more = f" and {len(names) - SHOWN_NAMES:,} more" if len(names) > SHOWN_NAMES else ""
    return tag("p", tag("b", f"{title}: "), join(shown), more, class_="names")
