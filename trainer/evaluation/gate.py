"""Decides whether a candidate may be promoted, and gives the reasons.

The rules, in this order:

1. The test rows hold at least ``min_frauds`` frauds; with fewer, no other rule is applied.
2. The candidate is better than chance, by a factor and by the lower end of an interval.
3. It flags at least one test row: a model that flags nothing protects nothing.
4. It is not worse than the champion on the same rows, in average precision and in recall at the
   review budget:

   * worse beyond chance (the whole interval is below zero): refused;
   * worse by more than ``tolerance``, though perhaps by chance: refused;
   * worse at all, on so few frauds that the interval reaches below ``-margin``: refused. A small
     test must not pass a model only because its interval is wide.

   So a candidate passes that looks at least as good, or that is slightly worse on rows that would
   have shown a large loss. A refusal of the last two kinds says "cannot tell".
5. It is at most ``max_slowdown`` times as slow as the champion, or slower by less than
   ``noticeable_us`` a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.quality.comparison import Comparison, Difference
from trainer.evaluation.latency import Latency
from trainer.fitting.plan import GatePlan

_SHOWN_COLUMNS: Final = 5


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The gate's result: ``refusals`` is empty if the candidate passes; ``notes`` inform people."""

    refusals: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def has_passed(self) -> bool:
        """Whether no rule was violated."""
        return not self.refusals


def judge_candidate(
    measures: Mapping[str, Any],
    comparison: Comparison | None,
    plan: GatePlan,
    champion_version: str | None = None,
    notes: Sequence[str] = (),
    latency: Latency | None = None,
    lost_columns: Sequence[str] = (),
) -> GateVerdict:
    """Judge a candidate by its measures on the test rows, and against the champion.

    Args:
        measures: the measures of the candidate on the test rows.
        comparison: None if there is no champion, or none that can be compared with.
        plan: the limits.
        champion_version: the version to beat; None if there is no champion.
        notes: what else people should know, such as why there is no comparison.
        latency: the candidate's speed beside the champion's.
        lost_columns: columns that the champion's training rows had and these rows lack.
    """
    lost = list(_loses_columns(lost_columns, champion_version))
    if measures["frauds"] < plan.min_frauds:
        refusal = f"too few frauds to judge ({measures['frauds']} of {plan.min_frauds})"
        return GateVerdict((refusal, *lost), tuple(notes))
    refusals = [*lost, *_against_chance(measures, plan), *_flags_nothing(measures)]
    told = [
        f"{name} {measures[key]:.4f} {_interval(measures[f'{key}_interval'], '.4f')}"
        for name, key in (("average precision", "average_precision"), ("ROC AUC", "roc_auc"))
    ]
    if champion_version is None:
        told.append("there is no champion to compare with")
    elif comparison is None and not notes:
        told.append(f"not compared with {champion_version}: this code cannot load it")
    if comparison is not None:
        for name, found in _differences(comparison):
            told.append(_described(name, found, champion_version))
            refusals += _against_champion(name, found, comparison, plan, champion_version)
    if latency is not None:
        told.append(_speed(latency, champion_version))
        refusals += _too_slow(latency, plan, champion_version)
    return GateVerdict(tuple(refusals), (*told, *notes))


def _against_chance(candidate: Mapping[str, Any], plan: GatePlan) -> list[str]:
    refusals = [
        f"{name} is not a finite number"
        for name in ("average_precision", "roc_auc", "log_loss")
        if not math.isfinite(candidate[name])
    ]
    if refusals:
        return refusals
    least = plan.times_chance * candidate["fraud_rate"]
    # At a fraud rate near one half, no model could reach twice chance.
    least = min(least, (1 + candidate["fraud_rate"]) / 2)
    if candidate["average_precision"] < least:
        refusals.append(
            f"average precision {candidate['average_precision']:.4f} is below {least:.4f}, "
            f"{plan.times_chance:g} times chance"
        )
    if candidate["roc_auc"] < plan.min_roc_auc:
        refusals.append(f"ROC AUC {candidate['roc_auc']:.4f} is below {plan.min_roc_auc:g}")
    interval = candidate["roc_auc_interval"]
    if interval is None:
        refusals.append("ROC AUC has no interval: too few legitimate rows")
    elif not interval[0] > 0.5:  # with few frauds, noise can look good; the lower end does not
        refusals.append(
            f"ROC AUC may be no better than chance: its 95 % interval starts at {interval[0]:.4f}"
        )
    return refusals


