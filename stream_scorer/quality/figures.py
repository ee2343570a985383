"""What a model version is worth by the labels there are. Pure.

Every figure names the labels it is from, because each kind can say something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from schemas.contracts import is_amount
from stream_scorer.labels.labels import LEGITIMATE, UNSURE
from stream_scorer.quality.counts import QualityCounts, VersionCounts
from stream_scorer.quality.estimates import bootstrap, share_difference
from stream_scorer.quality.figure import Figure, share, unknown
from stream_scorer.quality.matured import (
    NO_FRAUD,
    NO_FRAUD_OF_IT,
    NO_MATURE,
    NO_REPORTS,
    average_precision_of,
    bounds_of_average_precision,
    calibration_of,
    has_reports,
    mature_frauds,
)
from stream_scorer.quality.rows import (
    APPROVE,
    BLOCK,
    NONE,
    REVIEW,
    Floats,
    Integers,
    LabelledRows,
)
from stream_scorer.quality.sampled import missed_money, recall_in, recall_of, sampled_rows
from stream_scorer.quality.sources import LabelSource

LEVELS: Final = {"review": REVIEW, "block": BLOCK}
"""The thresholds: a decision of at least this one."""

NOT_REVIEWED: Final = "analysts see flagged transactions only"
NOTHING_REVIEWED: Final = "no analyst decided about a transaction with this decision"
NOTHING_FLAGGED: Final = "no score with this decision is old enough"

_SEED: Final = 20_260_103


@dataclass(frozen=True, slots=True)
class Promise:
    """The precision at a threshold that a version's metadata states, from its test rows."""

    hits: int
    rows: int

    @property
    def precision(self) -> float:
        """The share of fraud among flagged test rows."""
        return self.hits / self.rows


Promises = Mapping[str, Promise]
"""``review`` or ``block`` → what the metadata promised."""


def figures_of(
    version: str, counts: VersionCounts, promises: Promises, product_names: list[str]
) -> dict[str, Any]:
    """All figures of one version, as JSON."""
    rows = counts.labelled
    precision = {name: _precision(counts, level) for name, level in LEVELS.items()}
    return {
        "version": version,
        "rows": counts.rows,
        "first_scored_at": counts.first,
        "last_scored_at": counts.last,
        "approved": int(counts.decisions[APPROVE]),
        "review": int(counts.decisions[REVIEW]),
        "block": int(counts.decisions[BLOCK]),
        "sampled": counts.sampled,
        "matured": int(counts.mature.sum()),
        "labels": _label_counts(rows),
        "precision": _as_json(precision),
        "promised_precision": {
            name: None
            if (promise := promises.get(name)) is None
            else {"value": promise.precision, "rows": promise.rows}
            for name in LEVELS
        },
        "precision_change": _changes(counts, promises),
        "recall": _as_json({name: _recall(counts, level) for name, level in LEVELS.items()}),
        "average_precision": _average_precision(counts),
        "calibration": {LabelSource.MATURED.value: calibration_of(counts)},
        "money": _money(counts),
        "products": _products(counts, product_names),
    }


def _as_json(figures: Mapping[str, Mapping[LabelSource, Figure]]) -> dict[str, Any]:
    return {
        name: {source.value: figure.as_json() for source, figure in by_source.items()}
        for name, by_source in figures.items()
    }


def _label_counts(rows: LabelledRows) -> dict[str, Any]:
    """How many rows each kind of labels says something about."""
    is_mature, is_reviewed = rows.is_mature, rows.is_reviewed
    return {
        "labelled": len(rows.scores),
        LabelSource.MATURED.value: {
            "frauds": int((is_mature & rows.is_fraud).sum()),
            "reported": int((is_mature & rows.is_fraud & (rows.report >= 0)).sum()),
            "legitimate": int((is_mature & (rows.standing == LEGITIMATE)).sum()),
        },
        LabelSource.REVIEWED.value: _analysts(rows.take(is_reviewed & rows.is_flagged)),
        LabelSource.SAMPLED.value: _analysts(rows.take(is_reviewed & rows.is_sampled)),
        "unsure": int((rows.standing == UNSURE).sum()),
        "by_analysts": int((rows.analyst != NONE).sum()),
        "by_reports": int((rows.report != NONE).sum()),
    }


def _analysts(rows: LabelledRows) -> dict[str, int]:
    frauds = int((rows.analyst == 1).sum())
    return {"frauds": frauds, "legitimate": len(rows.scores) - frauds}


def _hits(counts: VersionCounts, level: int, source: LabelSource) -> tuple[int, int]:
    """Frauds and rows with at least this decision."""
    rows = counts.labelled
    reached = rows.decisions >= level
    if source is LabelSource.MATURED:
        hits = int((reached & rows.is_mature & rows.is_fraud).sum())
        return hits, int(counts.known[level:].sum())
    judged = rows.take(reached & rows.is_reviewed)
    return int((judged.analyst == 1).sum()), len(judged.scores)


def _precision(counts: VersionCounts, level: int) -> dict[LabelSource, Figure]:
    matured: Figure
    if has_reports(counts.labelled):
        matured = share(*_hits(counts, level, LabelSource.MATURED), NOTHING_FLAGGED)
    else:
        matured = unknown(NO_REPORTS if counts.mature.any() else NO_MATURE)
    reviewed = share(*_hits(counts, level, LabelSource.REVIEWED), NOTHING_REVIEWED)
    return {LabelSource.MATURED: matured, LabelSource.REVIEWED: reviewed}


