"""The published scores as one side of a replay: read in step with their inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.records import UndecodableRecord, decode_record
from schemas.resolver import SchemaResolver
from stream_scorer.audit.records.score_reader import ScoreReader
from stream_scorer.kafka.messages import Records
from stream_scorer.replay.columns import NO_VERSION, Scored, Shown, unscored

NO_SCORE: Final = "it has no published score"

_LATER: Final = 256
"""Scores of later inputs that show that those of the inputs at hand were read. One is not enough:
any record may state any offset."""

Pages = Callable[[int], Iterator[Records]]
"""Partition → its published records, in offset order."""


class _Part(NamedTuple):
    """Scores of inputs of one partition."""

    sources: NDArray[np.int64]
    scores: NDArray[np.float64]
    decisions: NDArray[np.int8]
    versions: NDArray[np.int32]
    values: list[bytes | None]


class PublishedSide:
    """Finds the published score of each input.

    Scores of a partition are in the order of its inputs, so that only those of the inputs at hand
    and of a few later ones are held. Of several scores of one input the last one counts.

    Args:
        pages: reads the output topic.
        reader: reads scores.
        resolver: finds the writers' schemas.
    """

    def __init__(self, pages: Pages, reader: ScoreReader, resolver: SchemaResolver) -> None:
        self._pages = pages
        self._reader = reader
        self._resolver = resolver
        self._partition = -1
        self._left: Iterator[Records] = iter(())
        self._held: list[_Part] = []
        self._values: dict[int, bytes | None] = {}

    def score(self, partition: int, offsets: NDArray[np.int64]) -> Scored:
        """The published scores of inputs; a partition's inputs come in offset order.

        Raises:
            RetryableError: the output topic could not be read.
        """
        if partition != self._partition:
            self._partition, self._left = partition, self._pages(partition)
            self._held = []
        while self._later(int(offsets[-1])) < _LATER:
            if (records := next(self._left, None)) is None:
                break
            self._hold(records)
        part = _join(self._held)
        found = self._find(part, offsets)
        later = np.flatnonzero(part.sources > offsets[-1])
        self._held = [_take(part, later)] if len(later) else []
        return found

    def explain(self, row: int) -> Sequence[Shown]:
        """The published reasons of a row of the inputs asked for last; only flagged ones have any.

        Whatever the record holds, this does not raise.
        """
        try:
            fields = decode_record("fraud_score", self._values.get(row), self._resolver)
            return [
                Shown(str(r["feature"]), r["value"], float(r["contribution"]))
                for r in fields.get("reasons") or ()
            ]
        except (UndecodableRecord, LookupError, TypeError, ValueError):
            return ()

    def _hold(self, records: Records) -> None:
        values = records.values
        found = self._reader.sources(values)
        own = found.is_readable & (found.partitions == self._partition)
        rows = np.flatnonzero(own)
        if not len(rows):
            return
        results = found.results.take(rows)
        part = _Part(
            found.offsets[rows],
            results.scores.view(np.float64),
            results.decisions,
            found.versions[rows],
            [values[row] for row in rows.tolist()],
        )
        self._held.append(part)

    def _later(self, offset: int) -> int:
        return sum(int(np.count_nonzero(part.sources > offset)) for part in self._held)

    def _find(self, part: _Part, offsets: NDArray[np.int64]) -> Scored:
        """The score of each input among these."""
        found = unscored(len(offsets), self._reader.version_names)
        if not len(part.sources):
            self._values = {}
            return found._replace(unscored={NO_SCORE: len(offsets)})
        at = np.searchsorted(part.sources, offsets, side="right") - 1
        rows = np.flatnonzero((at >= 0) & (part.sources[at] == offsets))
        where = at[rows]
        found.scores[rows] = part.scores[where]
        found.decisions[rows] = part.decisions[where]
        found.versions[rows] = part.versions[where]
        self._values = {
            row: part.values[i] for row, i in zip(rows.tolist(), where.tolist(), strict=True)
        }
        missing = int(np.count_nonzero(~found.is_there))
        found.versions[~found.is_there] = NO_VERSION
        return found._replace(unscored={NO_SCORE: missing} if missing else {})


def _join(parts: Sequence[_Part]) -> _Part:
    """The rows of several, in the order of their inputs; equal inputs in the order of writing."""
    if not parts:
        nothing = np.empty(0, np.int64)
        return _Part(nothing, np.empty(0), np.empty(0, np.int8), np.empty(0, np.int32), [])
    joined = _Part(
        np.concatenate([part.sources for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.decisions for part in parts]),
        np.concatenate([part.versions for part in parts]),
        [value for part in parts for value in part.values],
    )
    return _take(joined, np.argsort(joined.sources, kind="stable"))


def _take(part: _Part, rows: NDArray[np.int64]) -> _Part:
    return _Part(
        part.sources[rows],
        part.scores[rows],
        part.decisions[rows],
        part.versions[rows],
        [part.values[row] for row in rows.tolist()],
    )
