"""Which versions may replace the promoted one when it is rejected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.model.store.names import version_number
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.model.store.promotions import predecessors
from stream_scorer.runtime.text import printable

_MAX_REFUSALS: Final = 10
_REFUSAL_CHARACTERS: Final = 400


@dataclass(frozen=True, slots=True)
class Succession:
    """The versions to fall back to from the pointer's version, the last promoted first.

    A store from before the promotion history existed has no history (``is_recorded`` is False).
    Then these are the versions with lower numbers, and some may never have been promoted.
    """

    versions: tuple[str, ...]
    is_recorded: bool

    def in_order(self, has_failed: Callable[[str], bool]) -> Iterator[str]:
        """The versions in the order in which they may serve.

        A version whose gate refused it, and that was promoted by force, comes after all others;
        if it may never have been promoted, it is left out. ``has_failed`` reports whether the gate
        refused a version; it is called only for versions that are reached.
        """
        forced = []
        for version in self.versions:
            if has_failed(version):
                forced.append(version)
            else:
                yield version
        if self.is_recorded:
            yield from forced


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
    """Whether the gate refused a version, so that the trainer published but did not promote it.

    Anything but a passed gate counts as a refusal. Versions of other tools and of earlier releases
    may have no gate; those did not fail.
    """
    if not has_gate(metadata):
        return False
    gate = metadata["gate"]
    return not (isinstance(gate, dict) and gate.get("passed") is True)


def has_gate(metadata: Mapping[str, Any]) -> bool:
    """Whether a version's metadata says what its gate decided."""
    return "gate" in metadata


def gate_refusals(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Why the gate refused a version, as text that is safe to show; empty if it did not."""
    if not failed_its_gate(metadata):
        return ()
    gate = metadata["gate"]
    given = gate.get("refusals") if isinstance(gate, dict) else None
    texts = [text for text in given if isinstance(text, str)] if isinstance(given, list) else []
    reasons = tuple(printable(text[:_REFUSAL_CHARACTERS]) for text in texts[:_MAX_REFUSALS])
    return reasons or ("no reason is recorded",)
