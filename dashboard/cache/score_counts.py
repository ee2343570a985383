"""Running counts of all scores by model version and time: no query scans the scores themselves.

They are saved with the offsets of the records that they count, so they are exact after a restart
and the same after a rebuild.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dashboard.cache.connection import reading

log = logging.getLogger(__name__)

SCORE_BINS: Final = 1000
BIN_EDGES: Final = (*(number / SCORE_BINS for number in range(SCORE_BINS)), math.inf, math.inf)
"""The lower edge of each bin. The last bin includes 1."""

MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
_MINUTES_OF_A_DAY: Final = 1440
_BIN: Final = np.dtype("<u4")  # of one bin of one day, as stored

SCORE_TABLES: Final = ("score_bins", "score_totals", "minutes")
SCORE_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS score_bins (
    version TEXT NOT NULL, day INTEGER NOT NULL, counts BLOB NOT NULL,
    PRIMARY KEY (version, day));
CREATE TABLE IF NOT EXISTS score_totals (
    version TEXT NOT NULL, day INTEGER NOT NULL, review REAL NOT NULL, block REAL NOT NULL,
    scored INTEGER NOT NULL, flagged INTEGER NOT NULL, blocked INTEGER NOT NULL,
    PRIMARY KEY (version, day, review, block)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS minutes (
    minute INTEGER PRIMARY KEY, scored INTEGER NOT NULL, flagged INTEGER NOT NULL);
"""

# What is kept. A record may have any time, version and thresholds, whatever wrote it. So the tables
# have limits of their own, and what was made up must not displace what was scored.
_MOST_GROUPS: Final = 1000  # of one version and one day: a year of days with some overlap
_NEWEST_GROUPS: Final = 500  # that stay for their day; of the others, those with most scores stay
_LARGEST_GROUPS: Final = 400
_MOST_PAIRS: Final = 40  # of thresholds, of one group: they change with a deployment
_LARGEST_PAIRS: Final = 20
_MOST_MINUTES: Final = 31 * _MINUTES_OF_A_DAY
_AHEAD_MINUTES: Final = _MINUTES_OF_A_DAY
"""A later score is not counted by time: no clock of a scorer is a day ahead."""


class ScoreKey(NamedTuple):
    """What is counted together: the scores of one minute by one model and its thresholds."""

    version: str
    review_threshold: float
    block_threshold: float
    minute: int


@dataclass(slots=True)
class Tally:
    """Counts of scores. ``bins`` has those bins of :func:`bin_of` that are not empty."""

    scored: int = 0
    flagged: int = 0
    blocked: int = 0
    bins: dict[int, int] = field(default_factory=dict)

    def add(self, score: float, *, is_flagged: bool, is_blocked: bool) -> None:
        """Count one score."""
        self.scored += 1
        self.flagged += is_flagged
        self.blocked += is_blocked
        number = bin_of(score)
        self.bins[number] = self.bins.get(number, 0) + 1


class ThresholdTotals(NamedTuple):
    """Exact counts at the thresholds that the scorer used: the decisions it made."""

    review_threshold: float
    block_threshold: float
    scored: int
    flagged: int
    blocked: int


@dataclass(frozen=True, slots=True)
class ScoreCounts:
    """The scores of one version on whole UTC days.

    Attributes:
        version: the model version.
        since: the start of the first day, in epoch milliseconds.
        until: the end of the last day, exclusive.
        bins: ``bins[i]`` counts scores from ``i / 1000`` (inclusive) to ``(i + 1) / 1000``
            (exclusive); the last bin includes 1.
        totals: exact counts at the thresholds, which may lie between two edges of bins.
        days: the days with a score, as epoch milliseconds of their start, and their number of
            scores.
    """

    version: str
    since: int
    until: int
    bins: list[int]
    totals: list[ThresholdTotals]
    days: dict[int, int]


class Point(NamedTuple):
    """Scores from ``start`` (epoch milliseconds) until the next point."""

    start: int
    scored: int
    flagged: int


