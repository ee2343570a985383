"""Turns score records into what the dashboard keeps: counts of all, rows of the flagged ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from dashboard.cache.flag import Flag, build_flag
from dashboard.cache.flag_table import HISTOGRAM_BINS, Counts
from dashboard.feed.prefix import Prefix, PrefixReader, Stamp
from schemas.records import decode_record
from schemas.resolver import SchemaResolver

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Unsaved:
    """What has been read since the last save.

    Attributes:
        flags: the flagged transactions, in topic order.
        positions: the next offset to read in each partition that had records.
        scored: the number of scores.
        stamp: the stamp of the last readable record.
    """

    flags: list[Flag] = field(default_factory=list)
    positions: dict[int, int] = field(default_factory=dict)
    scored: int = 0
    stamp: Stamp | None = None


class FlagReader:
    """Reads batches of records. A record that cannot be decoded is counted and skipped.

    Used by one thread.
    """

    def __init__(self, topic: str, resolver: SchemaResolver) -> None:
        self._topic = topic
        self._resolver = resolver
        self._prefixes = PrefixReader(resolver)

    def read(
        self, records: Sequence[tuple[int, int, bytes | None]], unsaved: Unsaved, counts: Counts
    ) -> None:
        """Add ``records`` to ``unsaved`` and ``counts``."""
        last: bytes | None = None
        histogram = counts.histogram
        for partition, offset, value in records:
            unsaved.positions[partition] = offset + 1
            try:
                score, is_flagged = self._read_one(partition, offset, value, unsaved)
            except (ValueError, LookupError, TypeError) as error:
                counts.unreadable += 1
                log.warning(
                    "cannot decode the score record %s-%d-%d: %s",
                    self._topic, partition, offset, error,
                )  # fmt: skip
                continue
            last = value
            unsaved.scored += 1
            counts.scored += 1
            counts.flagged += is_flagged
            histogram[min(int(score * HISTOGRAM_BINS), HISTOGRAM_BINS - 1)] += 1
        if last is not None:
            unsaved.stamp = self._stamp(last) or unsaved.stamp

    def _read_one(
        self, partition: int, offset: int, value: bytes | None, unsaved: Unsaved
    ) -> Prefix:
        prefix = self._prefixes.read(value or b"")
        if prefix is not None and not prefix.is_flagged:
            return prefix
        record = decode_record("fraud_score", value, self._resolver)
        if not record["is_flagged"]:
            return Prefix(record["score"], False)
        flag = build_flag(record, self._topic, partition, offset)
        unsaved.flags.append(flag)
        return Prefix(flag.score, True)

    def _stamp(self, value: bytes) -> Stamp | None:
        try:
            return self._prefixes.stamp(value)
        except ValueError:
            return None
