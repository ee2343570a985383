"""Reads scores and labels from Kafka, and computes what every model version is worth."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from stream_scorer.errors import UsageError
from stream_scorer.kafka.admin import topic_ids
from stream_scorer.kafka.clients import open_admin
from stream_scorer.kafka.messages import by_partition
from stream_scorer.kafka.reader import (
    QUERY_SECONDS,
    committed_spans,
    read_spans,
    time_offsets,
)
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.kafka.topics import require_topics
from stream_scorer.quality.amounts import fill_amounts, read_amounts
from stream_scorer.quality.counts import QualityCounts
from stream_scorer.quality.figures import Promises, all_figures
from stream_scorer.quality.reader import QualityReader, refuse_unread
from stream_scorer.quality.rows import LabelTable, ScoreRows
from stream_scorer.quality.score_file import ScoreFile
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.settings import GroupSettings

DAY_MS: Final = 86_400_000
FORMAT: Final = 1
READER_GROUP: Final = "-quality"  # added to the scorers' group id; it never joins or commits
STALL_SECONDS: Final = 60.0

OnProgress = Callable[[int, int], None]
"""Called with the number of offsets read so far and the number of offsets to read."""


PromisesOf = Callable[[str], Promises]
"""Finds what the metadata of a version promises; nothing for a version that does not exist."""


@dataclass(frozen=True, slots=True)
class QualityOptions:
    """What to judge.

    Attributes:
        since: scores from this time on, epoch milliseconds.
        maturity_days: a score this old would have been reported if it were fraud.
        state: continue from the scores in this file, and add the new ones to it.
        stall_seconds: give up when no record arrives for this long.
        reads_amounts: read the amounts of missed frauds from the input.
    """

    since: int
    maturity_days: float = 14.0
    state: Path | None = None
    stall_seconds: float = STALL_SECONDS
    reads_amounts: bool = True


@dataclass(frozen=True, slots=True)
class QualityResult:
    """What every version is worth.

    Attributes:
        now: when the run began, epoch milliseconds.
        options: what was judged.
        labels: transactions with a label.
        versions: the figures of each version, the one that scored last first.
        problems: what was left out or is doubtful, by kind.
        scores: scores in the window.
        seconds: how long it took.
    """

    now: int
    options: QualityOptions
    labels: int
    versions: list[dict[str, Any]]
    problems: Mapping[str, int]
    scores: int
    seconds: float
    topics: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "format": FORMAT,
            "computed_at": self.now,
            "since": self.options.since,
            "maturity_days": self.options.maturity_days,
            "topics": dict(self.topics),
            "scores": self.scores,
            "labels": self.labels,
            "versions": self.versions,
            "problems": dict(sorted(self.problems.items())),
            "seconds": round(self.seconds, 3),
        }


def measure_quality(
    settings: GroupSettings,
    options: QualityOptions,
    labels: LabelTable,
    promises: PromisesOf,
    now: int,
    on_progress: OnProgress = lambda _done, _total: None,
) -> QualityResult:
    """Read the scores of the window up to their end as of now, and judge them.

    Args:
        settings: broker, topics, registry and group.
        options: what to judge.
        labels: of all transactions.
        promises: finds what the metadata of a version promises.
        now: epoch milliseconds.
        on_progress: called with the number of offsets read and the number of offsets to read.

    Raises:
        UsageError: no broker answers, a topic is missing, or the state file cannot be used.
        RetryableError: the topic could not be read to its end.
        FatalError: login failed, or this user is not authorized.
    """
    begun = time.monotonic()
    counts = new_counts(options, labels, now)
    refused: Counter[str]
    with using_resolver(settings, "fraud_score") as resolver:
        reader = QualityReader(resolver, settings.input_topic)
        source = _Source(settings, options, reader, on_progress)
        for rows in source.rows():
            counts.add(rows)
        refused = reader.refused + source.problems
        if reader.needs_registry and not settings.schema_registry_url:
            read = sum(one.rows for one in counts.versions.values())
            refuse_unread(settings.output_topic, reader.of_registry, read)
    if options.reads_amounts:
        group, seconds = settings.kafka_group_id + READER_GROUP, options.stall_seconds
        fill_amounts(counts, lambda places: read_amounts(settings, group, places, seconds))
    topics = {"scores": settings.output_topic, "labels": settings.labels_topic}
    seconds = time.monotonic() - begun
    return result_of(counts, options, promises, refused, seconds, topics)


def new_counts(options: QualityOptions, labels: LabelTable, now: int) -> QualityCounts:
    """Empty counts of a run."""
    mature_until = now - round(options.maturity_days * DAY_MS)
    return QualityCounts(labels, options.since, mature_until, now)


def result_of(
    counts: QualityCounts,
    options: QualityOptions,
    promises: PromisesOf,
    refused: Mapping[str, int],
    seconds: float,
    topics: Mapping[str, str],
) -> QualityResult:
    """The figures of a run, once all scores were counted."""
    problems = counts.finish()
    problems.update(refused)
    return QualityResult(
        now=counts.now,
        options=options,
        labels=len(counts.labels),
        versions=all_figures(counts, {name: promises(name) for name in counts.versions}),
        problems={name: n for name, n in problems.items() if n},
        scores=sum(one.rows for one in counts.versions.values()),
        seconds=seconds,
        topics=topics,
    )


class _Source:
    """The scores of the window: those of the state file, then those that are new."""

    def __init__(
        self,
        settings: GroupSettings,
        options: QualityOptions,
        reader: QualityReader,
        on_progress: OnProgress,
    ) -> None:
        self._settings, self._options = settings, options
        self._reader, self._on_progress = reader, on_progress
        self.problems: Counter[str] = Counter()

    def rows(self) -> Iterator[ScoreRows]:
        """All scores of the window."""
        settings, options = self._settings, self._options
        topic = settings.output_topic
        partitions = require_topics(settings, [topic])[topic]
        spans = committed_spans(settings, self._group, topic, partitions)
        if options.state is None:
            for rows, _, _ in self._read(self._from_time(spans)):
                yield rows
            return
        cluster, ids = topic_ids(open_admin(settings), [topic], QUERY_SECONDS)
        identity = {"cluster": cluster, "topic": topic, "topic id": ids[topic]}
        with closing(ScoreFile(options.state, identity, options.since)) as file:
            self._extend(file, spans)
            yield from file.batches()

    @property
    def _group(self) -> str:
        return self._settings.kafka_group_id + READER_GROUP

    def _from_time(self, spans: Spans) -> Spans:
        topic = self._settings.output_topic
        starts = time_offsets(self._settings, self._group, topic, spans, self._options.since)
        return {
            p: Span(max(span.low, min(starts[p], span.high)), span.high)
            for p, span in spans.items()
        }

    def _extend(self, file: ScoreFile, spans: Spans) -> None:
        """Add the scores that the file does not have."""
        reached = file.reached()
        left = {}
        for partition, span in self._from_time(spans).items():
            start = reached.get(partition, span.low)
            if start > spans[partition].high:
                raise UsageError(
                    f"the state file {self._options.state} is at offset {start} of "
                    f"{self._settings.output_topic} partition {partition}, which ends at "
                    f"{span.high}: the topic was truncated or restored; start a new state file"
                )
            left[partition] = Span(max(start, spans[partition].low), span.high)
        for rows, partition, next_offset in self._read(left):
            file.add(rows, partition, next_offset)
        for partition, span in left.items():
            file.move(partition, span.high)
        file.flush()

    def _read(self, spans: Spans) -> Iterator[tuple[ScoreRows, int, int]]:
        """Batches of one partition, each with the offset after it."""
        total = sum(span.high - span.low for span in spans.values())
        done = {partition: span.low for partition, span in spans.items()}
        lows = sum(done.values())
        settings = self._settings

        def lost(partition: int, low: int) -> None:
            self.problems["scores_removed_unread"] += max(0, low - done[partition])

        for messages in read_spans(
            settings,
            self._group,
            settings.output_topic,
            spans,
            self._options.stall_seconds,
            lost,
            lambda _partition, _passed: self.problems.update(unreadable_batches=1),
        ):
            for partition, records in by_partition(messages):
                rows = self._reader.read(
                    records.values,
                    records.times,
                    lambda records=records: records.headers,  # type: ignore[misc]
                )
                done[partition] = int(records.offsets[-1]) + 1
                yield rows, partition, done[partition]
            self._on_progress(sum(done.values()) - lows, total)
        self._on_progress(total, total)
