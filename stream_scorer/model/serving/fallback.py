"""Finds the version that serves in place of a rejected one."""

from __future__ import annotations

from collections.abc import Callable

from stream_scorer.model.bundle import Bundle
from stream_scorer.model.serving.loader import Loaded
from stream_scorer.model.store.succession import Succession, failed_its_gate


class Fallbacks:
    """Loads the versions of a succession in order, until one can serve."""

    def __init__(self, load: Callable[[str], Loaded | None]) -> None:
        self._load = load
        self._failed_gate: set[str] = set()
        """Versions never change, so one of these is not loaded only to be passed over again."""

    def find(
        self, succession: Succession, current: Bundle | None
    ) -> tuple[Bundle, Loaded | None] | None:
        """The first version that can serve; with None if it is the current one already.

        Raises:
            StoreError: the store did not answer.
        """
        loaded: dict[str, Loaded | None] = {}

        def find_bundle(version: str) -> Bundle | None:
            if current is not None and current.version == version:
                return current
            if version not in loaded:
                loaded[version] = self._load(version)
            found = loaded[version]
            return None if found is None else found.bundle

        def has_failed(version: str) -> bool:
            if version not in self._failed_gate:
                bundle = find_bundle(version)
                if bundle is None or not failed_its_gate(bundle.metadata):
                    return False
                self._failed_gate.add(version)
            return True

        for version in succession.in_order(has_failed):
            bundle = find_bundle(version)
            if bundle is not None:
                return bundle, loaded.get(version)
        return None
