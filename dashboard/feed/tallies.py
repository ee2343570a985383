"""Counts every score by model version and minute, without decoding its record.

Most records have the thresholds and the version of the record before, and nearly its time. These
bytes are compared with the last ones, and are decoded only where they differ.
"""

from __future__ import annotations

import math
from typing import Final

from dashboard.cache.score_counts import BIN_EDGES, MINUTE_MS, SCORE_BINS, ScoreKey, Tally
from dashboard.feed.prefix import Prefix, Stamp, read_stamp, read_varint

_DOUBLES: Final = 16  # bytes of the two thresholds
_LOW_BYTES: Final = 3  # of a varint: its lowest 21 bits
_TIME_BYTES: Final = 6  # of a time from 1987 to 2109 as a varint
_MOST_VERSION_CHARS: Final = 100


class Tallies:
    """Adds to the counts given to :meth:`continue_in`. Used by one thread."""

    def __init__(self) -> None:
        self._found: dict[ScoreKey, Tally] = {}
        self._head = b""  # thresholds and version of the last record
        self._high = b"no time"
        self._high_value = 0
        self._first = self._end = 0  # times of the minute of the tally in use, as zigzag integers
        self._key = ScoreKey("", 0.0, 0.0, -1)
        self._tally = Tally()

    def continue_in(self, found: dict[ScoreKey, Tally]) -> None:
        """Add what follows to these counts."""
        self._found = found
        self._first = self._end = 0

    def add(self, value: bytes, prefix: Prefix) -> None:
        """Count the score record with this prefix. Called for every record, so it is one piece.

        Raises:
            ValueError: the record is truncated, or its thresholds are not finite.
        """
        score, is_flagged, is_blocked, at = prefix
        if not self._head or not value.startswith(self._head, at):
            self._read_head(value, at)
        at += len(self._head)
        raw = self._end  # the time as a zigzag integer, or one outside the minute
        if value.startswith(self._high, at + _LOW_BYTES):
            a, b, c = value[at : at + _LOW_BYTES]
            if a & b & c & 0x80 and not a & 1:  # an odd zigzag integer is negative
                raw = self._high_value | a & 0x7F | (b & 0x7F) << 7 | (c & 0x7F) << 14
        if not self._first <= raw < self._end:
            self._find(self._key._replace(minute=self._scored_at(value, at) // MINUTE_MS))
        tally = self._tally
        tally.scored += 1
        if is_flagged:
            tally.flagged += 1
            tally.blocked += is_blocked
        number = int(score * SCORE_BINS)
        if score >= BIN_EDGES[number + 1]:
            number += 1
        elif score < BIN_EDGES[number]:
            number -= 1
        tally.bins[number] = tally.bins.get(number, 0) + 1

    def add_decoded(self, stamp: Stamp, prefix: Prefix) -> None:
        """Count a record that was decoded in full, because its fields are in another order.

        Raises:
            ValueError: its thresholds are not finite.
        """
        self._head = b""
        self._find(_key_of(stamp, stamp.scored_at // MINUTE_MS))
        self._tally.add(prefix.score, is_flagged=prefix.is_flagged, is_blocked=prefix.is_blocked)

    def _read_head(self, value: bytes, at: int) -> None:
        stamp = read_stamp(value, at)
        length, text = read_varint(value, at + _DOUBLES)
        self._key = _key_of(stamp, -1)
        self._head = value[at : text + length]
        self._first = self._end = 0

    def _scored_at(self, value: bytes, at: int) -> int:
        """The time that starts at ``at``. Its high bytes change every 17 minutes."""
        scored_at, end = read_varint(value, at)
        if end == at + _TIME_BYTES and scored_at >= 0:
            self._high = value[at + _LOW_BYTES : end]
            self._high_value = scored_at << 1 >> 21 << 21
        return scored_at

    def _find(self, key: ScoreKey) -> None:
        """Go on with the tally of a key. Times of its minute are even zigzag integers."""
        self._first = key.minute * MINUTE_MS * 2
        self._end = self._first + MINUTE_MS * 2
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = Tally()
        self._tally = found


def _key_of(stamp: Stamp, minute: int) -> ScoreKey:
    if not (math.isfinite(stamp.review_threshold) and math.isfinite(stamp.block_threshold)):
        raise ValueError("its thresholds are not finite numbers")
    version = stamp.model_version[:_MOST_VERSION_CHARS]
    return ScoreKey(version, stamp.review_threshold, stamp.block_threshold, minute)
