"""Why a score is what it is: from the expected raw score, push by push, to the score.

``waterfall`` explains the record of a flagged transaction, ``build_waterfall`` a score whose
contributions were just computed. Both add up by construction: what the listed features do not
explain is the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from dashboard.explaining.population import percentile
from dashboard.explaining.raw_scores import raw_of, raw_range, score_of
from dashboard.explaining.sentences import sentence
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.scoring import Reason

BASE: Final = "base"
PUSH: Final = "push"
REST: Final = "rest"

_PADDING: Final = 0.04  # of the width of the plot, at both ends
_MAX_CONTRIBUTION: Final = 1e6  # in log-odds; a record of another writer may have anything
_MAX_TEXT_CHARS: Final = 160
_LEAST_SPAN: Final = 1e-6  # in log-odds; a model of one leaf moves nothing


@dataclass(frozen=True, slots=True)
class Step:
    """One bar of a waterfall.

    Attributes:
        kind: ``base``, ``push`` or ``rest``.
        feature: its name in the model; None for base and rest.
        text: what the bar is, in words.
        value: of the feature, as text; None if it is missing.
        contribution: to the raw score (log-odds); of the base, the base itself.
        raw: the raw score after this step.
        score: the score after this step.
        left: where the bar begins, in percent of the plot's width.
        width: of the bar, in percent.
        percentile: how the value compares, in words; None if not known.
        sentence: to be said aloud; empty for base and rest.
    """

    kind: str
    feature: str | None
    text: str
    value: str | None
    contribution: float
    raw: float
    score: float
    left: float
    width: float
    percentile: str | None = None
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The steps from the expected raw score to the score.

    Attributes:
        reason: why there are no steps; None if there are some.
        version: of the model that gave the score.
        score: 0 to 1.
        raw_score: log-odds; None if it cannot be computed from the score.
        steps: base, pushes, rest. The last step ends at the score.
        review_threshold: of the model.
        block_threshold: of the model.
        end: where the score is, in percent of the plot's width.
        review: where the review threshold is, in percent of the plot's width; None if outside.
        block: the same of the block threshold.
        is_calibrated: whether scores are estimated probabilities of fraud.
    """

    reason: str | None
    version: str
    score: float
    raw_score: float | None = None
    steps: tuple[Step, ...] = ()
    review_threshold: float | None = None
    block_threshold: float | None = None
    end: float | None = None
    review: float | None = None
    block: float | None = None
    is_calibrated: bool = False

    def as_json(self) -> dict[str, Any]:
        """The same for pages and programs."""
        return asdict(self)


def waterfall(flag: Mapping[str, Any], bundle: Bundle | None) -> Waterfall:
    """Explain a flagged score with the loaded model, if it is the one that gave the score.

    Args:
        flag: the JSON object of a flag: ``score``, ``model_version``, ``reasons`` are used.
        bundle: the loaded model; None if none is loaded.

    Returns:
        Without steps, and with a reason, if the score cannot be explained.
    """
    version, score = str(flag["model_version"]), float(flag["score"])
    if bundle is None:
        why = "No model is loaded here, so only the recorded reasons are known."
        return Waterfall(why, version, score)
    if bundle.version != version:
        why = (
            f"The score is from model {version}, and this dashboard has {bundle.version} loaded: "
            "only the recorded reasons are known."
        )
        return Waterfall(why, version, score)
    found = raw_range(score, bundle.calibration)
    if not found.is_known:
        return Waterfall(_describe_range(score, found.low, found.high), version, score)
    reasons = [
        Reason(str(r["feature"]), r["value"], float(r["contribution"])) for r in flag["reasons"]
    ]
    if not all(abs(reason.contribution) <= _MAX_CONTRIBUTION for reason in reasons):
        return Waterfall("The recorded contributions are not plausible numbers.", version, score)
    return build_waterfall(bundle, bundle.predictor.base, reasons, found.value, score)


def build_waterfall(
    bundle: Bundle, base: float, reasons: Sequence[Reason], raw: float, score: float
) -> Waterfall:
    """The waterfall of one score.

    Args:
        bundle: gave the score.
        base: the expected raw score of the method that gave ``reasons``.
        reasons: contributions of some features, in the order of the bars.
        raw: the raw score.
        score: of the transaction.
    """
    pushes = [reason.contribution for reason in reasons]
    rest = raw - base - math.fsum(pushes)
    ends = [math.fsum([base, *pushes[:i]]) for i in range(len(pushes) + 1)] + [raw]
    review, block = (
        raw_of(threshold, bundle.calibration)
        for threshold in (bundle.thresholds.review, bundle.thresholds.block)
    )
    axis = _Axis.around(ends, review)
    start = score_of(base, bundle.calibration)
    steps = [Step(BASE, None, "expected score", None, base, base, start, axis.at(base), 0.0)]
    for reason, start, end in zip(reasons, ends, ends[1:], strict=False):
        steps.append(_push(bundle, reason, start, end, axis))
    others = len(bundle.features.names) - len(reasons)
    left, width = axis.bar(ends[-2], raw)
    text = f"{others:,} other feature{'' if others == 1 else 's'}"
    steps.append(Step(REST, None, text, None, rest, raw, score, left, width))
    return Waterfall(
        None,
        bundle.version,
        score,
        raw,
        tuple(steps),
        review_threshold=bundle.thresholds.review,
        block_threshold=bundle.thresholds.block,
        end=axis.at(raw),
        review=axis.inside(review),
        block=axis.inside(block),
        is_calibrated=bundle.calibration is not None,
    )


def _push(bundle: Bundle, reason: Reason, start: float, end: float, axis: _Axis) -> Step:
    text = bundle.features.texts.get(reason.feature, reason.feature)[:_MAX_TEXT_CHARS]
    compared = percentile(bundle, reason.feature, reason.value)
    left, width = axis.bar(start, end)
    return Step(
        PUSH,
        reason.feature,
        text,
        reason.value,
        reason.contribution,
        end,
        score_of(end, bundle.calibration),
        left,
        width,
        compared,
        sentence(text, reason.value, compared),
    )


def _describe_range(score: float, low: float, high: float) -> str:
    if not 0.0 <= score <= 1.0:
        return f"The score is {score!r}, which no model gives."
    if math.isinf(low) or math.isinf(high):
        end = f"at most {high:.1f}" if math.isinf(low) else f"at least {low:.1f}"
        return (
            f"The score is {score!r}: its raw score is {end} log-odds, and the score does not say "
            "where. Only the recorded reasons are known."
        )
    return (
        f"The raw score is between {low:.3f} and {high:.3f} log-odds, and the score does not say "
        "where. Only the recorded reasons are known."
    )


@dataclass(frozen=True, slots=True)
class _Axis:
    """From raw scores to percent of the plot's width."""

    low: float
    span: float

    @classmethod
    def around(cls, ends: Sequence[float], review: float | None) -> _Axis:
        shown = [*ends, review] if review is not None else list(ends)
        low, high = min(shown), max(shown)
        span = max(high - low, _LEAST_SPAN)
        return cls(low - _PADDING * span, span * (1 + 2 * _PADDING))

    def at(self, raw: float) -> float:
        return round(100 * (raw - self.low) / self.span, 2)

    def bar(self, start: float, end: float) -> tuple[float, float]:
        left = self.at(min(start, end))
        return left, round(self.at(max(start, end)) - left, 2)

    def inside(self, raw: float | None) -> float | None:
        place = None if raw is None else self.at(raw)
        return place if place is not None and 0 <= place <= 100 else None


__all__ = ["Step", "Waterfall", "build_waterfall", "percentile", "sentence", "waterfall"]
