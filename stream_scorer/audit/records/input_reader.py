"""Reads records of the input topic into columns, and decodes a sample of them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.transactions.codec import TransactionDecoder
from stream_scorer.audit.records.columns import NOT_DECODED, NOT_SAMPLED, Inputs
from stream_scorer.audit.records.outcome_reader import (
    are_offsets,
    key_hashes_of,
    offsets_of,
    times_of,
)
from stream_scorer.kafka.driver import Message
from stream_scorer.kafka.messages import headers_of
from stream_scorer.runtime.text import as_text

_REDRIVEN: Final = "redrive."  # as stream_scorer.dead_letters.redrive writes its origin headers


class InputReader:
    """Reads inputs, and the transaction ids of a sample.

    Args:
        dlq_topic: the dead letter topic that redriven inputs come from.
        decoder: the decoder that scorers use.
        sample: decode one input in ``sample``, the same ones in each audit; 0 decodes none.
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
            self._transactions(records, offsets),
            _origins(records, self._dlq_topic),
        )

    def _transactions(
        self, records: list[Message], offsets: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        found = np.full(len(records), NOT_SAMPLED, np.int64)
        rows = np.flatnonzero(is_sampled(offsets, self._sample))
        if not len(rows):
            return found
        chosen = [records[row] for row in rows.tolist()]
        decoded = self._decoder.decode(
            [message.value() for message in chosen],
            [headers_of(message) or None for message in chosen],
        )
        found[rows] = NOT_DECODED
        found[rows[decoded.kept]] = decoded.batch.ids
        return found


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
