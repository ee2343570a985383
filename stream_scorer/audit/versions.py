"""Which inputs each model version scored, so that a bad one's can be scored again. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from stream_scorer.audit.findings import Interval, Outcomes

MOST_INTERVALS: Final = 1000
"""Of one version in one partition; what comes after is taken into the last of them."""


class VersionRanges:
    """Counts scores by model version, and keeps the intervals they form in each partition."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.intervals: dict[tuple[str, int], list[Interval]] = {}
        self._latest: dict[int, str] = {}

    def add(self, outcomes: Outcomes) -> None:
        """Scores of one partition, in its order; dead letters are ignored."""
        versions = outcomes.versions
        if not len(versions) or versions[0] < 0:
            return
        starts = np.flatnonzero(np.diff(versions, prepend=-1)).tolist()
        for start, stop in zip(starts, [*starts[1:], len(versions)], strict=True):
            sources, times = outcomes.source_offsets[start:stop], outcomes.times[start:stop]
            self._extend(
                outcomes.version_names[versions[start]],
                outcomes.partition,
                Interval(
                    int(sources.min()),
                    int(sources.max()),
                    int(times.min()),
                    int(times.max()),
                    stop - start,
                ),
            )

    def begin_run(self) -> None:
        """Count anew; the intervals stay."""
        self.counts.clear()

    def as_state(self) -> dict[str, Any]:
        """For :meth:`from_state`."""
        return {
            "counts": dict(self.counts),
            "latest": {str(p): v for p, v in self._latest.items()},
            "intervals": [
                [version, partition, [list(asdict(i).values()) for i in intervals]]
                for (version, partition), intervals in self.intervals.items()
            ],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> VersionRanges:
        """What :meth:`as_state` gave."""
        ranges = cls()
        ranges.counts.update(state["counts"])
        ranges._latest = {int(p): v for p, v in state["latest"].items()}
        for version, partition, rows in state["intervals"]:
            ranges.intervals[version, partition] = [Interval(*row) for row in rows]
        return ranges

    def _extend(self, version: str, partition: int, interval: Interval) -> None:
        self.counts[version] += interval.count
        known = self.intervals.setdefault((version, partition), [])
        goes_on = self._latest.get(partition) == version
        if known and (goes_on or len(known) >= MOST_INTERVALS):
            known[-1].extend(interval)
        else:
            known.append(interval)
        self._latest[partition] = version


def affected(
    intervals: dict[tuple[str, int], list[Interval]] | Any, version: str
) -> list[dict[str, Any]]:
    """What a version scored: one entry a partition, whole and in intervals."""
    return [
        {"partition": partition, **_whole(found), "intervals": [asdict(i) for i in found]}
        for (name, partition), found in sorted(intervals.items())
        if name == version
    ]


def _whole(intervals: Iterable[Interval]) -> dict[str, int]:
    first, *rest = intervals
    whole = Interval(**asdict(first))
    for interval in rest:
        whole.extend(interval)
    return asdict(whole)
