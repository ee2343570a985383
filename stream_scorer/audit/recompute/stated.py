"""What the scores of a stripe state, kept until their inputs are read again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.audit.records.columns import Mark, OutcomeKind, Outcomes
from stream_scorer.audit.records.results import Results, is_chosen, join_results


class Stated(NamedTuple):
    """Scores of inputs of one partition, in the order of the inputs.

    Attributes:
        sources: the offsets of the inputs, int64 ``[n]``; several scores may have the same input.
        partitions: where the scores were written, int64 ``[n]``.
        offsets: the same.
        versions: indices into ``StatedScores.version_names``, int64 ``[n]``.
        results: what the scores state.
    """

    sources: NDArray[np.int64]
    partitions: NDArray[np.int64]
    offsets: NDArray[np.int64]
    versions: NDArray[np.int64]
    results: Results

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Stated:
        """A subset, by mask or row numbers."""
        return Stated(
            self.sources[rows],
            self.partitions[rows],
            self.offsets[rows],
            self.versions[rows],
            self.results.take(rows),
        )


@dataclass(slots=True)
class StatedScores:
    """The scores of the open stripe that are to be recomputed; about 70 bytes each.

    Attributes:
        one_in: one input in ``one_in`` is recomputed.
        version_names: model versions, such as ``v3``.
    """

    one_in: int
    version_names: list[str] = field(default_factory=list)
    _parts: dict[int, list[Stated]] = field(default_factory=dict)
    _refused: dict[int, list[NDArray[np.int64]]] = field(default_factory=dict)
    _codes: dict[str, int] = field(default_factory=dict)

    def choose(self, outcomes: Outcomes) -> NDArray[np.bool_]:
        """Which of these are scores of chosen inputs."""
        if outcomes.kind is not OutcomeKind.SCORE:
            return np.zeros(len(outcomes), np.bool_)
        return is_chosen(outcomes.source_partitions, outcomes.source_offsets, self.one_in)

    def add(self, partition: int, outcomes: Outcomes, rows: NDArray[np.bool_]) -> None:
        """Add those of ``rows`` that are scores of chosen inputs of this partition.

        Of dead letters it is noted which inputs were never accepted.
        """
        if outcomes.kind is OutcomeKind.DEAD_LETTER:
            if (refused := rows & outcomes.have(Mark.REFUSED)).any():
                found = outcomes.source_offsets[refused]
                self._refused.setdefault(partition, []).append(found)
            return
        some = np.flatnonzero(rows & self.choose(outcomes))
        if outcomes.results is None or not len(some):
            return
        codes = np.array([self._code(name) for name in outcomes.version_names], np.int64)
        part = Stated(
            outcomes.source_offsets[some],
            np.full(len(some), outcomes.partition, np.int64),
            outcomes.offsets[some],
            codes[outcomes.versions[some]],
            outcomes.results.take(some),
        )
        self._parts.setdefault(partition, []).append(part)

    def collect(self) -> dict[int, Stated]:
        """The scores by input partition; nothing is kept."""
        parts, self._parts = self._parts, {}
        return {partition: _join(own) for partition, own in parts.items()}

    def collect_refused(self) -> dict[int, NDArray[np.int64]]:
        """By input partition the offsets of inputs that were never accepted, sorted."""
        found, self._refused = self._refused, {}
        return {partition: np.unique(np.concatenate(own)) for partition, own in found.items()}

    def _code(self, name: str) -> int:
        if name not in self._codes:
            self._codes[name] = len(self.version_names)
            self.version_names.append(name)
        return self._codes[name]


def _join(parts: Sequence[Stated]) -> Stated:
    """The rows of several, in the order of their inputs."""
    joined = Stated(
        np.concatenate([part.sources for part in parts]),
        np.concatenate([part.partitions for part in parts]),
        np.concatenate([part.offsets for part in parts]),
        np.concatenate([part.versions for part in parts]),
        join_results([part.results for part in parts]),
    )
    return joined.take(np.argsort(joined.sources, kind="stable"))
