"""Reads records of the output and dead letter topics into columns."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.records import UndecodableRecord
from schemas.rejections import ERROR_HEADERS
from stream_scorer.audit.records.columns import Coordinates, OutcomeKind, Outcomes
from stream_scorer.audit.records.digest import leaves
from stream_scorer.audit.records.score_reader import (
    ScoreReader,
    SourceColumns,
    SourceCoordinates,
    unattributed,
)
from stream_scorer.dead_letters.headers import error_headers
from stream_scorer.kafka.driver import Message
from stream_scorer.kafka.messages import headers_of


def dead_letter_source(message: Message) -> SourceCoordinates:
    """Coordinates of a dead letter's input.

    Raises:
        UndecodableRecord: a header with the coordinates is missing or not a number.
    """
    found = error_headers(headers_of(message))
    try:
        return SourceCoordinates(found["topic"], int(found["partition"]), int(found["offset"]))
    except KeyError as error:
        raise UndecodableRecord(f"header {ERROR_HEADERS}{error.args[0]} is missing") from None
    except ValueError as error:
        raise UndecodableRecord(f"a header is not a number: {error}") from None


def key_hash(key: bytes | str | None) -> int:
    """CRC-32 of a key; a missing key differs from an empty one."""
    if key is None:
        return 0xFFFFFFFF
    return zlib.crc32(key.encode() if isinstance(key, str) else key)


class OutcomeReader:
    """Reads outcomes of one kind; those without readable source coordinates are set apart."""

    def __init__(self, kind: OutcomeKind, input_topic: str, scores: ScoreReader) -> None:
        self._kind = kind
        self._input_topic = input_topic
        self._scores = scores

    def read(self, partition: int, records: list[Message]) -> tuple[Outcomes, list[Coordinates]]:
        """Read records of one partition into columns; also the coordinates of unreadable ones."""
        offsets = offsets_of(records)
        values = [message.value() for message in records]
        is_score = self._kind is OutcomeKind.SCORE
        found = self._scores.sources(values) if is_score else self._dead_letters(records)
        places = np.stack([offsets, found.partitions, found.offsets], axis=1)
        outcomes = Outcomes(
            self._kind,
            partition,
            offsets,
            found.partitions,
            found.offsets,
            key_hashes_of(records),
            times_of(records),
            leaves(places, values),
            found.versions,
            found.transactions,
            found.is_plausible,
            self._scores.version_names if is_score else (),
        )
        if found.is_readable.all():
            return outcomes, []
        unreadable = [Coordinates(partition, o) for o in offsets[~found.is_readable].tolist()]
        return outcomes.take(found.is_readable), unreadable

    def _dead_letters(self, records: list[Message]) -> SourceColumns:
        found = unattributed(len(records))
        for row, message in enumerate(records):
            try:
                source = dead_letter_source(message)
            except UndecodableRecord:
                found.is_readable[row] = False
                continue
            if source.topic == self._input_topic and are_offsets(source[1:]):
                found.partitions[row], found.offsets[row] = source.partition, source.offset
        return found


def are_offsets(numbers: Iterable[Any]) -> bool:
    """Whether all numbers are possible partitions or offsets."""
    return all(0 <= number < 2**62 for number in numbers)


def offsets_of(records: list[Message]) -> NDArray[np.int64]:
    """Offsets of records, int64 ``[n]``."""
    return np.array([message.offset() for message in records], np.int64)


def key_hashes_of(records: list[Message]) -> NDArray[np.uint32]:
    """Hashes of the keys of records, uint32 ``[n]``."""
    return np.array([key_hash(message.key()) for message in records], np.uint32)


def times_of(records: list[Message]) -> NDArray[np.int64]:
    """Timestamps of records, epoch milliseconds, int64 ``[n]``."""
    return np.array([message.timestamp()[1] for message in records], np.int64)
