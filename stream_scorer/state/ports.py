"""What card histories need of the group member, the models, and their threads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from stream_scorer.errors import ScorerError
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.store.history_era import Era
from stream_scorer.state.partitions import OwnedStates
from stream_scorer.state.requests import RestoreRequest, RestoreResult


class Member(Protocol):
    """The group member, as far as histories need it."""

    def assignments(self) -> Mapping[int, int]:
        """How often each partition that is assigned now has been assigned."""
        ...

    def hold_new(self, is_on: bool) -> None:
        """Whether partitions are held from their assignment on."""
        ...

    def hold(self, partitions: Collection[int]) -> None:
        """Hold these partitions."""
        ...

    def release(self, partition: int, offset: int) -> None:
        """Deliver a held partition from an offset on."""
        ...

    def held(self) -> frozenset[int]:
        """The assigned partitions that are held."""
        ...


class Models(Protocol):
    """What loads the bundles."""

    @property
    def current(self) -> Bundle | None:
        """The promoted bundle, or the one that serves instead."""
        ...

    def is_withdrawn(self, version: str) -> bool:
        """Whether a version was rejected and another one serves instead."""
        ...


class Restores(Protocol):
    """The restore thread."""

    def follow(self, bundle: Bundle) -> Era | None:
        """The newest era known of a bundle's history; it is looked for from now on."""
        ...

    def problem(self, bundle: Bundle) -> ScorerError | None:
        """Why the era cannot be used or found."""
        ...

    def submit(self, request: RestoreRequest) -> None:
        """Work on a request; it is repeated until it succeeds or is abandoned."""
        ...

    def take(self) -> list[RestoreResult]:
        """The results since the last call."""
        ...


class Snapshots(Protocol):
    """The snapshot thread."""

    def serve(self, states: OwnedStates | None) -> None:
        """Give it a copy of a state if one is due."""
        ...


class NoSnapshots:
    """Writes none."""

    def serve(self, states: OwnedStates | None) -> None:
        """Nothing is due."""
