"""Computes the scores of a stripe again: reads their inputs, and the bundles that scored them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.batch import HistoryColumns
from stream_scorer.audit.recompute.comparison import NOTHING, Comparison, compare, join
from stream_scorer.audit.recompute.stated import Stated, StatedScores
from stream_scorer.errors import ScorerError
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.kafka.unreadable import PassedBatch
from stream_scorer.model.by_version import BundlesByVersion, NoBundle
from stream_scorer.state.eras import spec_id
from stream_scorer.state.history_source import HistorySource, HistoryUnknown
from stream_scorer.state.inputs import Choose, InputFaults, InputRows, Refused, are_among

NO_INPUT: Final = "the input no longer exists"
UNDECODABLE: Final = "the input cannot be decoded now"
UNREADABLE: Final = "the input is in a batch that cannot be unpacked"
REFUSED: Final = "the input also has a dead letter that says it was not accepted"


class ReadInputs(Protocol):
    """Reads inputs again, as :func:`stream_scorer.state.inputs.read_inputs` does."""

    def __call__(
        self, spans: Spans, refused: Refused, choose: Choose | None, faults: InputFaults
    ) -> Iterator[InputRows]:
        """The accepted inputs of the spans; each partition in offset order."""
        ...


class Recomputed(NamedTuple):
    """What came of some scores.

    Attributes:
        offsets: number of offsets of the input that were read for them.
        comparison: the scores that were compared.
        unjudged: number of scores that could not be compared, by reason.
    """

    offsets: int
    comparison: Comparison
    unjudged: Counter[str]


class Recomputer:
    """Computes the scores of stripes again.

    Args:
        stated: what the scores of a stripe state; it is emptied by each run.
        bundles: the model versions.
        histories: the features of the past.
        read: reads the inputs.
    """

    def __init__(
        self,
        stated: StatedScores,
        bundles: BundlesByVersion,
        histories: HistorySource,
        read: ReadInputs,
    ) -> None:
        self.stated = stated
        self.histories = histories
        self._bundles = bundles
        self._read = read

    def run(self, spans: Spans) -> Iterator[Recomputed]:
        """Compute the scores of a stripe again; ``spans`` are its inputs.

        Raises:
            RetryableError: the inputs could not be read to the end of the stripe.
        """
        parts, refused, unjudged = {}, self.stated.collect_refused(), Counter[str]()
        for partition, stated in self.stated.collect().items():
            if len((part := self._open(stated, unjudged)).stated.sources):
                parts[partition] = part
        if unjudged:
            yield Recomputed(0, NOTHING, unjudged)
        faults = _Faults(self.histories)
        wanted = {partition: part.span(spans[partition]) for partition, part in parts.items()}
        reached = {partition: span.low for partition, span in wanted.items()}
        for rows in self._read(wanted, refused, _choose(parts), faults) if parts else ():
            part = parts[rows.partition]
            for some in rows.cut(self._changes(part, rows.partition)):
                offsets = some.next_offset - reached[some.partition]
                reached[some.partition] = some.next_offset
                yield self._compare(part, some, offsets)
        for partition, part in parts.items():
            unseen = faults.explain(
                partition, part.stated.sources[~part.is_seen], refused.get(partition)
            )
            yield Recomputed(wanted[partition].high - reached[partition], NOTHING, unseen)

    def _open(self, stated: Stated, unjudged: Counter[str]) -> _Part:
        """The scores whose bundles can be used."""
        specs: dict[str, str] = {}
        usable = np.ones(len(stated.sources), np.bool_)
        for code in np.unique(stated.versions).tolist():
            name, own = self.stated.version_names[code], stated.versions == code
            bundle = self._bundles.get(name)
            if isinstance(bundle, NoBundle):
                unjudged[bundle.reason] += int(np.count_nonzero(own))
                usable &= ~own
            elif (spec := spec_id(bundle)) is not None:
                specs.setdefault(spec, name)
        kept = stated if usable.all() else stated.take(usable)
        return _Part(kept, specs)

    def _compare(self, part: _Part, rows: InputRows, offsets: int) -> Recomputed:
        """Compare the scores of these inputs."""
        low, high = np.searchsorted(part.stated.sources, [rows.offsets[0], rows.offsets[-1] + 1])
        stated = part.stated.take(np.arange(low, high))
        where = np.searchsorted(rows.offsets, stated.sources)
        is_here = rows.offsets[where] == stated.sources
        part.is_seen[low:high] = is_here
        attached = {spec: self._attach(name, rows) for spec, name in part.specs.items()}
        done, unjudged = [], Counter[str]()
        for code in np.unique(stated.versions[is_here]).tolist():
            own = np.flatnonzero(is_here & (stated.versions == code))
            bundle = self._bundles.get(self.stated.version_names[code])
            batch = rows.batch.take(where[own])
            try:
                if isinstance(bundle, NoBundle):
                    unjudged[bundle.reason] += len(own)
                elif (spec := spec_id(bundle)) is None:
                    done.append(compare(rows.partition, stated.take(own), batch, bundle))
                elif isinstance(history := attached[spec], HistoryUnknown):
                    unjudged[history.reason] += len(own)
                else:
                    values = np.ascontiguousarray(history.values[where[own]])
                    batch = batch.with_history(HistoryColumns(spec, values))
                    done.append(compare(rows.partition, stated.take(own), batch, bundle))
            except ScorerError as error:
                unjudged[f"version {self.stated.version_names[code]}: {error}"] += len(own)
        return Recomputed(offsets, join(done), unjudged)

    def _changes(self, part: _Part, partition: int) -> set[int]:
        """Where the history changes that some of the scores were made with."""
        found = set[int]()
        for version in part.specs.values():
            if not isinstance(bundle := self._bundles.get(version), NoBundle):
                found.update(self.histories.changes(bundle, partition))
        return found

    def _attach(self, version: str, rows: InputRows) -> HistoryColumns | HistoryUnknown:
        bundle = self._bundles.get(version)
        if isinstance(bundle, NoBundle):
            self.histories.lose(rows.partition, bundle.reason)
            return HistoryUnknown(bundle.reason)
        return self.histories.attach(bundle, rows)


class _Part:
    """The scores of one partition's inputs; ``specs`` has a version of each history spec."""

    def __init__(self, stated: Stated, specs: Mapping[str, str]) -> None:
        self.stated = stated
        self.specs = specs
        self.is_seen = np.zeros(len(stated.sources), np.bool_)

    def span(self, stripe: Span) -> Span:
        """The inputs to read: a history needs all of them."""
        if self.specs:
            return stripe
        return Span(int(self.stated.sources[0]), int(self.stated.sources[-1]) + 1)


