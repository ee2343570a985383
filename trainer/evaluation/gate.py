"""Whether a candidate may take over: reasons, not only a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.fitting.plan import GatePlan


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """``refusals`` is empty when the candidate passes; ``notes`` are worth a reader's time."""

    refusals: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def has_passed(self) -> bool:
        """No rule was broken."""
        return not self.refusals


def judge_candidate(
    candidate: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    plan: GatePlan,
    champion_version: str | None = None,
) -> GateVerdict:
    """Compare a candidate's test measures with chance and with the champion's on the same rows.

    ``champion`` is None where there is none or it could not be loaded.
    """
    refusals = _against_chance(candidate, plan)
    if champion is None:
        absent = "there is no champion to compare with"
        if champion_version is not None:
            absent = f"{champion_version} cannot be loaded by this code, so nothing was compared"
        return GateVerdict(tuple(refusals), (absent,))
    pairs = (
        ("average precision", candidate["average_precision"], champion["average_precision"]),
        ("recall in the top 2 %", _recall(candidate), _recall(champion)),
    )
    notes = []
    for name, ours, theirs in pairs:
        notes.append(f"{name} {ours:.4f}, {champion_version} has {theirs:.4f}")
        if not ours >= theirs - plan.tolerance:
            refusals.append(
                f"{name} {ours:.4f} is worse than {champion_version}'s {theirs:.4f} by more than "
                f"{plan.tolerance:g} on the same test rows"
            )
    return GateVerdict(tuple(refusals), tuple(notes))


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
    # Near a fraud rate of one half, twice chance would be out of reach for any model.
    least = min(least, (1 + candidate["fraud_rate"]) / 2)
    if candidate["average_precision"] < least:
        refusals.append(
            f"average precision {candidate['average_precision']:.4f} is below {least:.4f}, "
            f"{plan.times_chance:g} times what chance gives"
        )
    if candidate["roc_auc"] < plan.min_roc_auc:
        refusals.append(f"ROC AUC {candidate['roc_auc']:.4f} is below {plan.min_roc_auc:g}")
    low = candidate["roc_auc_interval"][0]
    if not low > 0.5:  # on few frauds noise can look good; the end of its interval does not
        refusals.append(f"ROC AUC may be luck: its 95 % interval begins at {low:.4f}")
    return refusals
