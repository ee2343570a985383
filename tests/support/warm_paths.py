"""Runs every path through the compiled loops that a service takes, with small and large batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Final

from dashboard.predicting import predict
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import encode_transactions_json
from stream_scorer.audit.records.score_reader import ScoreReader
from stream_scorer.model.bundle import Bundle
from stream_scorer.stream.outcome import Outcome
from tests.support.factories import make_batch, make_bundle, make_transactions
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


ALL: Final[tuple[Callable[[], None], ...]] = (stream, shim, audit)
