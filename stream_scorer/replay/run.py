"""Scores a range of the input again, and compares. Read-only: no group, no commit, no record."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from schemas.layout import Layout
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.audit.records.score_reader import ScoreReader
from stream_scorer.errors import UsageError
from stream_scorer.kafka.messages import Records, by_partition
from stream_scorer.kafka.reader import read_spans
from stream_scorer.kafka.unreadable import PassedBatch
from stream_scorer.labels.topic import read_labels
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.by_version import BundlesByVersion, NoBundle
from stream_scorer.replay.columns import Scored
from stream_scorer.replay.model_side import Histories, ModelSide
from stream_scorer.replay.output import RowWriter, make_columns, writing
from stream_scorer.replay.published_side import NO_SCORE, PublishedSide
from stream_scorer.replay.quality import LabelledScores
from stream_scorer.replay.scope import ReplayScope, no_scores, open_scope
from stream_scorer.replay.summary import Explain, Summary, by_number
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.settings import GroupSettings
from stream_scorer.state.history_source import HistorySource, NoHistorySource
from stream_scorer.state.inputs import (
    InputFaults,
    InputRows,
    Refused,
    read_dead_letters,
    read_inputs,
    refused_inputs,
)

PUBLISHED: Final = "scores"
"""What to compare with: the published scores."""

STALL_SECONDS: Final = 60.0

OnProgress = Callable[[int, int], None]
"""Called with the number of offsets of the input read so far, and the number to read."""

_REFUSED: Final = "it was rejected when it was to be scored, and has a dead letter"
_UNDECODABLE: Final = "it cannot be decoded now"


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What to replay.

    Attributes:
        model: the version to score with.
        bundles: where versions come from.
        since: inputs from this time on, epoch milliseconds.
        until: inputs before this time, epoch milliseconds; None: all.
        against: the version to compare with, or ``PUBLISHED``.
        with_labels: compare both sides with the labels topic.
        out: the file for the rows.
        histories: the features of the past.
        stall_seconds: give up when no record arrives for this long.
    """

    model: str
    bundles: BundlesByVersion
    since: int
    until: int | None = None
    against: str = PUBLISHED
    with_labels: bool = False
    out: Path | None = None
    histories: HistorySource = field(default_factory=NoHistorySource)
    stall_seconds: float = STALL_SECONDS


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """The result of a replay.

    Attributes:
        options: what was replayed.
        summary: counts and the largest moves.
        skipped: inputs that were not replayed, with the number of each reason.
        quality: what both sides are worth by the labels; None without labels.
        seconds: duration.
        problems: what makes the result doubtful, a sentence each.
    """

    options: ReplayOptions
    summary: Summary
    skipped: Mapping[str, int]
    quality: Mapping[str, Any] | None
    seconds: float
    problems: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The report as JSON."""
        options = self.options
        return {
            "model": options.model,
            "against": options.against,
            "since": options.since,
            "until": options.until,
            **self.summary.as_json(),
            "not_replayed": dict(self.skipped),
            "labels": dict(self.quality) if self.quality is not None else None,
            "problems": list(self.problems),
            "out": str(options.out) if options.out else None,
            "seconds": round(self.seconds, 3),
        }


def replay(
    settings: GroupSettings,
    options: ReplayOptions,
    on_progress: OnProgress = lambda _done, _total: None,
) -> ReplayReport:
    """Score the inputs of a range again, and compare with what was published or another version.

    Raises:
        UsageError: no broker answers, a topic or a version is missing, the range has no inputs or
            no scores, nothing could be compared, or the file cannot be written.
        RetryableError: the topics could not be read to their ends.
    """
    begun = time.monotonic()
    model = _bundle(options.bundles, options.model)
    is_published = options.against == PUBLISHED
    other = None if is_published else _bundle(options.bundles, options.against)
    scope = open_scope(settings, options.since, options.until, with_scores=is_published)
    labels = read_labels(settings, settings.labels_topic) if options.with_labels else None
    with ExitStack() as stack:
        writer = stack.enter_context(writing(options.out))
        resolver = stack.enter_context(using_resolver(settings, "fraud_score"))
        decoder = TransactionDecoder(stack.enter_context(using_resolver(settings)))
        published = PublishedSide(
            lambda partition: _pages(scope, partition, options.stall_seconds),
            ScoreReader(resolver, settings.input_topic),
            resolver,
        )
        replayer = _Replayer(
            ModelSide(model),
            published if other is None else ModelSide(other),
            Histories(options.histories, [b for b in (model, other) if b is not None]),
            writer,
            LabelledScores(labels, scope.total) if labels is not None else None,
        )
        dead_letters = _DeadLetters()
        refused = _refused(scope, options, dead_letters)
        layout = _layout(model, other)
        skipped = _run(scope, options, replayer, decoder, refused, layout, on_progress)
        _check(scope, options, replayer.summary, skipped)
        quality = replayer.quality.as_json() if replayer.quality else None
    seconds, problems = time.monotonic() - begun, tuple(dead_letters.problems)
    return ReplayReport(options, replayer.summary, skipped, quality, seconds, problems)


def _refused(scope: ReplayScope, options: ReplayOptions, faults: InputFaults) -> Refused:
    """The inputs of the range that were never accepted."""
    found = read_dead_letters(
        scope.settings,
        scope.group,
        scope.dead_letters,
        stall_seconds=options.stall_seconds,
        faults=faults,
    )
    spans = scope.inputs
    return {
        p: offsets[(offsets >= spans[p].low) & (offsets < spans[p].high)]
        for p, offsets in refused_inputs(found).items()
    }


def _bundle(bundles: BundlesByVersion, version: str) -> Bundle:
    found = bundles.get(version)
    if isinstance(found, NoBundle):
        known = ", ".join(bundles.versions()[-10:]) or "none"
        raise UsageError(f"{found.reason}; versions in the store: {known}")
    return found


def _layout(model: Bundle, other: Bundle | None) -> Layout | None:
    """The columns to decode; None for all, which two models with different features need."""
    layout = model.features.layout
    return layout if other is None or other.features.layout == layout else None


def _pages(scope: ReplayScope, partition: int, stall_seconds: float) -> Iterator[Records]:
    """The published records of a partition, in offset order."""
    topic = scope.settings.output_topic
    if (span := scope.scores.get(partition)) is None:
        return
    spans = {partition: span}
    for messages in read_spans(scope.settings, scope.group, topic, spans, stall_seconds):
        for _, records in by_partition(messages):
            yield records


class _Skipped:
    """Counts inputs that cannot be read; the state of histories is then unknown."""

    def __init__(self, histories: HistorySource) -> None:
        self.reasons = Counter[str]()
        self._histories = histories

    def removed(self, topic: str, partition: int, wanted: int, low: int) -> None:
        """Inputs were removed by retention since the replay began."""
        del topic
        self._lose(partition, "it was removed before it was read", low - wanted)

    def unreadable(self, topic: str, partition: int, batch: PassedBatch) -> None:
        """A batch cannot be unpacked."""
        del topic
        number = batch.next_offset - batch.begin
        self._lose(partition, "it is in a batch that cannot be unpacked", number)

    def undecodable(self, topic: str, partition: int, offset: int, reason: str) -> None:
        """An input cannot be decoded."""
        del topic, offset, reason
        self._lose(partition, _UNDECODABLE, 1)

    def _lose(self, partition: int, reason: str, number: int) -> None:
        self.reasons[reason] += number
        self._histories.lose(partition, f"an input is missing: {reason}")


class _Replayer:
    """Scores inputs on both sides, and passes them on."""

    def __init__(
        self,
        model: ModelSide,
        other: ModelSide | PublishedSide,
        histories: Histories,
        writer: RowWriter | None,
        quality: LabelledScores | None,
    ) -> None:
        self.summary = Summary()
        self.quality = quality
        self._model = model
        self._other = other
        self._histories = histories
        self._writer = writer

    def add(self, rows: InputRows) -> None:
        """Replay inputs of one partition.

        Raises:
            OSError: the file cannot be written.
        """
        for part in self._histories.cut(rows):
            self._add(part)

    def _add(self, rows: InputRows) -> None:
        attached = self._histories.attach(rows)
        now = self._model.score(rows, attached)
        if isinstance(self._other, PublishedSide):
            before = self._other.score(rows.partition, rows.offsets)
        else:
            before = self._other.score(rows, attached)
        explain: tuple[Explain, Explain] = (self._other.explain, self._model.explain)
        self.summary.add(rows.partition, rows.offsets, rows.batch.ids, before, now, explain)
        self._judge(rows, before, now)

    def _judge(self, rows: InputRows, before: Scored, now: Scored) -> None:
        label = None
        if self.quality is not None:
            both = np.flatnonzero(before.is_there & now.is_there)
            transactions = rows.batch.ids[both]
            self.quality.add(transactions, before.scores[both], now.scores[both])
            label = self.quality.find(rows.batch.ids)
        if self._writer is not None:
            self._writer.write(
                make_columns(rows.partition, rows.offsets, rows.batch, now, before, label)
            )


def _run(
    scope: ReplayScope,
    options: ReplayOptions,
    replayer: _Replayer,
    decoder: TransactionDecoder,
    refused: Refused,
    layout: Layout | None,
    on_progress: OnProgress,
) -> Counter[str]:
    """Replay one partition after the other; returns why inputs were not replayed."""
    settings, group, stall_seconds = scope.settings, scope.group, options.stall_seconds
    skipped = _Skipped(options.histories)
    done = 0
    on_progress(0, scope.total)
    for partition, span in sorted(scope.inputs.items()):
        if number := len(refused.get(partition, ())):
            skipped.reasons[_REFUSED] += number
        for rows in read_inputs(
            settings, group, {partition: span}, decoder, refused,
            layout=layout, stall_seconds=stall_seconds, faults=skipped,
        ):  # fmt: skip
            replayer.add(rows)
            on_progress(done + rows.next_offset - span.low, scope.total)
        done += span.high - span.low
        on_progress(done, scope.total)
    return skipped.reasons


class _DeadLetters:
    """Notes dead letters that cannot be read: their inputs are replayed if they can be decoded."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def removed(self, topic: str, partition: int, wanted: int, low: int) -> None:
        """Dead letters were removed by retention since the replay began."""
        self._note(topic, partition, wanted, low, "were removed")

    def unreadable(self, topic: str, partition: int, batch: PassedBatch) -> None:
        """A batch of dead letters cannot be unpacked."""
        self._note(topic, partition, batch.begin, batch.next_offset, "cannot be unpacked")

    def undecodable(self, topic: str, partition: int, offset: int, reason: str) -> None:
        """Dead letters are not decoded."""

    def _note(self, topic: str, partition: int, begin: int, end: int, what: str) -> None:
        self.problems.append(
            f"the dead letters {begin} to {end - 1} of {topic} partition {partition} {what}: "
            "inputs that had been rejected may be among the replayed ones"
        )


def _check(
    scope: ReplayScope, options: ReplayOptions, summary: Summary, skipped: Mapping[str, int]
) -> None:
    """Refuse a replay that compared nothing: its figures would look like an answer.

    Raises:
        UsageError: always then; the message has the reason.
    """
    if summary.compared:
        return
    reasons = by_number({**skipped, **summary.unscored})
    if options.against == PUBLISHED and summary.inputs and not summary.unscored.keys() - {NO_SCORE}:
        raise UsageError(no_scores(scope.settings))
    why = "; ".join(f"{number:,} inputs: {reason}" for reason, number in reasons[:3])
    raise UsageError(f"no input of the range could be compared: {why or 'there is none'}")