def _flags_nothing(candidate: Mapping[str, Any]) -> Iterator[str]:
    if candidate["review"]["rows"] == 0:
        yield "its thresholds flag none of the test rows"


def _loses_columns(columns: Sequence[str], champion_version: str | None) -> Iterator[str]:
    """Rows without some columns train a poorer model, and its comparison on them cannot show it."""
    if columns:
        shown = ", ".join(columns[:_SHOWN_COLUMNS])
        more = ", …" if len(columns) > _SHOWN_COLUMNS else ""
        yield (
            f"these rows lack {len(columns)} columns that {champion_version} learned from: "
            f"{shown}{more}. Is --identity missing?"
        )


def _differences(comparison: Comparison) -> tuple[tuple[str, Difference], ...]:
    return (
        ("average precision", comparison.average_precision),
        (f"recall in the top {comparison.budget * 100:.3g} %", comparison.recall_at_budget),
    )


def _against_champion(
    name: str,
    found: Difference,
    comparison: Comparison,
    plan: GatePlan,
    champion_version: str | None,
) -> Iterator[str]:
    against = f"{name} {found.candidate:.4f} against {champion_version}'s {found.champion:.4f}"
    frauds = f"on the same {comparison.rows:,} rows with {comparison.frauds:,} frauds"
    interval = f"the difference is {found.difference:+.4f} {_interval(found.interval, '+.4f')}"
    if found.interval is not None and found.interval[1] < 0:
        yield f"{against} is worse beyond chance {frauds}: {interval}"
    elif found.difference < -plan.tolerance:
        yield (
            f"{against} is worse by more than {plan.tolerance:g} {frauds}; cannot tell "
            f"whether only by chance: {interval}"
        )
    elif found.difference < 0:
        lowest = -math.inf if found.interval is None else found.interval[0]
        if lowest < -plan.margin:
            yield (
                f"cannot tell whether {against} is worse by more than {plan.margin:g} {frauds}: "
                f"{interval}; use more test rows"
            )


def _described(name: str, found: Difference, champion_version: str | None) -> str:
    return (
        f"{name} {found.candidate:.4f}, {champion_version} has {found.champion:.4f}: difference "
        f"{found.difference:+.4f} {_interval(found.interval, '+.4f')}"
    )


def _interval(
    interval: Sequence[float] | None, digits: str, otherwise: str = "too few frauds for an interval"
) -> str:
    if interval is None:
        return f"({otherwise})"
    return f"(95 %: {interval[0]:{digits}} to {interval[1]:{digits}})"


def _speed(latency: Latency, champion_version: str | None) -> str:
    ours = f"scores a row in {latency.candidate_us:.1f} µs"
    if latency.candidate_history_us:
        ours += f" (and computes its card history in {latency.candidate_history_us:.1f} µs)"
    if latency.champion_us is None:
        return ours
    return f"{ours}, {champion_version} in {latency.champion_us:.1f} µs"


def _too_slow(latency: Latency, plan: GatePlan, champion_version: str | None) -> Iterator[str]:
    if latency.slowdown is None or latency.champion_us is None:
        return
    more_us = latency.candidate_us - latency.champion_us
    if latency.slowdown > plan.max_slowdown and more_us >= plan.noticeable_us:
        yield (
            f"it takes {latency.candidate_us:.1f} µs to score a row, {latency.slowdown:.2f} times "
            f"as long as {champion_version} ({latency.champion_us:.1f} µs); --max-slowdown is "
            f"{plan.max_slowdown:g}"
        )
