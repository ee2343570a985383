"""Turns score records into what the dashboard keeps: counts of all, rows of the flagged ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from dashboard.cache.flag import Flag, build_flag
from dashboard.cache.flag_table import Counts
from dashboard.cache.listed import HISTOGRAM_BINS
from dashboard.cache.score_counts import SCORE_BINS, ScoreKey, Tally
from dashboard.feed.places import SamplePlaces
from dashboard.feed.prefix import SAMPLED_FIELD, Prefix, PrefixReader, Stamp, read_stamp
from dashboard.feed.tallies import Tallies
from schemas.records import decode_record
from schemas.resolver import SchemaResolver
from stream_scorer.runtime.text import printable

log = logging.getLogger(__name__)


_NAMED: Final = 20
_REASON_CHARS: Final = 300
_SAMPLE_EVERY: Final = 16
_SAMPLED: Final = b"\x01"  # the last byte of a record that was sampled
_SMALL_BATCH: Final = 64  # records of which all are in the sample


class Sample(NamedTuple):
    """One of the scores that are measured. ``partition`` is that of the scores topic."""

    partition: int
    score: float
    stamp: Stamp


@dataclass(slots=True)
class Unsaved:
    """What has been read since the last save.

    Attributes:
        flags: the flagged and sampled transactions, in topic order.
        positions: the next offset to read in each partition that had records.
        scored: the number of scores.
        stamp: the stamp of the last readable record.
        tallies: counts of all scores, by model version and minute.
        unreadable: places of the first records that could not be read, each with the reason.
    """

    flags: list[Flag] = field(default_factory=list)
    positions: dict[int, int] = field(default_factory=dict)
    scored: int = 0
    stamp: Stamp | None = None
    tallies: dict[ScoreKey, Tally] = field(default_factory=dict)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


class FlagReader:
    """Reads batches of records. A record that cannot be decoded is counted and skipped.

    ``observe`` is called with a sample of the scores: all of a small batch, and one in 16 of a
    large one, by offset. Used by one thread.
    """

    def __init__(
        self,
        topic: str,
        resolver: SchemaResolver,
        input_topic: str,
        observe: Callable[[Sample], None] = lambda _: None,
    ) -> None:
        self._topic = topic
        self._resolver = resolver
        self._input_topic = input_topic
        self._prefixes = PrefixReader(resolver)
        self._tallies = Tallies()
        self._places = SamplePlaces()
        self._observe = observe

    def read(
        self, records: Sequence[tuple[int, int, bytes | None]], unsaved: Unsaved, counts: Counts
    ) -> None:
        """Add ``records`` to ``unsaved``, and to ``counts`` except for the histogram.

        The tallies have what the histogram is made of, see :func:`add_to_histogram`.
        """
        self._tallies.continue_in(unsaved.tallies)
        last: tuple[bytes | None, Prefix] | None = None
        scored = flagged = 0
        every = 1 if len(records) <= _SMALL_BATCH else _SAMPLE_EVERY
        for partition, offset, value in records:
            unsaved.positions[partition] = offset + 1
            try:
                prefix = self._read_one(partition, offset, value, unsaved)
            except (ValueError, LookupError, TypeError) as error:
                counts.unreadable += 1
                place = f"{self._topic}[{partition}]@{offset}"
                log.warning("cannot decode the score record %s: %s", place, error)
                if len(unsaved.unreadable) < _NAMED:
                    unsaved.unreadable.append((place, printable(str(error))[:_REASON_CHARS]))
                continue
            last = value, prefix
            scored += 1
            flagged += prefix.is_flagged
            if not offset % every and (stamp := self._stamp(*last)) is not None:
                self._observe(Sample(partition, prefix.score, stamp))
        unsaved.scored += scored
        counts.scored += scored
        counts.flagged += flagged
        if last is not None:
            unsaved.stamp = self._stamp(*last) or unsaved.stamp

    def _read_one(
        self, partition: int, offset: int, value: bytes | None, unsaved: Unsaved
    ) -> Prefix:
        prefix = self._prefixes.read(value or b"")
        if prefix is not None and not prefix.is_flagged and not (value or b"").endswith(_SAMPLED):
            self._tallies.add(value or b"", prefix)
            return prefix
        record = decode_record("fraud_score", value, self._resolver)
        if prefix is None:
            prefix = _prefix_of(record)
        flag, own = None, (self._topic, partition, offset, self._input_topic)
        if prefix.is_flagged:
            flag = build_flag(record, *own)
            self._places.note(partition, flag.expected_loss)
        elif record[SAMPLED_FIELD]:
            flag = build_flag(record, *own, self._places.choose(partition, record["source"]))
        self._tallies.add_decoded(_stamp_of(record), prefix)
        if flag is not None:
            unsaved.flags.append(flag)
        return prefix

    def _stamp(self, value: bytes | None, prefix: Prefix) -> Stamp | None:
        """The stamp of a record that was counted. None if it ends inside the stamp.

        Counting reads the times only as far as it must, so it does not notice that.
        """
        if not prefix.end:
            return _stamp_of(decode_record("fraud_score", value, self._resolver))
        try:
            return read_stamp(value or b"", prefix.end)
        except ValueError:
            return None


def add_to_histogram(histogram: list[int], tallies: Iterable[Tally]) -> None:
    """Add tallies to a histogram of :data:`HISTOGRAM_BINS` bins."""
    width = SCORE_BINS // HISTOGRAM_BINS
    for tally in tallies:
        for number, count in tally.bins.items():
            histogram[number // width] += count


def _prefix_of(record: Mapping[str, Any]) -> Prefix:
    """The prefix of a record that was decoded in full.

    Raises:
        ValueError: the score is not from 0 to 1.
    """
    score = float(record["score"])
    if not 0.0 <= score <= 1.0:
        raise ValueError("the score is not from 0 to 1")
    return Prefix(score, bool(record["is_flagged"]), record["decision"] == "BLOCK", 0)


def _stamp_of(record: Mapping[str, Any]) -> Stamp:
    return Stamp(
        record["review_threshold"],
        record["block_threshold"],
        record["model_version"],
        record["scored_at"],
        record["event_time"],
    )
