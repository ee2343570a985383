"""Measures by slice: product, amount band, month and e-mail provider."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.contracts import AMOUNT, NUMBER_INDEX, TEXT_INDEX
from stream_scorer.quality.estimates import CONFIDENCE
from trainer.data.ingest import Part
from trainer.evaluation.measures import Ranking, above, average_precision, rank

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

LEAST_FRAUDS: Final = 20
"""With fewer frauds, the interval of an average precision says nothing."""

MOST_SLICES: Final = 8
"""Of one dimension; the smaller ones together are "other"."""

RESAMPLES: Final = 100

PERIOD_DAYS: Final = 30
"""``TransactionDT`` has no calendar: a month is 30 days from the data set's origin."""

AMOUNT_QUANTILES: Final = (0.2, 0.4, 0.6, 0.8, 0.95)

MISSING: Final = "(missing)"
OTHER: Final = "(other)"

_DAY_SECONDS: Final = 86_400
_NAME_CHARS: Final = 40
_STEPS: Final = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.5, 10.0)


def slice_facts(part: Part, scores: Floats, review: float, seed: int) -> dict[str, Any]:
    """The measures of every slice of the evaluated rows, at the review threshold ``review``.

    A slice with fewer than ``LEAST_FRAUDS`` frauds gets no average precision.
    """
    return {
        "review_threshold": review,
        "least_frauds": LEAST_FRAUDS,
        "dimensions": [
            {"title": title, "slices": list(_measured(part, scores, review, names, codes, seed))}
            for title, names, codes in _dimensions(part.batch)
        ],
    }


def _dimensions(batch: TransactionBatch) -> Iterator[tuple[str, list[str], Codes]]:
    """Title, the names of the slices in their order, and the slice of each row."""
    yield "Product (ProductCD)", *_most_frequent(_texts(batch, "ProductCD"))
    yield "Amount (TransactionAmt)", *amount_bands(batch.numbers[:, NUMBER_INDEX[AMOUNT]])
    yield "Month (30 days of TransactionDT)", *_months(batch.times)
    providers = [_provider(text) for text in _texts(batch, "P_emaildomain")]
    yield "E-mail provider of the purchaser (P_emaildomain)", *_most_frequent(providers)


def _measured(
    part: Part, scores: Floats, review: float, names: list[str], codes: Codes, seed: int
) -> Iterator[dict[str, Any]]:
    for code, name in enumerate(names):
        rows = codes == code
        n, frauds = int(rows.sum()), int(part.labels[rows].sum())
        if not n:
            continue
        ranking = rank(scores[rows], part.labels[rows])
        at = above(ranking, review)
        found: dict[str, Any] = {
            "name": name[:_NAME_CHARS],
            "rows": n,
            "frauds": frauds,
            "flagged": at["rows"],
            "precision": at["precision"],
            "precision_interval": at["precision_interval"],
            "recall": at["recall"],
            "recall_interval": at["recall_interval"],
            "average_precision": None,
            "average_precision_interval": None,
        }
        if frauds >= LEAST_FRAUDS:
            found["average_precision"] = average_precision(ranking)
            found["average_precision_interval"] = _interval(ranking, seed)
        yield found


def _interval(ranking: Ranking, seed: int) -> tuple[float, float]:
    """A 95 % interval of the average precision, from a Poisson bootstrap over rows."""
    rng = np.random.default_rng(seed)
    drawn = [
        average_precision(ranking, rng.poisson(1.0, len(ranking.labels)).astype(float))
        for _ in range(RESAMPLES)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def amount_bands(amounts: Floats) -> tuple[list[str], Codes]:
    """Bands between round numbers near the quantiles of the amounts."""
    edges = sorted({_round_number(q) for q in np.quantile(amounts, AMOUNT_QUANTILES)})
    names = [f"below {edges[0]:g}"]
    names += [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return [*names, f"{edges[-1]:g} and more"], np.searchsorted(edges, amounts, side="right")


def _round_number(value: float) -> float:
    if not value > 0:
        return 0.0
    scale = 10.0 ** np.floor(np.log10(value))
    return float(min(_STEPS, key=lambda step: abs(step - value / scale)) * scale)


def _months(times: NDArray[np.int64]) -> tuple[list[str], Codes]:
    period = times // (PERIOD_DAYS * _DAY_SECONDS)
    present, codes = np.unique(period, return_inverse=True)
    names = [f"days {p * PERIOD_DAYS} to {(p + 1) * PERIOD_DAYS - 1}" for p in present.tolist()]
    if len(names) > MOST_SLICES:  # the newest ones by themselves
        older = len(names) - MOST_SLICES
        codes = np.maximum(codes - older, 0)
        names = [f"before day {present[older + 1] * PERIOD_DAYS}", *names[older + 1 :]]
    return names, codes


def _texts(batch: TransactionBatch, column: str) -> list[str | None]:
    at, text = TEXT_INDEX[column], memoryview(np.ascontiguousarray(batch.text).data)
    cells = zip(batch.starts[:, at].tolist(), batch.lengths[:, at].tolist(), strict=True)
    known: dict[bytes, str] = {}
    out: list[str | None] = []
    for start, length in cells:
        if length < 0:
            out.append(None)
            continue
        raw = bytes(text[start : start + length])
        out.append(known.setdefault(raw, raw.decode("utf-8")))
    return out


def _provider(domain: str | None) -> str | None:
    """``yahoo`` of ``yahoo.co.uk``."""
    return None if domain is None else domain.partition(".")[0].lower()


def _most_frequent(values: list[str | None]) -> tuple[list[str], Codes]:
    """The most frequent values, then "other" and "missing" where there are any."""
    kinds, codes = np.unique([MISSING if v is None else v for v in values], return_inverse=True)
    seen = np.bincount(codes, minlength=len(kinds))
    order = [i for i in np.argsort(-seen, kind="stable").tolist() if kinds[i] != MISSING]
    names = [str(kinds[i]) for i in order[:MOST_SLICES]]
    position = np.full(len(kinds), len(names))
    position[order[:MOST_SLICES]] = np.arange(len(names))
    position[kinds == MISSING] = len(names) + 1
    return [*names, OTHER, MISSING], position[codes]