def _choose(parts: Mapping[int, _Part]) -> Choose:
    """Where no history is needed, only the inputs of the scores are decoded."""

    def choose(partition: int, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        part = parts[partition]
        if part.specs:
            return np.ones(len(offsets), np.bool_)
        return are_among(offsets, part.stated.sources)

    return choose


class _Faults:
    """Notes the inputs that cannot be read."""

    def __init__(self, histories: HistorySource) -> None:
        self._histories = histories
        self._undecodable: dict[int, list[int]] = {}
        self._unreadable: dict[int, list[NDArray[np.int64]]] = {}

    def removed(self, topic: str, partition: int, wanted: int, low: int) -> None:
        del topic
        self._histories.lose(partition, f"inputs from offset {wanted} to before {low} were removed")

    def unreadable(self, topic: str, partition: int, batch: PassedBatch) -> None:
        del topic
        offsets = np.arange(batch.begin, batch.next_offset, dtype=np.int64)
        self._unreadable.setdefault(partition, []).append(offsets)
        self._histories.lose(partition, f"the batch at offset {batch.begin} cannot be unpacked")

    def undecodable(self, topic: str, partition: int, offset: int, reason: str) -> None:
        del topic, reason
        self._undecodable.setdefault(partition, []).append(offset)
        self._histories.lose(partition, f"the input at offset {offset} cannot be decoded now")

    def explain(
        self, partition: int, sources: NDArray[np.int64], refused: NDArray[np.int64] | None
    ) -> Counter[str]:
        """Why these inputs were not read, with the number of each reason."""
        unread = self._unreadable.get(partition, [])
        groups = {
            UNDECODABLE: np.array(self._undecodable.get(partition, []), np.int64),
            UNREADABLE: np.concatenate(unread) if unread else np.empty(0, np.int64),
            REFUSED: np.empty(0, np.int64) if refused is None else refused,
        }
        found = Counter[str]()
        for reason, offsets in groups.items():
            is_one = np.isin(sources, offsets)
            found[reason] += int(np.count_nonzero(is_one))
            sources = sources[~is_one]
        found[NO_INPUT] += len(sources)
        return +found
