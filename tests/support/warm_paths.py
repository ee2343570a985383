"""Runs every path through the compiled loops that a service takes, with small and large batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np

from dashboard.predicting import predict
from schemas.batch import TransactionBatch, build_batch
from schemas.contracts import NUMBER_INDEX
from schemas.layout import Layout
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import (
    TransactionDecoder,
    encode_transactions,
    encode_transactions_json,
)
from stream_scorer.audit.records.score_reader import ScoreReader
from stream_scorer.features.history.partition import PartitionHistory, records_sum
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.model.bundle import Bundle
from stream_scorer.state.placement import count_misplaced, partitions_of
from stream_scorer.stream.outcome import Outcome
from tests.support.factories import make_batch, make_bundle, make_transactions
from tests.support.features.history_streams import (
    count_alone,
    every_kind,
    every_row,
    make_rows,
)
from tests.support.scoring_kit import (
    INPUT,
    NOW_MS,
    OUTPUT,
    make_pipeline,
    make_polled,
    make_value,
    make_values,
)

_SIZES: Final = (1, 2, 40, 400)


@cache
def _bundle() -> Bundle:
    return make_bundle()


def _stream(values: list[bytes | None]) -> Outcome:
    return make_pipeline().process(make_polled(values), _bundle(), NOW_MS)


def stream() -> None:
    """The scorer's paths: Avro, JSON, mixed and invalid records."""
    for size in _SIZES:
        avro, jsons = make_values(size), list(encode_transactions_json(make_batch(size, 5)))
        spoilt = [*avro, b"", None, b"{", make_value()[:-3]]
        for values in (avro, jsons, [*avro, *jsons], spoilt):
            assert _stream(list(values)).scored >= size


def shim() -> None:
    """``/predict``."""
    for size in _SIZES:
        body = json.dumps({"transactions": make_transactions(size)}).encode()
        assert len(predict(body, _bundle()).predictions) == size


def audit() -> None:
    """The paths of ``verify``: complete and truncated scores."""
    for size in _SIZES:
        scores = [r.value for r in _stream(make_values(size)).records if r.topic == OUTPUT]
        cut = [value[:-5] if value else b"" for value in scores]
        for values in (scores, cut, [*scores, *cut], [*scores, b"", None]):
            ScoreReader(LocalSchemas("fraud_score"), INPUT).sources(list(values))


def history() -> None:
    """The paths of card history: complete and narrow batches, and whatever forgets or restores."""
    spec = every_kind()
    layout = Layout([column for column in spec.columns if column in NUMBER_INDEX])
    for size in _SIZES:
        values = encode_transactions(build_batch(make_rows(size, 5, seconds=40_000)))
        for kept in (None, layout):
            batch = TransactionDecoder(LocalSchemas()).decode(values, [None] * size, kept).batch
            _advance(spec, batch, max_keys=20)
            _advance(count_alone(), batch.take(slice(0, size)), max_keys=2**30)


def _advance(spec: HistorySpec, batch: TransactionBatch, max_keys: int) -> None:
    n, past = len(batch), PartitionHistory(spec, max_keys)
    out = np.empty((n, len(spec.names)))
    every, some = np.arange(n), np.flatnonzero(np.arange(n) % 3 == 0)
    past.rollback(past.step(batch, some, every_row(n), out))
    first = past.step(batch, every[: n // 2], every % 2 == 0, out)
    second = past.step(batch, every[::2], every_row(n), out)
    past.copy()
    places = partitions_of(np.arange(n), 3)
    assert count_misplaced(batch, places, 3) <= n
    past.settle(first)
    past.settle(second)
    past.peek(batch, some[:1], out)
    records = past.records()
    for words in records.spaces.values():
        words.flags.writeable = False
    assert PartitionHistory.restore(spec, records).check_sum() == records_sum(spec, records)


ALL: Final[tuple[Callable[[], None], ...]] = (stream, shim, audit, history)
