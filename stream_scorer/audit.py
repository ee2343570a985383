"""The proof behind ``stream-scorer verify``: one outcome for each input, order kept. Pure.

Inputs are added first, then outcomes, both as columns. What is kept is a byte (how often it has
an outcome) and a 32-bit key hash for each offset of an input partition, so ten million inputs
take some 60 MB whatever their size.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.findings import (
    Coordinates,
    Fault,
    Kind,
    Offender,
    Outcomes,
    PartitionRange,
    Span,
    Spans,
    Verdict,
)

_ABSENT: Final = 255
"""Marks an offset that holds no data record: a txn marker, an aborted record, a compacted one."""

_MOST: Final = 254  # an input with more outcomes than this has 254: enough to be a fault


@dataclass(slots=True)
class _Inputs:
    """One input partition: its span, and a cell for each offset from ``low`` on."""

    low: int
    high: int
    cells: NDArray[np.uint8]
    keys: NDArray[np.uint32]
    count: int = 0
    first: int | None = None
    last: int | None = None


class _Unmatched(NamedTuple):
    """Outcomes that found no input yet: coordinates of both, int64 ``[n]`` each."""

    kind: Kind
    partition: int
    offsets: NDArray[np.int64]
    sources: NDArray[np.int64]


@dataclass(slots=True)
class _Log:
    """One partition of an outcome topic, as read so far."""

    digest: Any = field(default_factory=hashlib.sha256)
    last_source: int = -1
    first_source: int | None = None
    count: int = 0


class Audit:
    """Collects inputs and outcomes, then judges.

    Args:
        inputs: the span of each input partition that must have outcomes.
        limit: how many offenders are named; all are counted.
    """

    def __init__(self, inputs: Spans, limit: int = 20) -> None:
        self._inputs = {
            p: _Inputs(
                span.low,
                span.high,
                np.full(span.high - span.low, _ABSENT, np.uint8),
                np.zeros(span.high - span.low, np.uint32),
            )
            for p, span in inputs.items()
        }
        self._logs: dict[tuple[Kind, int], _Log] = {}
        self._limit = limit
        self._faults: Counter[Fault] = Counter()
        self._offenders: list[Offender] = []
        self._unmatched: dict[int, list[_Unmatched]] = {}
        self._expired = 0
        self._later = 0

    def add_inputs(
        self, partition: int, offsets: NDArray[np.int64], key_hashes: NDArray[np.uint32]
    ) -> None:
        """Data records of one input partition, in its order."""
        if not len(offsets):
            return
        inputs = self._inputs[partition]
        cells = offsets - inputs.low
        inputs.cells[cells] = 0
        inputs.keys[cells] = key_hashes
        inputs.count += len(offsets)
        inputs.first = int(offsets[0]) if inputs.first is None else inputs.first
        inputs.last = int(offsets[-1])

    def add_outcomes(self, outcomes: Outcomes) -> None:
        """Outcomes of one partition, in its order; all inputs must be there."""
        if not len(outcomes.offsets):
            return
        log = self._logs.setdefault((outcomes.kind, outcomes.partition), _Log())
        log.count += len(outcomes.offsets)
        log.digest.update(_coordinates(outcomes))
        if log.first_source is None:
            log.first_source = int(outcomes.source_offsets[0])
        elsewhere = outcomes.source_partitions != outcomes.partition
        known = np.isin(outcomes.source_partitions, list(self._inputs))
        self._blame(Fault.ORPHAN, outcomes, ~known)
        self._blame(Fault.WRONG_PARTITION, outcomes, elsewhere & known)
        if outcomes.kind is Kind.SCORE:
            self._check_order(outcomes, log, ~elsewhere)
        for partition in np.unique(outcomes.source_partitions[known]).tolist():
            self._count(outcomes, partition, outcomes.source_partitions == partition)

    def add_unreadable(self, kind: Kind, partition: int, offset: int) -> None:
        """An outcome that does not say whose it is."""
        self._note(Offender(Fault.UNREADABLE, kind, Coordinates(partition, offset), None))

    def finish(self, now: Spans, lost_heads: Mapping[Kind, Spans] | None = None) -> Verdict:
        """The verdict.

        Args:
            now: the input's spans after everything was read: outcomes of inputs that retention
                has removed, or that came after the audit began, are no orphans.
            lost_heads: spans of the outcome topics; where one no longer begins at 0, retention
                took outcomes away, and inputs before the first that is left are not judged.
        """
        self._judge_orphans(now)
        ranges = [
            self._judge_missing(p, self._judged_from(p, lost_heads or {}))
            for p in sorted(self._inputs)
        ]
        return Verdict(
            faults={fault: self._faults[fault] for fault in Fault},
            offenders=tuple(self._offenders),
            partitions=tuple(ranges),
            scores=self._total(Kind.SCORE),
            dead_letters=self._total(Kind.DEAD_LETTER),
            expired=self._expired,
            later=self._later,
            digest=self._digest(),
        )

    def _count(self, outcomes: Outcomes, partition: int, mine: NDArray[np.bool_]) -> None:
        """Count the outcomes of one input partition at their inputs."""
        inputs = self._inputs[partition]
        cells = outcomes.source_offsets - inputs.low
        inside = mine & (cells >= 0) & (cells < len(inputs.cells))
        present = inside.copy()
        present[inside] = inputs.cells[cells[inside]] != _ABSENT
        self._remember(outcomes, partition, mine & ~present & (cells >= 0))
        self._expired += int(np.count_nonzero(mine & (cells < 0)))
        rows = np.flatnonzero(present)
        where = cells[rows]
        unique, first, times = np.unique(where, return_index=True, return_counts=True)
        again = np.ones(len(rows), np.bool_)
        again[first] = inputs.cells[unique] > 0
        self._blame(Fault.DUPLICATE, outcomes, _mask(len(cells), rows[again]))
        wrong = inputs.keys[where] != outcomes.key_hashes[rows]
        self._blame(Fault.WRONG_KEY, outcomes, _mask(len(cells), rows[wrong]))
        inputs.cells[unique] = np.minimum(inputs.cells[unique].astype(np.int64) + times, _MOST)

    def _remember(self, outcomes: Outcomes, partition: int, rows: NDArray[np.bool_]) -> None:
        if rows.any():
            self._unmatched.setdefault(partition, []).append(
                _Unmatched(
                    outcomes.kind,
                    outcomes.partition,
                    outcomes.offsets[rows],
                    outcomes.source_offsets[rows],
                )
            )

    def _check_order(self, outcomes: Outcomes, log: _Log, here: NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(here)
        if not len(rows):
            return
        sources = outcomes.source_offsets[rows]
        highest = np.maximum.accumulate(np.concatenate([[log.last_source], sources]))
        # Equal is a duplicate and counted as such.
        self._blame(Fault.OUT_OF_ORDER, outcomes, _mask(len(here), rows[sources < highest[:-1]]))
        log.last_source = int(highest[-1])

    def _judge_orphans(self, now: Spans) -> None:
        for partition, parts in self._unmatched.items():
            high, span = self._inputs[partition].high, now[partition]
            for part in parts:
                expired = part.sources < span.low
                later = (part.sources >= high) & (part.sources < span.high)
                self._expired += int(np.count_nonzero(expired))
                self._later += int(np.count_nonzero(later))
                for i in np.flatnonzero(~expired & ~later).tolist():
                    outcome = Coordinates(part.partition, int(part.offsets[i]))
                    source = Coordinates(partition, int(part.sources[i]))
                    self._note(Offender(Fault.ORPHAN, part.kind, outcome, source))

    def _judged_from(self, partition: int, lost_heads: Mapping[Kind, Spans]) -> int:
        judged_from = self._inputs[partition].low
        for kind, spans in lost_heads.items():
            log = self._logs.get((kind, partition))
            if spans.get(partition, Span(0, 0)).low > 0 and log and log.first_source is not None:
                judged_from = max(judged_from, log.first_source)
        return judged_from

    def _judge_missing(self, partition: int, judged_from: int) -> PartitionRange:
        inputs = self._inputs[partition]
        missing = np.flatnonzero(inputs.cells == 0) + inputs.low
        not_judged = int(np.count_nonzero(missing < judged_from))
        missing = missing[(missing >= judged_from) & (missing < inputs.high)]
        self._faults[Fault.MISSING] += len(missing)
        for offset in missing[: self._room()].tolist():
            source = Coordinates(partition, offset)
            self._offenders.append(Offender(Fault.MISSING, None, None, source))
        return PartitionRange(
            partition=partition,
            first=inputs.first,
            last=inputs.last,
            inputs=inputs.count,
            scores=self._written(Kind.SCORE, partition),
            dead_letters=self._written(Kind.DEAD_LETTER, partition),
            missing=len(missing),
            not_judged=not_judged,
        )

    def _written(self, kind: Kind, partition: int) -> int:
        log = self._logs.get((kind, partition))
        return log.count if log else 0

    def _total(self, kind: Kind) -> int:
        return sum(log.count for (of, _), log in self._logs.items() if of is kind)

    def _digest(self) -> str:
        """One digest of the partitions' own, so that the order of reading plays no part."""
        whole = hashlib.sha256()
        for (kind, partition), log in sorted(self._logs.items()):
            whole.update(f"{kind}:{partition}:{log.digest.hexdigest()}\n".encode())
        return whole.hexdigest()

    def _blame(self, fault: Fault, outcomes: Outcomes, rows: NDArray[np.bool_]) -> None:
        found = np.flatnonzero(rows)
        self._faults[fault] += len(found)
        for i in found[: self._room()].tolist():
            source_partition = int(outcomes.source_partitions[i])
            source = Coordinates(source_partition, int(outcomes.source_offsets[i]))
            outcome = Coordinates(outcomes.partition, int(outcomes.offsets[i]))
            self._offenders.append(
                Offender(fault, outcomes.kind, outcome, source if source_partition >= 0 else None)
            )

    def _note(self, offender: Offender) -> None:
        self._faults[offender.fault] += 1
        if self._room():
            self._offenders.append(offender)

    def _room(self) -> int:
        return max(0, self._limit - len(self._offenders))


def _mask(size: int, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = np.zeros(size, np.bool_)
    mask[rows] = True
    return mask


def _coordinates(outcomes: Outcomes) -> bytes:
    table = np.stack(
        [outcomes.offsets, outcomes.source_partitions, outcomes.source_offsets], axis=1
    )
    return table.astype("<i8").tobytes()
