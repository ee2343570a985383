"""Reads inputs and scores of a range, and counts them into the reference's bins. Read-only."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.transactions.codec import TransactionDecoder
from stream_scorer.audit.records.score_reader import ScoreReader
from stream_scorer.drift.comparison import MIN_ROWS, compare_feature, compare_scores, most_moved
from stream_scorer.drift.features import FeatureReferences, read_feature_references
from stream_scorer.drift.reading.report import DriftReport
from stream_scorer.drift.reading.slices import count_offsets, cut_slices
from stream_scorer.drift.reference import Reference, read_reference
from stream_scorer.errors import UsageError
from stream_scorer.kafka.messages import by_partition
from stream_scorer.kafka.reader import committed_spans, read_spans, time_offsets
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.kafka.topics import require_topics
from stream_scorer.kafka.unreadable import PassedBatch
from stream_scorer.model.bundle import Bundle
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.settings import GroupSettings
from stream_scorer.state.inputs import read_inputs

OnProgress = Callable[[int, int], None]
"""Called with the number of offsets read so far, and the number to read."""

READER_GROUP: Final = "-drift"  # added to the scorers' group id; it never joins or commits
SCORE: Final = "score"
_HISTORY: Final = (
    "it needs every earlier input of its card; the scorers count it, see the board Fraud: model"
)


@dataclass(frozen=True, slots=True)
class DriftOptions:
    """What to compare.

    Attributes:
        since: inputs from this time on, epoch milliseconds.
        until: inputs before this time, epoch milliseconds; None: all.
        limit: read about this many inputs, and as many scores, at most.
        stall_seconds: give up when no record arrives for this long.
    """

    since: int
    until: int | None = None
    limit: int = 200_000
    stall_seconds: float = 60.0


def measure_drift(
    settings: GroupSettings,
    bundle: Bundle,
    options: DriftOptions,
    on_progress: OnProgress = lambda _done, _total: None,
) -> DriftReport:
    """Compare a range of the input with the reference of a version.

    Raises:
        UsageError: no broker answers, a topic is missing, the range has no inputs, or the version
            has no reference histograms.
        RetryableError: a topic could not be read to the end of the range.
        FatalError: login failed, or this user is not authorized.
    """
    metadata, names = bundle.metadata, bundle.features.names
    references = read_feature_references(bundle.version, metadata, names)
    if not references.features:
        raise UsageError(
            f"{bundle.version} has no reference histograms of features in its metadata: train or "
            "import it again with this release, or name another version with --version"
        )
    now = int(time.time() * 1000)
    until = now if options.until is None else options.until
    if until <= options.since:
        raise UsageError("--until is not after --since: the range is empty")
    topics = (settings.input_topic, settings.output_topic)
    partitions = require_topics(settings, topics)
    inputs, outputs = (_range(settings, topic, partitions[topic], options) for topic in topics)
    if not inputs:
        raise UsageError(f"topic {topics[0]} has no input of this time: check --since and --until")
    reader = _Reader(settings, options, on_progress, inputs, outputs)
    counts, rows = reader.count_inputs(bundle, references)
    scores, score_reference = reader.count_scores(bundle), read_reference(metadata)
    refused = _refused(bundle, references)
    compared = []
    if rows < MIN_ROWS:
        few = f"only {rows:,} rows could be read, and fewer than {MIN_ROWS} say nothing"
        refused |= {one.name: few for one in references.features}
    else:
        compared = [
            compare_feature(one, found)
            for one, found in zip(references.features, counts, strict=True)
            if one.name not in refused
        ]
    if reason := _scores_refused(bundle.version, score_reference, scores):
        refused[SCORE] = reason
    return DriftReport(
        bundle.version,
        options.since,
        until,
        now,
        rows,
        count_offsets(inputs),
        tuple(most_moved(compared)),
        None if SCORE in refused else compare_scores(score_reference, scores),
        refused,
        tuple(reader.problems()),
    )


def _refused(bundle: Bundle, references: FeatureReferences) -> dict[str, str]:
    spec = bundle.features.program.history
    past = frozenset() if spec is None else frozenset(spec.names)
    return {one.name: _HISTORY for one in references.features if one.name in past}


def _scores_refused(version: str, reference: Reference, counts: NDArray[np.int64]) -> str | None:
    if not reference.rows:
        return f"{version} has no reference histogram of scores in its metadata"
    found = int(counts.sum())
    if found < MIN_ROWS:
        return f"the range has {found:,} scores by {version}, and fewer than {MIN_ROWS} say nothing"
    return None


def _range(
    settings: GroupSettings, topic: str, partitions: int, options: DriftOptions
) -> dict[int, Span]:
    group = settings.kafka_group_id + READER_GROUP
    stored = committed_spans(settings, group, topic, partitions)
    begin = time_offsets(settings, group, topic, stored, options.since)
    end = {partition: span.high for partition, span in stored.items()}
    if options.until is not None:
        end = time_offsets(settings, group, topic, stored, options.until)
    return {p: Span(begin[p], end[p]) for p in stored if begin[p] < end[p]}


class _Reader:
    """Reads both topics in slices; its memory is that of one poll and of the counts."""

    def __init__(
        self,
        settings: GroupSettings,
        options: DriftOptions,
        on_progress: OnProgress,
        inputs: Spans,
        outputs: Spans,
    ) -> None:
        self._settings = settings
        self._group = settings.kafka_group_id + READER_GROUP
        self._stall_seconds = options.stall_seconds
        self._on_progress = on_progress
        self._inputs = list(cut_slices(inputs, options.limit))
        self._outputs = list(cut_slices(outputs, options.limit))
        self._total = sum(map(count_offsets, [*self._inputs, *self._outputs]))
        self._done = 0
        self._faults = Counter[str]()
        self._bad_scores = 0
        self._lacks_registry = False
        self._on_progress(0, self._total)

    def count_inputs(
        self, bundle: Bundle, references: FeatureReferences
    ) -> tuple[list[NDArray[np.int64]], int]:
        """The rows in each bin of each feature, and the number of rows."""
        counts = [np.zeros(len(one.counts), np.int64) for one in references.features]
        total, layout = 0, bundle.features.layout
        with using_resolver(self._settings) as resolver:
            decoder = TransactionDecoder(resolver)
            for spans in self._inputs:
                for rows in read_inputs(
                    self._settings, self._group, spans, decoder, {},
                    layout=layout, stall_seconds=self._stall_seconds, faults=self,
                ):  # fmt: skip
                    values = bundle.features.transform(rows.batch)[:, references.columns]
                    for sums, found in zip(counts, references.count(values), strict=True):
                        sums += found
                    total += len(rows)
                self._advance(spans)
        return counts, total

    def count_scores(self, bundle: Bundle) -> NDArray[np.int64]:
        """The published scores of the version by bin."""
        settings, topic = self._settings, self._settings.output_topic
        reference = read_reference(bundle.metadata)
        counts = np.zeros(len(reference.edges) + 1, np.int64)
        with using_resolver(settings, "fraud_score") as resolver:
            reader = ScoreReader(resolver, settings.input_topic)
            for spans in self._outputs:
                for messages in read_spans(
                    settings, self._group, topic, spans, self._stall_seconds
                ):
                    for _, records in by_partition(messages):
                        found = reader.sources(records.values)
                        self._bad_scores += int((~found.is_readable).sum())
                        names = np.array([*reader.version_names, ""])
                        own = found.is_readable & (names[found.versions] == bundle.version)
                        scores = found.results.scores[own].view(np.float64)
                        counts += reference.count(scores[(scores >= 0) & (scores <= 1)])
                self._advance(spans)
            self._lacks_registry = reader.needs_registry and not settings.schema_registry_url
        return counts

    def problems(self) -> list[str]:
        """What could not be read."""
        found = [f"{number:,} inputs {what}" for what, number in sorted(self._faults.items())]
        if self._bad_scores:
            why = ", some because SCHEMA_REGISTRY_URL is not set" if self._lacks_registry else ""
            topic = self._settings.output_topic
            found.append(f"{self._bad_scores:,} records of {topic} cannot be read{why}")
        return found

    def removed(self, topic: str, partition: int, wanted: int, low: int) -> None:
        """Inputs were removed by retention since the beginning."""
        del topic, partition
        self._faults["were removed before they were read"] += low - wanted

    def unreadable(self, topic: str, partition: int, batch: PassedBatch) -> None:
        """A batch cannot be unpacked."""
        del topic, partition
        self._faults["are in a batch that cannot be unpacked"] += batch.next_offset - batch.begin

    def undecodable(self, topic: str, partition: int, offset: int, reason: str) -> None:
        """An input cannot be decoded; scorers send it to the dead letters."""
        del topic, partition, offset, reason
        self._faults["cannot be decoded"] += 1

    def _advance(self, spans: Spans) -> None:
        self._done += count_offsets(spans)
        self._on_progress(self._done, self._total)
