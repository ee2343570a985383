"""Compiles the scorer's kernels ahead of time, so that the first start does not have to.

numba caches the machine code next to the sources (or in ``NUMBA_CACHE_DIR``), keyed by the
processor. An image that must start without compiling on other machines is built with a fixed
``NUMBA_CPU_NAME``.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch, build_batch
from schemas.contracts import AvroSchema, load_schema, schema_fingerprint
from schemas.framing import prefix
from schemas.resolver import LocalSchemas
from schemas.scores.writer import encode_scores
from schemas.transactions.codec import (
    TransactionDecoder,
    encode_transactions,
    encode_transactions_json,
)
from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.history.warm import warm_history
from stream_scorer.model.calibration import parse_calibration, to_scores
from stream_scorer.model.forest import kernel
from stream_scorer.model.forest.layout import MISSING_NAN, Forest, Tree, assemble
from stream_scorer.model.forest.predictor import SCAN_FROM_ROWS, ForestPredictor
from stream_scorer.model.scoring import REASONS
from stream_scorer.state.placement import count_misplaced, partitions_of

TOPIC: Final = "transactions"


class _NestedWriter(LocalSchemas):
    """A registry with one schema, ours and a nested field without bytes."""

    def by_id(self, _: int) -> AvroSchema:
        """A schema for the reference decoder, whatever the id is."""
        nothing = {"type": "record", "name": "Nothing", "fields": []}
        ours = load_schema("transaction")
        return {**ours, "fields": [*ours["fields"], {"name": "nested", "type": nothing}]}


def warm() -> float:
    """Run each kernel of the scorer process once on a row or two; the seconds this took."""
    started = time.monotonic()
    row = {"TransactionID": 1, "TransactionDT": 86400, "TransactionAmt": 1.0, "card1": 1.0}
    batch = build_batch([{**row, "card4": "visa", "event_time": 1}])
    values = [*encode_transactions(batch), *encode_transactions_json(batch)]
    decoded = TransactionDecoder(LocalSchemas()).decode(values, [None, None])
    nested = TransactionDecoder(_NestedWriter()).decode(encode_transactions(batch, 1), [None])
    if nested.rejections:
        raise AssertionError(nested.rejections)
    matrix = FeatureSet.unfitted(load_builtin(IEEE_CIS)).transform(decoded.batch)
    predictor = ForestPredictor(_stump(matrix.shape[1]))
    raw = predictor.raw(matrix)
    predictor.raw(np.repeat(matrix, SCAN_FROM_ROWS, axis=0))
    contributions = predictor.contributions(matrix)
    kernel.find_largest(contributions, np.empty((len(contributions), REASONS), np.int64))
    identity = parse_calibration({"x": [0.0, 1.0], "y": [0.0, 1.0]})
    scores = to_scores(raw, identity)
    encode_sample_scores(decoded.batch, scores)
    warm_history(build_batch([row, {**row, "card1": 2.0}]))
    count_misplaced(batch, partitions_of(np.ones(len(batch), np.int64), 1), 1)
    return time.monotonic() - started


def encode_sample_scores(batch: TransactionBatch, scores: NDArray[np.float64]) -> list[bytes]:
    """The scores of a batch, encoded as the scorer encodes them."""
    return encode_scores(
        prefix(schema_fingerprint(load_schema("fraud_score")), None),
        batch,
        scores,
        np.ones(len(scores), np.uint8),
        {0: [("TransactionAmt", "1", 0.5)]},
        (0.5, 0.9),
        "v1",
        0,
        TOPIC,
        np.zeros(len(scores), np.int32),
        np.zeros(len(scores), np.int64),
    )


def _stump(n_features: int) -> Forest:
    """One tree with one split, with arrays of the same types as a parsed model."""
    tree = Tree(
        np.array([0]),
        np.array([0.5]),
        np.array([MISSING_NAN]),
        np.array([True]),
        np.array([~0]),
        np.array([~1]),
        np.array([-1.0, 1.0]),
        np.array([0.0]),
    )
    return assemble([tree], n_features)
