"""Writes the tests of the drift alerts: series counted from drawn data, by the scorer's own code.

``python -m tests.k8s.support.drift_alerts`` regenerates ``tests/k8s/alerts/drift.yml``. Eight days
begin on a Thursday. Amounts are larger by day, and on weekends there are more large ones and fewer
accounts of long standing, so the day's PSI of a weekend is above its limit. Rules are evaluated at
full hours, which is when the sums of days change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from stream_scorer.drift.features import FeatureReferences, read_feature_references
from stream_scorer.drift.reference import Reference, read_reference
from tests.k8s.support.rendering import ROOT
from trainer.evaluation.reference import TAILS, histogram

PATH: Final = ROOT / "tests/k8s/alerts/drift.yml"
HEAD: Final = (
    "# Unit tests for promtool test rules. Generated from drawn data by:\n"
    "# python -m tests.k8s.support.drift_alerts\n"
)
DAYS: Final = 8
BLOCK_HOURS: Final = 4  # rows are drawn, and counted, for four hours at once
STEP_MINUTES: Final = 20  # between two samples of a series
STEPS: Final = BLOCK_HOURS * 60 // STEP_MINUTES
BLOCKS: Final = DAYS * 24 // BLOCK_HOURS
FEATURES: Final = ("TransactionAmt", "D1")
ROWS: Final = 600  # counted in a block: 3,600 a day
FIRING: Final = 'count by (alertname) (ALERTS{alertstate="firing"})'

Floats = NDArray[np.float64]


class Rows(NamedTuple):
    """The rows of a block: features ``[n, 2]``, scores ``[n]``."""

    features: Floats
    scores: Floats


Draw = Callable[[np.random.Generator, int, int], Rows]
"""Generator, block and number of rows → the rows."""


def usual(rng: np.random.Generator, block: int, n: int) -> Rows:
    """Rows of a normal week."""
    hour, day = block * BLOCK_HOURS % 24, block * BLOCK_HOURS // 24
    is_weekend = day % 7 in (2, 3)
    level = 4.0 + 0.3 * (8 <= hour < 20) + 0.8 * is_weekend
    amount = rng.lognormal(level, 0.8, n).round(2)
    age = np.where(rng.random(n) < 0.2, np.nan, rng.exponential(60, n).round())
    scores = rng.beta(0.8 + 0.5 * is_weekend, 20, n)
    return Rows(np.column_stack([amount, age]), scores)


def drifted(rng: np.random.Generator, block: int, n: int) -> Rows:
    """From the fifth day on, amounts are in another currency, and half of the ages are missing."""
    rows = usual(rng, block, n)
    if block * BLOCK_HOURS < 96:
        return rows
    amount, age = rows.features.T
    age = np.where(rng.random(n) < 0.5, np.nan, age)
    return Rows(np.column_stack([amount * 5, age]), 1 - (1 - rows.scores) ** 4)


def reference() -> Mapping[str, Any]:
    """The metadata of a version that was tested on two normal weeks."""
    rng = np.random.default_rng(7)
    days = [usual(rng, block, 400) for block in range(14 * 24 // BLOCK_HOURS)]
    features = np.concatenate([rows.features for rows in days])
    found = {name: histogram(features[:, column], TAILS) for column, name in enumerate(FEATURES)}
    scores = histogram(np.concatenate([rows.scores for rows in days]))
    return {"reference": {"scores": scores, "features": found}}


class _Counted:
    """The bins of every block, by the code of the scorer."""

    def __init__(self, draw: Draw, rows: int) -> None:
        metadata = reference()
        self.features: FeatureReferences = read_feature_references("v1", metadata, FEATURES)
        self.scores: Reference = read_reference(metadata)
        rng = np.random.default_rng(8)
        blocks = [draw(rng, block, rows) for block in range(BLOCKS)]
        by_block = [self.features.count(one.features) for one in blocks]
        self.by_feature = [np.array(counts) for counts in zip(*by_block, strict=True)]
        self.by_score = np.array([self.scores.count(one.scores) for one in blocks])
        self.rows = np.full((BLOCKS, 1), rows)


def _values(counts: NDArray[np.int64]) -> str:
    """A counter that rises evenly within each block, in promtool's notation."""
    parts, start = [], 0.0
    for count in counts.tolist():
        step = round(count / STEPS, 4)
        parts.append(f"{start:g}+{step:g}x{STEPS - 1}" if count else f"{start:g}x{STEPS - 1}")
        start = round(start + step * STEPS, 3)
    return " ".join(parts)


def _series(name: str, values: str, **labels: str) -> dict[str, str]:
    known = {"namespace": "n", "pod": "p", "version": "v1", **labels}
    text = ",".join(f'{key}="{value}"' for key, value in known.items())
    return {"series": f"{name}{{{text}}}", "values": values}


