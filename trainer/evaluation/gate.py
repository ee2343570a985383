"""Decides whether a candidate may be promoted, and gives the reasons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.fitting.plan import GatePlan


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
    candidate: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    plan: GatePlan,
    champion_version: str | None = None,
    notes: Sequence[str] = (),
    same_rows: Mapping[str, Any] | None = None,
) -> GateVerdict:
    """Compare a candidate's test measures with chance, and with the champion's on the same rows.

    ``champion`` is None if there is no champion, or none to compare with; ``notes`` says why.
    ``same_rows`` are the candidate's measures on the champion's rows, if these are not all of them.
    """
    refusals = _against_chance(candidate, plan)
    if champion is None:
        absent = ["there is no champion to compare with"]
        if champion_version is not None:
            absent = [f"not compared with {champion_version}: this code cannot load it"]
        return GateVerdict(tuple(refusals), tuple(notes or absent))
    same = candidate if same_rows is None else same_rows
    pairs = (
        ("average precision", same["average_precision"], champion["average_precision"]),
        ("recall in the top 2 %", _recall(same), _recall(champion)),
    )
    told = []
    for name, ours, theirs in pairs:
        told.append(f"{name} {ours:.4f}, {champion_version} has {theirs:.4f}")
        if not ours >= theirs - plan.tolerance:
            refusals.append(
                f"{name} {ours:.4f} is worse than {champion_version}'s {theirs:.4f} by more than "
                f"{plan.tolerance:g} on the same test rows"
            )
    return GateVerdict(tuple(refusals), (*told, *notes))


def _recall(measures: Mapping[str, Any]) -> float:
    return float(measures["top"]["0.02"]["recall"])


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
    low = candidate["roc_auc_interval"][0]
    if not low > 0.5:  # with few frauds, noise can look good; its interval's lower end does not
        refusals.append(
            f"ROC AUC may be no better than chance: its 95 % interval starts at {low:.4f}"
        )
    return refusals
