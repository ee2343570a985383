"""A feature for people: its name, what it is, and its group."""

from __future__ import annotations

from typing import Final

from stream_scorer.features.feature_set import FeatureSet

_TEXT_CHARS: Final = 160


def describe(features: FeatureSet, name: str) -> dict[str, str]:
    """``name``, ``text`` (if it says more than the name) and ``group``."""
    found = {"name": name}
    if text := text_of(features, name):
        found["text"] = text
    if group := features.groups.get(name):
        found["group"] = group
    return found


def text_of(features: FeatureSet, name: str) -> str:
    """What a feature is, in a few words; empty if that is its name."""
    text = features.describe(name)
    return text[:_TEXT_CHARS] if text != name else ""
