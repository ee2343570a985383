"""A feature for people: its name, what it is, and its group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stream_scorer.features.feature_set import FeatureSet

_TEXT_CHARS: Final = 160


def describe(features: FeatureSet, name: str) -> dict[str, str]:
    """``name``, ``text`` and ``group``; the last two only where the feature set has them."""
    found = {"name": name}
    if text := text_of(features, name):
        found["text"] = text
    if group := groups_of(features).get(name):
        found["group"] = group
    return found


def text_of(features: FeatureSet, name: str) -> str:
    """What a feature is, in a few words; empty if the feature set does not say."""
    # A feature set of fixed features has neither descriptions nor groups.
    written: Any = getattr(features, "describe", None)
    text = written(name) if callable(written) else ""
    return str(text)[:_TEXT_CHARS] if text and text != name else ""


def groups_of(features: FeatureSet) -> Mapping[str, str]:
    """Feature name → group; empty if the feature set has no groups."""
    groups: Any = getattr(features, "groups", None)
    return groups if isinstance(groups, Mapping) else {}
