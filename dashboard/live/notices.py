"""What the banners say without a clock: progress of a rebuild, scorers that disagree, the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from dashboard.feed.board import Board, Progress
from dashboard.feed.mixture import Mixed, Scoring

_MINUTE: int = 60
_HOUR: int = 3600


class Notice(NamedTuple):
    """A banner. ``kind`` is its style: red, amber or info."""

    kind: str
    title: str
    text: str


def describe_notices(board: Board, model: Mapping[str, Any]) -> list[dict[str, str]]:
    """The banners as JSON. ``model`` is what :func:`describe_model` says."""
    found = [] if (mixed := board.mixed) is None else [describe_mixed(mixed)]
    if model["rejected"]:
        found.append(describe_rejected(**model["rejected"]))
    if model["override"]:
        found.append(describe_override(**model["override"]))
    return [notice._asdict() for notice in found]


def describe_rejected(rejected: str, serving: str | None, reason: str) -> Notice:
    """The banner about a promoted version that the scorers rejected."""
    instead = f"{serving} is serving instead" if serving else "No model is serving"
    return Notice("red", f"Model {rejected} rejected", f": {reason}. {instead}.")


def describe_override(
    version: str, refusals: Sequence[str], by: str | None, reason: str, at: str
) -> Notice:
    """The banner about a model that was promoted by force, or that its gate refused."""
    why = "; ".join(refusals)
    if by is None:
        return Notice("amber", f"Model {version} refused by its gate", f": {why}.")
    gate = f". Its gate refused it: {why}" if refusals else ""
    return Notice(
        "amber", f"Model {version} promoted by force", f"by {by} at {at}: {reason}{gate}."
    )


def describe_mixed(mixed: Mixed) -> Notice:
    """The banner about scorers that disagree."""
    since = _time(mixed.since)
    if len(versions := mixed.versions) > 1:
        return Notice(
            "amber",
            "Scorers use different models",
            f"since {since}: {_and(versions)}. During a rolling update this is so until all "
            "scorers have restarted; otherwise look for a scorer that cannot load the new version.",
        )
    thresholds = ", and with ".join(_thresholds(one) for one in mixed.found)
    return Notice(
        "amber",
        "Scorers use different thresholds",
        f"since {since}: model {versions[0]} scores with {thresholds}. Equal scores get different "
        "decisions: check that all scorers have the same settings.",
    )


def describe_progress(progress: Progress) -> str:
    """Share, records and the time that is left: ``38 %, 412,000 of 1,083,000, about 2 minutes``.

    A dash follows the share.
    """
    share = 100 if progress.total <= 0 else progress.read * 100 // progress.total
    counts = f"{share} % \u2013 {progress.read:,} of {progress.total:,}"
    if progress.seconds_left is None:
        return counts
    return f"{counts}, about {_duration(progress.seconds_left)}"


def _duration(seconds: float) -> str:
    if seconds < 1.5 * _MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < 1.5 * _HOUR:
        return f"{round(seconds / _MINUTE)} minutes"
    return f"{seconds / _HOUR:.1f} hours"


def _thresholds(one: Scoring) -> str:
    return f"review {one.review_threshold:g} and block {one.block_threshold:g}"


def _and(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _time(millis: int) -> str:
    return f"{datetime.fromtimestamp(millis / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