def bin_of(score: float) -> int:
    """The bin of a score, so that ``score >= i / 1000`` exactly if its bin is at least ``i``.

    The product alone is not enough: 0.57 * 1000 is 569.99….
    """
    number = int(score * SCORE_BINS)
    if score >= BIN_EDGES[number + 1]:
        return number + 1
    return number - 1 if score < BIN_EDGES[number] else number


class ScoreCounter:
    """Adds tallies to the tables. Its caller commits. ``clock`` gives epoch seconds."""

    def __init__(self, db: sqlite3.Connection, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._clock = clock
        self._misdated = 0
        self._pairs = Counter[tuple[str, int]]()  # upper bounds, by group
        for version, day, pairs in db.execute(
            "SELECT version, day, count(*) FROM score_totals GROUP BY version, day"
        ):
            self._pairs[version, day] = pairs
        self._minutes: int = db.execute("SELECT count(*) FROM minutes").fetchone()[0]

    def add(self, tallies: Mapping[ScoreKey, Tally]) -> None:
        """Add counts, and delete what is beyond the limits.

        Scores of more than a day from now are left out: they count in no version and no minute.
        """
        totals = []
        bins: dict[tuple[str, int], NDArray[np.uint32]] = {}
        minutes: dict[int, list[int]] = {}
        latest = self._latest()
        for key, tally in tallies.items():
            if key.minute > latest:
                self._note_misdated(key, tally)
                continue
            group = key.version, key.minute // _MINUTES_OF_A_DAY
            totals.append(
                (*group, key.review_threshold, key.block_threshold, tally.scored, tally.flagged,
                 tally.blocked)
            )  # fmt: skip
            if group not in bins:
                bins[group] = self._read_bins(group)
            bins[group][list(tally.bins)] += np.fromiter(tally.bins.values(), np.uint32)
            minute = minutes.setdefault(key.minute, [0, 0])
            minute[0] += tally.scored
            minute[1] += tally.flagged
        self._db.executemany(
            "INSERT INTO score_totals VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "scored = scored + excluded.scored, flagged = flagged + excluded.flagged, "
            "blocked = blocked + excluded.blocked",
            totals,
        )
        self._db.executemany(
            "INSERT INTO score_bins VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET counts = excluded.counts",
            [(*group, counts.tobytes()) for group, counts in bins.items()],
        )
        self._add_minutes(minutes)
        self._pairs.update(row[:2] for row in totals)
        for group in bins:
            if self._pairs[group] > _MOST_PAIRS:
                self._trim_pairs(group)
        if len(self._pairs) > _MOST_GROUPS:
            self._trim_groups()

    def _latest(self) -> int:
        """The last minute that a score can have."""
        return int(self._clock() * 1000) // MINUTE_MS + _AHEAD_MINUTES

    def _note_misdated(self, key: ScoreKey, tally: Tally) -> None:
        if not self._misdated:
            log.warning(
                "a score of version %s is dated %d days from now: such scores are in the totals "
                "and the list, and are not counted by day and minute",
                key.version, key.minute // _MINUTES_OF_A_DAY - int(self._clock()) // 86_400,
            )  # fmt: skip
        self._misdated += tally.scored

    def _read_bins(self, group: tuple[str, int]) -> NDArray[np.uint32]:
        row = self._db.execute(
            "SELECT counts FROM score_bins WHERE version = ? AND day = ?", group
        ).fetchone()
        return np.zeros(SCORE_BINS, _BIN) if row is None else np.frombuffer(row[0], _BIN).copy()

    def _add_minutes(self, minutes: Mapping[int, list[int]]) -> None:
        self._db.executemany(
            "INSERT INTO minutes VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET "
            "scored = scored + excluded.scored, flagged = flagged + excluded.flagged",
            [(minute, *counts) for minute, counts in minutes.items()],
        )
        self._minutes += len(minutes)  # at most: some of them were there
        if self._minutes > _MOST_MINUTES * 1.1:
            self._db.execute(
                "DELETE FROM minutes WHERE minute NOT IN "
                "(SELECT minute FROM minutes WHERE minute <= ? ORDER BY minute DESC LIMIT ?)",
                (self._latest(), _MOST_MINUTES),
            )
            self._minutes = self._db.execute("SELECT count(*) FROM minutes").fetchone()[0]

    def _trim_pairs(self, group: tuple[str, int]) -> None:
        """Keep the thresholds with most scores, if there really are too many."""
        where = "WHERE version = ? AND day = ?"
        count = f"SELECT count(*) FROM score_totals {where}"  # noqa: S608 - our own text
        found: int = self._db.execute(count, group).fetchone()[0]
        if found > _MOST_PAIRS:
            self._db.execute(
                f"DELETE FROM score_totals {where} AND (review, block) NOT IN "  # noqa: S608
                f"(SELECT review, block FROM score_totals {where} "
                "ORDER BY scored DESC, review, block LIMIT ?)",
                (*group, *group, _LARGEST_PAIRS),
            )
            found = _LARGEST_PAIRS
        self._pairs[group] = found

    def _trim_groups(self) -> None:
        """Keep the newest groups and, of the others, those with most scores.

        Not the newest alone: whoever can write to the topic could then displace the days of the
        models in use with a score of each of a thousand versions.
        """
        rows = self._db.execute(
            "SELECT version, day, sum(scored) FROM score_totals GROUP BY version, day "
            "ORDER BY day > ?, day DESC, sum(scored) DESC, version",
            (self._latest() // _MINUTES_OF_A_DAY,),
        ).fetchall()
        others = sorted(rows[_NEWEST_GROUPS:], key=lambda row: row[2], reverse=True)
        for version, day, _ in others[_LARGEST_GROUPS:]:
            for table in ("score_bins", "score_totals"):
                self._db.execute(
                    f"DELETE FROM {table} WHERE version = ? AND day = ?",  # noqa: S608
                    (version, day),
                )
            del self._pairs[version, day]


def read_score_counts(path: Path, version: str, since: int, until: int) -> ScoreCounts:
    """The scores of one version on the UTC days that ``since`` to ``until`` touches.

    Both are epoch milliseconds, ``until`` is inclusive.
    """
    first, last = since // DAY_MS, until // DAY_MS
    where = "WHERE version = ? AND day BETWEEN ? AND ?"
    bins = np.zeros(SCORE_BINS, np.int64)
    days: dict[int, int] = {}
    with reading(path) as db:
        for day, stored in db.execute(
            f"SELECT day, counts FROM score_bins {where}",  # noqa: S608
            (version, first, last),
        ):
            counts = np.frombuffer(stored, _BIN)
            bins += counts
            days[day * DAY_MS] = int(counts.sum())
        totals = [
            ThresholdTotals(*row)
            for row in db.execute(
                "SELECT review, block, sum(scored), sum(flagged), sum(blocked) "  # noqa: S608
                f"FROM score_totals {where} GROUP BY review, block "
                "ORDER BY max(day) DESC, review, block",
                (version, first, last),
            )
        ]
    since, until = first * DAY_MS, (last + 1) * DAY_MS
    return ScoreCounts(version, since, until, bins.tolist(), totals, days)


def read_score_versions(path: Path) -> list[tuple[str, int, int]]:
    """The versions with scores, newest first: version, first and last day.

    Days are epoch milliseconds of their start.
    """
    with reading(path) as db:
        return [
            (version, first * DAY_MS, last * DAY_MS)
            for version, first, last in db.execute(
                "SELECT version, min(day), max(day) FROM score_totals GROUP BY version "
                "ORDER BY max(day) DESC, version DESC"
            )
        ]


def read_timeseries(path: Path, since: int, until: int, step: int) -> list[Point]:
    """Scores in steps of ``step`` milliseconds (whole minutes), without those that have none.

    ``since`` and ``until`` are epoch milliseconds, ``until`` is inclusive.
    """
    width = max(1, step // MINUTE_MS)
    with reading(path) as db:
        return [
            Point(number * width * MINUTE_MS, scored, flagged)
            for number, scored, flagged in db.execute(
                "SELECT minute / :width AS step, sum(scored), sum(flagged) FROM minutes "
                "WHERE minute BETWEEN :first AND :last GROUP BY step ORDER BY step",
                {"width": width, "first": since // MINUTE_MS, "last": until // MINUTE_MS},
            )
        ]