def _feature_series(counted: _Counted) -> list[dict[str, str]]:
    constant = f"x{BLOCKS * STEPS - 1}"
    found = [_series("fraud_scorer_drift_rows_total", _values(counted.rows[:, 0]))]
    for one, counts in zip(counted.features.features, counted.by_feature, strict=True):
        bins = [*map(str, range(counts.shape[1] - 1)), "missing"]
        for label, column, share in zip(bins, counts.T, one.shares.tolist(), strict=True):
            where = {"feature": one.name, "bin": label}
            found.append(_series("fraud_scorer_drift_bin_total", _values(column), **where))
            text = f"{share:.6g}{constant}"
            found.append(_series("fraud_scorer_drift_reference_share", text, **where))
    return found


def _score_series(counted: _Counted, pods: int = 1) -> list[dict[str, str]]:
    constant = f"x{BLOCKS * STEPS - 1}"
    found = []
    for number, column in enumerate(counted.by_score.T):
        share = f"{counted.scores.shares[number]:.6g}{constant}"
        for pod in range(pods):
            where = {"bin": str(number), "pod": f"p{pod}"}
            found.append(_series("fraud_scorer_score_bin_total", _values(column), **where))
            found.append(_series("fraud_scorer_score_bin_expected", share, **where))
    return found


def _expect(expr: str, hours: float, samples: Mapping[str, float]) -> dict[str, Any]:
    found = [{"labels": labels, "value": value} for labels, value in samples.items()]
    return {"expr": expr, "eval_time": f"{int(hours * 60)}m", "exp_samples": found}


def _case(name: str, series: list[dict[str, str]], *expected: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "interval": f"{STEP_MINUTES}m",
        "input_series": series,
        "promql_expr_test": list(expected),
    }


def cases() -> list[dict[str, Any]]:
    """The tests; drift begins after 96 hours, the weekend is from hour 48 to 96."""
    normal, moved = _Counted(usual, ROWS), _Counted(drifted, ROWS)
    few, busy = _Counted(drifted, 60), _Counted(drifted, 2 * ROWS)
    calm = _Counted(usual, 2 * ROWS)
    feature = {'{alertname="FraudFeatureDrift"}': 1.0}
    scores = {'{alertname="FraudScoreDrift"}': 1.0}
    weekend = "count(fraud_scorer:drift_psi:1d > 0.25)"
    return [
        _case(
            "FraudFeatureDrift fires a day after amounts and missing values changed",
            _feature_series(moved),
            _expect(FIRING, 95, {}),
            _expect(FIRING, 98, {}),
            _expect(FIRING, 122, feature),
            _expect("count by (version) (fraud_scorer:drift_psi:1d > 0.25)", 144,
                    {'{version="v1"}': 2.0}),
            _expect('fraud_scorer:drift_missing:change1d{feature="D1"} > bool 0.35', 144,
                    {'{feature="D1",namespace="n",version="v1"}': 1.0}),
            _expect(FIRING, 190, feature),
        ),
        _case(
            "FraudFeatureDrift is quiet on a weekend that is unlike the other days",
            _feature_series(normal),
            _expect(weekend, 80, {"{}": 1.0}),
            *(_expect(FIRING, hours, {}) for hours in (30, 70, 80, 96, 100, 120, 190)),
        ),
        _case(
            "FraudFeatureDrift is quiet on a few hundred rows",
            _feature_series(few),
            _expect(weekend, 144, {"{}": 2.0}),
            *(_expect(FIRING, hours, {}) for hours in (122, 190)),
        ),
        _case(
            "FraudScoreDrift fires a day after scores moved up, in the sum of two pods",
            _score_series(busy, 2),
            _expect(FIRING, 95, {}),
            _expect(FIRING, 132, scores),
            _expect(FIRING, 190, scores),
        ),
        _case(
            "FraudScoreDrift is quiet on a weekend with other scores, in the sum of two pods",
            _score_series(calm, 2),
            *(_expect(FIRING, hours, {}) for hours in (30, 70, 80, 96, 100, 120, 190)),
        ),
        _case(
            "FraudScoreDrift is quiet on a few thousand scores",
            _score_series(moved),
            *(_expect(FIRING, hours, {}) for hours in (122, 190)),
        ),
    ]  # fmt: skip


def render_cases() -> str:
    """The text of the file."""
    found = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1h",
        "group_eval_order": ["fraud-drift-hours", "fraud-drift-windows", "fraud-drift-alerts"],
        "tests": cases(),
    }
    return HEAD + yaml.safe_dump(found, sort_keys=False, width=100)


if __name__ == "__main__":
    PATH.write_text(render_cases(), encoding="utf-8")
