"""Reads all training rows into memory: each transaction once, labelled, in time order."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.csv.codec import CsvChunk
from stream_scorer.errors import UsageError
from stream_scorer.labels.labels import Labels
from trainer.data.duplicates import find_repeats
from trainer.data.files import Advance
from trainer.data.label_file import read_label_file
from trainer.data.labels import Labelling, label_rows
from trainer.data.memory import available_memory
from trainer.data.rows import Part, TrainingRows
from trainer.data.source import TrainingSource

log = logging.getLogger(__name__)

_MEMORY_SHARE: Final = 0.9
"""Of the available memory; what is trained on the rows needs the rest and more."""

_GIB: Final = 2**30


def ingest(source: TrainingSource, advance: Advance) -> TrainingRows:
    """Read a source to its end.

    Rows that repeat an earlier one are dropped, rows whose label is not known are left out, and the
    others are sorted by time; equal times keep the order of the file. The facts have the counts.

    Raises:
        UsageError: the label column is missing, has only one class, or the rows do not fit into
            memory.
        UnusableFileError: a file is invalid.
    """
    labels = read_labels(source.labelling)
    read = _read(source, advance, has_labels=labels is not None)
    facts = source.facts()
    name = facts["source"]
    own = np.concatenate(read.labels) if read.labels else None
    is_repeat = find_repeats(read.chunks, own, read.place, name)
    rows = _arrange(read, own, ~is_repeat, source.labelling, labels, facts)
    frauds = int(rows.labels.sum())
    if frauds in (0, len(rows)):
        of = "" if labels is None else f" with the labels of {source.labelling.source}"
        raise UsageError(
            f"{name}: all {len(rows)} rows have isFraud = {int(frauds > 0)}{of}; training needs "
            "both classes"
        )
    _log(rows.facts, name)
    return rows


def read_labels(labelling: Labelling) -> Labels | None:
    """The labels that take precedence over ``isFraud``; None if there are none.

    Raises:
        UsageError, UnusableFileError, RetryableError, FatalError: they cannot be read.
    """
    if labelling.source is None:
        return None
    from trainer.data.label_topic import is_topic, read_label_topic  # Kafka takes time to import

    if is_topic(labelling.source):
        return read_label_topic(labelling.source)
    return read_label_file(labelling.source, labelling.settings)


@dataclass(slots=True)
class _Read:
    """What was read, in the order of the source."""

    chunks: list[TransactionBatch] = field(default_factory=list)
    labels: list[NDArray[np.int8]] = field(default_factory=list)
    places: list[Callable[[int], str]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0

    def add(self, chunk: CsvChunk) -> None:
        """Append a chunk."""
        batch = chunk.batch
        self.chunks.append(batch)
        self.places.append(chunk.place)
        self.starts.append(self.rows)
        self.rows += len(batch)
        self.bytes += batch.numbers.nbytes + batch.starts.nbytes + batch.lengths.nbytes
        self.bytes += batch.text.nbytes
        if chunk.labels is not None:
            self.labels.append(chunk.labels)

    def place(self, row: int) -> str:
        """Where a row is in the file."""
        at = bisect_right(self.starts, row) - 1
        return self.places[at](row - self.starts[at])


def read_unlabelled(
    source: TrainingSource, advance: Advance
) -> tuple[TrainingRows, Callable[[int], str]]:
    """All rows but repeats, in time order, whose labels are not known; and where each row is.

    Raises:
        UsageError: the rows do not fit into memory.
        UnusableFileError: a file is invalid.
    """
    read = _read(source, advance, has_labels=None)
    facts = source.facts()
    is_repeat = find_repeats(read.chunks, None, read.place, facts["source"])
    kept = np.flatnonzero(~is_repeat)
    times = np.concatenate([chunk.times for chunk in read.chunks])[kept]
    order = kept[np.argsort(times, kind="stable")]
    rows = TrainingRows(
        read.chunks,
        np.zeros(len(order), np.int8),
        np.sort(times),
        facts,
        _places(order, read.rows),
    )
    return rows, lambda row: read.place(int(order[row]))


def _read(source: TrainingSource, advance: Advance, *, has_labels: bool | None) -> _Read:
    """Read all rows; ``has_labels`` says whether there are other labels, None that none matter."""
    read = _Read()
    free = available_memory()
    for chunk in source.chunks(advance):
        if chunk.labels is None and not read.rows and has_labels is not None:
            has_lines = chunk.place(0).startswith("line")
            where = source.facts()["source"] + (", line 1" if has_lines else "")
            _check_unlabelled(where, source.labelling, has_labels=has_labels)
        read.add(chunk)
        if free is not None and read.bytes > free * _MEMORY_SHARE:
            raise UsageError(
                f"{source.facts()['source']}: the first {read.rows:,} rows alone need "
                f"{read.bytes / _GIB:.1f} GiB of memory, and {free / _GIB:.1f} GiB are available: "
                "train on fewer rows, or give the trainer more memory"
            )
    return read


def _check_unlabelled(where: str, labelling: Labelling, *, has_labels: bool) -> None:
    """Refuse a file without labels, unless others are there and a row can be too young for them."""
    if not has_labels:
        raise UsageError(
            f"{where}: no column isFraud; training needs labels (is this a test file?). If they "
            "are elsewhere, use --labels SOURCE"
        )
    if labelling.maturity_days is None:
        raise UsageError(
            f"{where}: no column isFraud, so a row without a label counts as legitimate once it is "
            "old enough for a chargeback: say how old with --maturity-days N"
        )


def _arrange(
    read: _Read,
    own: NDArray[np.int8] | None,
    is_kept: NDArray[np.bool_],
    labelling: Labelling,
    labels: Labels | None,
    facts: dict[str, Any],
) -> TrainingRows:
    """The kept rows with their labels, in time order."""
    kept = np.flatnonzero(is_kept)
    times = np.concatenate([chunk.times for chunk in read.chunks])[kept]
    ids = np.concatenate([chunk.ids for chunk in read.chunks])[kept]
    own = None if own is None else own[kept]
    labelled = label_rows(ids, times, own, labels, labelling.maturity_days)
    facts["rows_read"] = read.rows
    facts["duplicates_dropped"] = read.rows - len(kept)
    facts["out_of_order"] = int((times < np.maximum.accumulate(times)).sum())
    facts |= labelled.facts
    everything = np.argsort(times, kind="stable")
    order = everything[labelled.is_kept[everything]]
    positions = seen = None
    if facts["out_of_order"] or len(order) < read.rows:
        positions = _places(kept[order], read.rows)
    if len(order) < len(everything):
        seen = _places(kept[everything], read.rows)
    return TrainingRows(read.chunks, labelled.values[order], times[order], facts, positions, seen)


def _places(rows: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """For each of ``total`` rows its place in ``rows``, or -1."""
    places = np.full(total, -1, np.int64)
    places[rows] = np.arange(len(rows))
    return places


def _log(facts: dict[str, Any], name: str) -> None:
    if facts["duplicates_dropped"]:
        log.warning(
            "%s: dropped %d of %d rows that repeat an earlier row",
            name, facts["duplicates_dropped"], facts["rows_read"],
        )  # fmt: skip
    if facts["out_of_order"]:
        log.warning(
            "%s: sorted by TransactionDT, since %d of %d rows were out of order",
            name, facts["out_of_order"], facts["rows_read"],
        )  # fmt: skip
    if (maturity := facts.get("maturity")) is not None:
        log.info(
            "%s: left out %d rows that are younger than %g days",
            name, maturity["left_out"], maturity["days"],
        )  # fmt: skip
    if (found := facts.get("labels")) is not None:
        log.info(
            "%s: %d labels belong to rows (%d differ from isFraud, %d rows left out as UNSURE), %d "
            "belong to none",
            found["source"], found["matched"], found["changed"], found["unsure_left_out"],
            found["unmatched"],
        )  # fmt: skip


__all__ = ["Part", "TrainingRows", "ingest", "read_labels"]
