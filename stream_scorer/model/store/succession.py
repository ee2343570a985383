"""Which versions may replace the promoted one when it is rejected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stream_scorer.model.store.names import version_number
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.model.store.promotions import predecessors


@dataclass(frozen=True, slots=True)
class Succession:
    """The versions to fall back to from the pointer's version, the last promoted first.

    A store from before the promotion history existed has no history (``is_recorded`` is False).
    Then these are the versions with lower numbers, and some may never have been promoted.
    """

    versions: tuple[str, ...]
    is_recorded: bool


def find_succession(store: ArtifactStore, pointer: str, rejected: Mapping[str, Any]) -> Succession:
    """The versions to fall back to from version ``pointer``, without rejected ones.

    Raises:
        StoreError: the store did not answer.
    """
    promotions = store.history()
    complete = set(store.versions())
    if promotions:
        found = [v for v in predecessors(promotions, pointer) if v in complete]
    else:
        older = (v for v in complete if version_number(v) < version_number(pointer))
        found = sorted(older, key=version_number, reverse=True)
    return Succession(tuple(v for v in found if v not in rejected), bool(promotions))


def failed_its_gate(metadata: Mapping[str, Any]) -> bool:
    """Whether the gate refused a version, so that the trainer published but did not promote it."""
    gate = metadata.get("gate")
    return isinstance(gate, dict) and gate.get("passed") is False
