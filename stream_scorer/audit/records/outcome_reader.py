"""Reads records of the output and dead letter topics into columns."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.framing import Headers
from schemas.records import UndecodableRecord
from schemas.rejections import CUT_HEADER, ERROR_HEADERS, Stage
from stream_scorer.audit.records.columns import (
    NOT_HASHED,
    Coordinates,
    Mark,
    OutcomeKind,
    Outcomes,
)
from stream_scorer.audit.records.digest import leaves, value_hash
from stream_scorer.audit.records.results import is_chosen
from stream_scorer.audit.records.score_facts import SourceCoordinates
from stream_scorer.audit.records.score_reader import ScoreReader, SourceColumns, unattributed
from stream_scorer.dead_letters.headers import error_headers
from stream_scorer.dead_letters.repeats import NOT_ACCEPTED
from stream_scorer.kafka.messages import Records
from stream_scorer.runtime.text import as_text

NO_KEY: Final = 0xFFFFFFFF
"""In place of the hash of a key, for a record without one."""

_NUMBER: Final = re.compile(r"-?[0-9]{1,19}")
_VERSION_HEADER: Final = "model-version"
_STAGES: Final = frozenset(Stage)
_RECORD_STAGES: Final = (Stage.FRAMING, Stage.DECODE, Stage.VALIDATE)
"""Stages that depend on the record alone. What failed at another one may succeed today."""


def dead_letter_source(headers: Headers) -> SourceCoordinates:
    """Coordinates of a dead letter's input.

    Raises:
        UndecodableRecord: a header with the coordinates is missing or not a number.
    """
    return _source_of(error_headers(headers))


def _source_of(errors: Mapping[str, str]) -> SourceCoordinates:
    try:
        numbers = [errors[name] for name in ("partition", "offset")]
        topic = errors["topic"]
    except KeyError as error:
        raise UndecodableRecord(f"header {ERROR_HEADERS}{error.args[0]} is missing") from None
    for text in numbers:
        if _NUMBER.fullmatch(text) is None:
            raise UndecodableRecord(f"a header is not a number: {text!r}")
    return SourceCoordinates(topic, *map(int, numbers))


def _marks_of(errors: Mapping[str, str]) -> Mark:
    """What a dead letter's headers say about why it is one."""
    stage = errors.get("stage")
    marks = Mark.REFUSED if stage in NOT_ACCEPTED else Mark(0)
    if stage not in _STAGES or not errors.get("exception.message", "").strip():
        return marks | Mark.UNEXPLAINED
    return marks | Mark.BLAMES_RECORD if stage in _RECORD_STAGES else marks


def key_hash(key: bytes | str | None) -> int:
    """CRC-32 of a key; a missing key differs from an empty one."""
    if key is None:
        return NO_KEY
    return zlib.crc32(key.encode() if isinstance(key, str) else key)


def _is_cut(headers: Headers, value: bytes | None) -> bool:
    """Whether a dead letter says that its value is only the beginning of its input's."""
    sizes = [as_text(size) for name, size in headers or () if name == CUT_HEADER]
    return any(_NUMBER.fullmatch(size) and int(size) > len(value or b"") for size in sizes)


class OutcomeReader:
    """Reads outcomes of one kind; those without readable source coordinates are set apart.

    Args:
        kind: scores or dead letters.
        input_topic: the topic whose records are the inputs.
        scores: reads scores.
        sample: compare the headers of one score in ``sample`` with the score; 0 compares none.
        recompute: read the results of scores, of which one in ``recompute`` is recomputed; 0: none.
    """

    def __init__(
        self,
        kind: OutcomeKind,
        input_topic: str,
        scores: ScoreReader,
        sample: int = 1,
        recompute: int = 0,
    ) -> None:
        self._kind = kind
        self._input_topic = input_topic
        self._scores = scores
        self._sample = sample
        self._recompute = recompute if kind is OutcomeKind.SCORE else 0

    def read(self, partition: int, records: Records) -> tuple[Outcomes, list[Coordinates]]:
        """Read records of one partition into columns; also the coordinates of unreadable ones."""
        offsets, values = records.offsets, records.values
        is_score = self._kind is OutcomeKind.SCORE
        hashes = np.full(len(records), NOT_HASHED, np.int64)
        if is_score:
            found = self._scores.sources(values)
            self._check_headers(records, found)
            if self._recompute:
                chosen = is_chosen(found.partitions, found.offsets, self._recompute)
                chosen &= found.is_readable & (found.partitions >= 0)
                self._scores.read_reasons(values, np.flatnonzero(chosen), found)
        else:
            found = self._dead_letters(records, hashes)
        places = np.stack([offsets, found.partitions, found.offsets], axis=1)
        outcomes = Outcomes(
            self._kind,
            partition,
            offsets,
            found.partitions,
            found.offsets,
            key_hashes(records.keys),
            records.times,
            leaves(places, values),
            found.versions,
            found.transactions,
            found.event_times,
            hashes,
            found.marks,
            self._scores.version_names if is_score else (),
            found.results if self._recompute else None,
        )
        if found.is_readable.all():
            return outcomes, []
        unreadable = [Coordinates(partition, o) for o in offsets[~found.is_readable].tolist()]
        return outcomes.take(found.is_readable), unreadable

    def _dead_letters(self, records: Records, hashes: NDArray[np.int64]) -> SourceColumns:
        found = unattributed(len(records))
        values = records.values
        for row, headers in enumerate(records.headers):
            errors = error_headers(headers)
            try:
                source = _source_of(errors)
            except UndecodableRecord:
                found.is_readable[row] = False
                continue
            if source.topic == self._input_topic and are_offsets(source[1:]):
                found.partitions[row], found.offsets[row] = source.partition, source.offset
            found.marks[row] = _marks_of(errors)
            if not _is_cut(headers, values[row]):
                hashes[row] = value_hash(values[row])
        return found

    def _check_headers(self, records: Records, found: SourceColumns) -> None:
        """Mark scores of the sample whose header names another model version than they do."""
        names = self._scores.version_names
        sampled = found.is_readable & is_sampled(records.offsets, self._sample)
        for row in np.flatnonzero(sampled).tolist():
            name = names[found.versions[row]]
            for header, value in records.headers[row] or ():
                if header == _VERSION_HEADER and as_text(value) != name:
                    found.marks[row] |= np.uint8(Mark.WRONG_VERSION)


def is_sampled(offsets: NDArray[np.int64], sample: int) -> NDArray[np.bool_]:
    """Which offsets belong to the sample of one in ``sample``.

    A hash of the offset decides, because every tenth offset may be a txn marker.
    """
    if sample <= 0:
        return np.zeros(len(offsets), np.bool_)
    # Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4): evenly spread over 64 bits.
    mixed = offsets.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    found: NDArray[np.bool_] = mixed <= np.uint64((2**64 - 1) // sample)
    return found


def are_offsets(numbers: Iterable[Any]) -> bool:
    """Whether all numbers are possible partitions or offsets."""
    return all(0 <= number < 2**62 for number in numbers)


def key_hashes(keys: Sequence[bytes | str | None]) -> NDArray[np.uint32]:
    """Hashes of the keys of records, uint32 ``[n]``."""
    crc32 = zlib.crc32
    try:  # the same as key_hash, without a call for each record
        hashes = [NO_KEY if key is None else crc32(key) for key in keys]  # type: ignore[arg-type]
    except TypeError:  # a key that is text
        hashes = [key_hash(key) for key in keys]
    return np.array(hashes, np.uint32)
