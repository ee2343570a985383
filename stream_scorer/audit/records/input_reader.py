"""Reads records of the input topic into columns, and decodes some of them.

A sample is decoded, and each record that looks as if it cannot be decoded: a null value, or one
that is too long or begins as no format does.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.framing import MAX_RECORD_BYTES, SCHEMA_ID_HEADER
from schemas.rejections import Stage
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.audit.records.columns import NOT_HASHED, Content, Inputs
from stream_scorer.audit.records.digest import value_hash
from stream_scorer.audit.records.outcome_reader import (
    are_offsets,
    is_sampled,
    key_hashes_of,
    offsets_of,
    times_of,
)
from stream_scorer.kafka.driver import Message
from stream_scorer.kafka.messages import headers_of
from stream_scorer.runtime.text import as_text

_FIRST_BYTES: Final = frozenset(b"\x00\xc3{ \t\r\n")
"""What a value that can be decoded begins with, unless a header names its schema."""

_REDRIVEN: Final = "redrive."  # as stream_scorer.dead_letters.redrive writes its origin headers


class InputReader:
    """Reads inputs, and the transaction ids of a sample.

    Args:
        dlq_topic: the dead letter topic that redriven inputs come from.
        decoder: the decoder that scorers use.
        sample: decode one input in ``sample``, the same ones in each audit.
    """

    def __init__(self, dlq_topic: str, decoder: TransactionDecoder, sample: int) -> None:
        self._dlq_topic = dlq_topic
        self._decoder = decoder
        self._sample = sample

    def read(self, partition: int, records: list[Message]) -> Inputs:
        """Read records of one partition into columns.

        Raises:
            RetryableError: the registry does not answer.
        """
        offsets = offsets_of(records)
        return Inputs(
            partition,
            offsets,
            key_hashes_of(records),
            times_of(records),
            *self._contents(records, offsets),
            _origins(records, self._dlq_topic),
        )

    def _contents(
        self, records: list[Message], offsets: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The columns ``contents``, ``transactions``, ``event_times`` and ``value_hashes``."""
        size = len(records)
        contents = np.full(size, Content.NOT_SAMPLED, np.uint8)
        transactions, event_times = np.zeros(size, np.int64), np.zeros(size, np.int64)
        hashes = np.full(size, NOT_HASHED, np.int64)
        values = [message.value() for message in records]
        wanted = is_sampled(offsets, self._sample)
        wanted[[row for row in _odd_looking(values) if not _names_schema(records[row])]] = True
        rows = np.flatnonzero(wanted)
        if len(rows):
            chosen = [values[row] for row in rows.tolist()]
            headers = [headers_of(records[row]) or None for row in rows.tolist()]
            decoded = self._decoder.decode(chosen, headers)
            contents[rows] = Content.REJECTED
            unknown = [r.index for r in decoded.rejections if r.stage is Stage.SCHEMA]
            contents[rows[unknown]] = Content.UNKNOWN
            contents[rows[decoded.kept]] = Content.DECODED
            transactions[rows[decoded.kept]] = decoded.batch.ids
            event_times[rows[decoded.kept]] = decoded.batch.event_times
            hashes[rows] = [value_hash(value) for value in chosen]
        return contents, transactions, event_times, hashes


def _odd_looking(values: list[bytes | None]) -> list[int]:
    """Rows of values that cannot be decoded, unless a header names their schema."""
    return [
        row
        for row, value in enumerate(values)
        if not value or value[0] not in _FIRST_BYTES or len(value) > MAX_RECORD_BYTES
    ]


def _names_schema(message: Message) -> bool:
    return bool(message.value()) and any(n == SCHEMA_ID_HEADER for n, _ in headers_of(message))


def _origins(records: list[Message], dlq_topic: str) -> NDArray[np.int64]:
    """The redriven inputs: offset, then partition and offset of the dead letter."""
    rows = []
    for message in records:
        headers = message.headers()
        if not headers:
            continue
        found = {n: as_text(v) for n, v in headers_of(message) if n.startswith(_REDRIVEN)}
        if found.get(_REDRIVEN + "topic") != dlq_topic:
            continue
        try:
            origin = [int(found[_REDRIVEN + part]) for part in ("partition", "offset")]
        except (KeyError, ValueError):  # anybody can write such headers; ours are complete
            continue
        if are_offsets(origin):
            rows.append([message.offset(), *origin])
    return np.array(rows, np.int64).reshape(-1, 3)