def _changes(counts: VersionCounts, promises: Promises) -> dict[str, Any]:
    """Live precision minus the promised one. The interval is of the difference of both."""
    found: dict[str, Any] = {}
    for name, level in LEVELS.items():
        precision = _precision(counts, level)
        found[name] = {}
        for source, figure in precision.items():
            promise = promises.get(name)
            if promise is None or figure.value is None:
                why = "the metadata states no precision" if promise is None else figure.reason
                found[name][source.value] = Figure(None, reason=why).as_json()
                continue
            value, low, high = share_difference(
                _hits(counts, level, source), (promise.hits, promise.rows)
            )
            found[name][source.value] = Figure(value, low, high, figure.n).as_json()
    return found


def _recall(counts: VersionCounts, level: int) -> dict[LabelSource, Figure]:
    rows = counts.labelled
    if not counts.mature.any():
        matured = unknown(NO_MATURE)
    elif not has_reports(rows):
        matured = unknown(NO_REPORTS)
    else:
        frauds = mature_frauds(rows)
        matured = share(int((frauds.decisions >= level).sum()), len(frauds.scores), NO_FRAUD)
    return {
        LabelSource.MATURED: matured,
        LabelSource.REVIEWED: unknown(NOT_REVIEWED),
        LabelSource.SAMPLED: recall_of(counts, level),
    }


def _average_precision(counts: VersionCounts) -> dict[str, Any]:
    figure = average_precision_of(counts)
    found = figure.as_json()
    if figure.value is not None:
        found["bounds_of_bins"] = list(bounds_of_average_precision(counts))
    return {LabelSource.MATURED.value: found}


def _money(counts: VersionCounts) -> dict[str, Any]:
    """Amounts of known fraud. An unflagged score states none: it is read from the input."""
    frauds = counts.labelled.take(counts.labelled.is_fraud)
    caught, missed = (frauds.take(mask) for mask in (frauds.is_flagged, ~frauds.is_flagged))
    return {
        "caught": _amount(caught),
        "missed": _amount(missed),
        "missed_in_sample": {LabelSource.SAMPLED.value: missed_money(counts).as_json()},
    }


def _amount(rows: LabelledRows) -> dict[str, Any]:
    """The sum of the known amounts; its interval says how much another sample of frauds varies."""
    amounts: Floats = rows.amounts[is_amount(rows.amounts)]

    def total(times: Integers) -> float:
        return float((amounts * times).sum())

    interval = bootstrap(total, len(amounts), _SEED) if len(amounts) else None
    return {
        "value": float(amounts.sum()),
        "interval": None if interval is None else list(interval),
        "frauds": len(rows.scores),
        "frauds_of_unknown_amount": len(rows.scores) - len(amounts),
    }


def _products(counts: VersionCounts, names: list[str]) -> list[dict[str, Any]]:
    """Precision and recall by product, those with most flagged scores first.

    A score that is not flagged states no product. That of missed fraud is read from its input.
    """
    rows = counts.labelled
    numbers = {name: found.tolist() for name, found in counts.products.items()}
    for code in np.unique(rows.products[rows.is_fraud & (rows.products >= 0)]).tolist():
        numbers.setdefault(names[code], [0, 0, 0, 0])  # all of its fraud was missed
    recall = _product_recall(counts)
    found = []
    for name, (flagged, blocked, *judged) in sorted(
        numbers.items(), key=lambda item: (-item[1][0], item[0])
    ):
        code = names.index(name)
        own = rows.take((rows.products == code) & rows.is_flagged)
        precision = {
            level: _product_precision(own, LEVELS[level], known, has_reports(rows))
            for level, known in zip(("review", "block"), judged, strict=True)
        }
        found.append(
            {
                "product": name,
                "flagged": flagged,
                "blocked": blocked,
                "precision": _as_json(precision),
                "recall": _as_json({n: recall(code, level) for n, level in LEVELS.items()}),
                "caught": _amount(own.take(own.is_fraud)),
            }
        )
    return found


def _product_precision(
    own: LabelledRows, level: int, judged: int, is_reported: bool
) -> dict[LabelSource, Figure]:
    reached = own.take(own.decisions >= level)
    reviewed = reached.take(reached.is_reviewed)
    frauds = int((reached.is_mature & reached.is_fraud).sum())
    return {
        LabelSource.MATURED: share(frauds, judged, NOTHING_FLAGGED)
        if is_reported
        else unknown(NO_REPORTS),
        LabelSource.REVIEWED: share(
            int((reviewed.analyst == 1).sum()), len(reviewed.scores), NOTHING_REVIEWED
        ),
    }


def _product_recall(counts: VersionCounts) -> Callable[[int, int], dict[LabelSource, Figure]]:
    """The recall of a product at a level. What all products need is computed once.

    A fraud whose product is not known may be of any, so that no recall can be estimated then.
    """
    frauds, sample = mature_frauds(counts.labelled), sampled_rows(counts)
    whole = _recall(counts, REVIEW)[LabelSource.MATURED]
    missing = int((frauds.products == -1).sum())

    def recall(code: int, level: int) -> dict[LabelSource, Figure]:
        if whole.value is None:
            matured = whole
        elif missing:
            matured = unknown(
                f"the product of {missing:,} of {len(frauds.scores):,} frauds is not known"
            )
        else:
            own = frauds.decisions[frauds.products == code]
            matured = share(int((own >= level).sum()), len(own), NO_FRAUD_OF_IT)
        return {
            LabelSource.MATURED: matured,
            LabelSource.REVIEWED: unknown(NOT_REVIEWED),
            LabelSource.SAMPLED: recall_in(sample, level, code),
        }

    return recall


def all_figures(counts: QualityCounts, promises: Mapping[str, Promises]) -> list[dict[str, Any]]:
    """The figures of every version, the one that scored last first."""
    ordered = sorted(counts.versions.items(), key=lambda item: -item[1].last)
    return [
        figures_of(version, one, promises.get(version, {}), counts.product_names)
        for version, one in ordered
    ]
