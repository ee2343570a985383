"""A comparison from its pairs to its result."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from stream_scorer.errors import UsageError
from stream_scorer.quality.comparison import Comparison, compare
from stream_scorer.quality.rows import LabelTable
from stream_scorer.quality.sources import LabelSource
from stream_scorer.shadow.compare.collect import MAX_KEPT, Collected, Collector, Labelled
from stream_scorer.shadow.compare.pairs import Pairs
from stream_scorer.shadow.compare.verdict import MARGIN, Judgement, as_json, judge, next_step
from stream_scorer.shadow.figures import DECISIONS, EDGES, Figures

FORMAT: Final = 1
DAY_MS: Final = 86_400_000
RESAMPLES: Final = 400

_SEED: Final = 20_260_103
_USUAL_BUDGET: Final = 0.02
_BUDGETS: Final = (0.001, 0.5)
_NO_REPORTS: Final = "no fraud was reported among transactions that are old enough"
_TOO_YOUNG: Final = (
    "no score can be old enough: --since must reach further back than --maturity-days"
)
_NO_SAMPLE: Final = "no transaction of the random lane has a label"
_ONE_CLASS: Final = "all labels say the same"


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """What to compare.

    Attributes:
        champion: its version.
        challenger: its version.
        since: scores from this time on, epoch milliseconds.
        now: epoch milliseconds.
        maturity_days: a score this old would have been reported if it were fraud.
        max_kept: labelled pairs that are kept at most.
    """

    champion: str
    challenger: str
    since: int
    now: int
    maturity_days: float = 14.0
    max_kept: int = MAX_KEPT


@dataclass(frozen=True, slots=True)
class Compared:
    """The result, and the judgement in it."""

    judgement: Judgement
    result: dict[str, Any]


def run_comparison(
    options: CompareOptions,
    pairs: Iterable[Pairs],
    topic: str,
    labels: LabelTable | None,
    *,
    is_replay: bool = False,
) -> Compared:
    """Compare two versions on the pairs.

    Args:
        options: what to compare.
        pairs: both versions' scores of the same inputs.
        topic: the input topic.
        labels: of all transactions; None: compare decisions and scores alone. Those decided later
            than now are left out and counted.
        is_replay: the pairs have no time; all of them are taken to be mature.

    Raises:
        UsageError: there is no pair.
    """
    begun = time.monotonic()
    maturity = round(options.maturity_days * DAY_MS)
    mature_until = options.now + 1 if is_replay else options.now - maturity
    labels, refused = _usable(labels, options.now)
    collector = Collector(topic, labels, mature_until, options.max_kept)
    for part in pairs:
        collector.add(part)
    found = collector.found
    if not found.figures.rows:
        raise UsageError(
            f"no transaction has a score of both {options.champion} and {options.challenger}: "
            "check --since, that the scorers run with this challenger (fraud-trainer models list), "
            "and SHADOW_TOPIC"
        )
    rows = {
        LabelSource.MATURED: collector.matured()
        or (_TOO_YOUNG if mature_until <= options.since else _NO_REPORTS),
        LabelSource.SAMPLED: collector.sampled() or _NO_SAMPLE,
    }
    budget = _budget(found.figures)
    compared = {source: _compare(one, budget) for source, one in rows.items()}
    counts = {s: 0 if isinstance(one, str) else len(one.labels) for s, one in rows.items()}
    judgement = judge(compared, counts)
    result = {
        **_scope(options),
        **as_json(judgement),
        "next": next_step(judgement, options.champion, options.challenger),
        **_counted(found),
        "labels": {str(source): _facts(compared[source], counts[source]) for source in compared},
        "refused": refused,
        "seconds": round(time.monotonic() - begun, 3),
    }
    return Compared(judgement, result)


def _usable(labels: LabelTable | None, now: int) -> tuple[LabelTable | None, dict[str, int]]:
    """Labels without those from the future, and how many are no labels or left out."""
    if labels is None:
        return None, {}
    is_future = labels.decided_at > now
    found = {
        "labels_from_the_future": int(is_future.sum()),
        "bad_label_records": labels.bad_records,
    }
    return labels.take(~is_future), {name: n for name, n in found.items() if n}


def _scope(options: CompareOptions) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "champion": options.champion,
        "challenger": options.challenger,
        "since": options.since,
        "computed_at": options.now,
        "maturity_days": options.maturity_days,
        "margin": MARGIN,
    }


def _counted(found: Collected) -> dict[str, Any]:
    figures = found.figures
    return {
        "rows": figures.rows,
        "agreement": figures.agreement,
        "psi": figures.stability_index,
        "decisions": _decisions(figures, found.money, found.known_amounts),
        "scores": {
            "edges": list(EDGES),
            "champion": figures.champion.tolist(),
            "challenger": figures.challenger.tolist(),
        },
    }


def _budget(figures: Figures) -> float:
    """The share of transactions that the champion sends to people or blocks."""
    flagged = float(figures.moves[1:].sum()) / figures.rows
    return min(max(flagged, _BUDGETS[0]), _BUDGETS[1]) if flagged else _USUAL_BUDGET


def _compare(rows: Labelled | str, budget: float) -> Comparison | str:
    if isinstance(rows, str):
        return rows
    if len(np.unique(rows.labels)) < 2:
        return _ONE_CLASS
    is_plain = bool((rows.weights == 1).all())
    return compare(
        rows.labels, rows.cards, rows.challenger, rows.champion, budget, _SEED, RESAMPLES,
        None if is_plain else rows.weights,
    )  # fmt: skip


def _facts(compared: Comparison | str, labels: int) -> Mapping[str, Any]:
    if isinstance(compared, str):
        return {"labels": labels, "why_not": compared}
    return {"labels": labels, **compared.facts()}


def _decisions(figures: Figures, money: Any, known: Any) -> list[dict[str, Any]]:
    """The nine cells, row by row; the amount is None where no score of the cell states one."""
    return [
        {
            "champion": DECISIONS[i],
            "challenger": DECISIONS[j],
            "rows": int(figures.moves[i, j]),
            "amount": float(money[i, j]) if known[i, j] else None,
            "rows_with_amount": int(known[i, j]),
        }
        for i in range(3)
        for j in range(3)
    ]
