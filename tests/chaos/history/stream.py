"""Synthetic transactions of many cards: the first ones train the models, the others are sent."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.contracts import NUMBER_INDEX
from schemas.transactions.codec import encode_transactions
from stream_scorer.cli.produce import card_keys
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.program import Program
from stream_scorer.state.placement import partitions_of
from tests.chaos.feed import BAD_BYTES, NOT_UTF8, Sent
from tests.support.history.models import HistoryModels
from trainer.data.ingest import ingest
from trainer.data.labels import Labelling
from trainer.data.rows import join_rows
from trainer.data.source import SyntheticSource
from trainer.history.rows import compute_history
from trainer.history.seed import make_seed

TRAINING_ROWS: Final = 2_500
BAD_EVERY: Final = 499
"""A prime. After each such record comes one that is no transaction."""
REFUSED_EVERY: Final = 809
"""A prime. Before each such record comes a copy with a header name that is not UTF-8: it could be
decoded, but it is refused, so it must never advance a history."""
LONG_KEY_EVERY: Final = 401
"""A prime. The key of such a record, and so its score, is longer than the output topic accepts. It
becomes a dead letter of the stage ``publish``, and belongs to its card's history."""
LONG_KEY_BYTES: Final = 24_000
OUTPUT_BYTES: Final = 16_000
"""``max.message.bytes`` of the output topic until dead letters are redriven."""

NO_CARD: Final = b"none"
_ENCODE_ROWS: Final = 2_000


@dataclass(frozen=True, slots=True)
class TrainerFeatures:
    """What the trainer computes for the rows that are sent: one pass over all rows.

    Attributes:
        ids: ``TransactionID``, int64 ``[n]``.
        times: ``TransactionDT``, int64 ``[n]``.
        values: the features of history, float64 ``[n, features]``.
    """

    ids: NDArray[np.int64]
    times: NDArray[np.int64]
    values: NDArray[np.float64]

    def after(self, time: int) -> TrainerFeatures:
        """Those of later rows."""
        kept = self.times > time
        return TrainerFeatures(self.ids[kept], self.times[kept], self.values[kept])


@dataclass(frozen=True, slots=True)
class HistoryStream:
    """The data set of one campaign.

    Attributes:
        models: trained on the first rows.
        trainer: the trainer's features of the rows that are sent.
        values: their records.
        keys: their keys, as producers choose them.
        partitions: where these keys lead.
    """

    models: HistoryModels
    trainer: TrainerFeatures
    values: list[bytes]
    keys: list[bytes]
    partitions: NDArray[np.int32]

    @property
    def total(self) -> int:
        """Number of records."""
        n = len(self.values)
        return n + n // BAD_EVERY + n // REFUSED_EVERY

    def __iter__(self) -> Iterator[Sent]:
        """The records, in order."""
        noise = random.Random(len(self.values))
        rows = zip(self.values, self.keys, self.partitions.tolist(), strict=True)
        for number, (value, key, partition) in enumerate(rows, 1):
            if number % REFUSED_EVERY == 0:
                yield Sent(value, key, partition, NOT_UTF8)
            long_key = key if number % LONG_KEY_EVERY else key.ljust(LONG_KEY_BYTES, b"-")
            yield Sent(value, long_key, partition)
            if number % BAD_EVERY == 0:
                yield Sent(b"no transaction" + noise.randbytes(BAD_BYTES), key, partition)

    def add_partition(self) -> None:
        """Not possible: cards would move to other partitions.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("the partitions of a topic with card history are fixed")


def make_stream(
    rows: int,
    partitions: int,
    program: Program,
    *,
    seed: int = 1,
    has_seed: bool = False,
    overlap: int = 0,
) -> HistoryStream:
    """``rows`` records of synthetic transactions, after those that the models learn from.

    Args:
        rows: to send.
        partitions: of the topic.
        program: the features.
        seed: of the data.
        has_seed: versions bring the histories after the training rows along.
        overlap: how many of the last training rows are sent as well.
    """
    spec = program.history
    assert spec is not None
    source = SyntheticSource(TRAINING_ROWS - overlap + rows, seed, Labelling())
    ingested = ingest(source, lambda _: None)
    history = compute_history(ingested, spec, lambda _: None).columns
    batch = join_rows(ingested).batch.with_history(history)
    training = batch.take(slice(TRAINING_ROWS))
    seeded = None
    if has_seed:
        own = PartitionHistory(spec)
        _, undo = own.columns(training, np.arange(len(training)), np.ones(len(training), np.bool_))
        own.settle(undo)
        seeded = make_seed(own, training.times)
    sent = batch.take(slice(TRAINING_ROWS - overlap, None))
    return HistoryStream(
        HistoryModels(program, training, seeded),
        TrainerFeatures(sent.ids, sent.times, history.values[TRAINING_ROWS - overlap :]),
        _encode(sent),
        [key or NO_CARD for key in card_keys(sent)],
        _places(sent, partitions),
    )


def _encode(batch: TransactionBatch) -> list[bytes]:
    """In pieces: the columns of all rows together take several times the memory of records."""
    values: list[bytes] = []
    for start in range(0, len(batch), _ENCODE_ROWS):
        values += encode_transactions(batch.take(slice(start, start + _ENCODE_ROWS)))
    return values


def _places(batch: TransactionBatch, partitions: int) -> NDArray[np.int32]:
    """Where producers send these rows; a row without a card may go anywhere."""
    cards = np.nan_to_num(batch.numbers[:, NUMBER_INDEX["card1"]]).astype(np.int64)
    return partitions_of(cards, partitions)
