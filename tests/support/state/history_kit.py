"""Small histories for tests: a spec, bundles that read it, and transactions of few cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import numpy as np

from schemas.batch import HistoryColumns, TransactionBatch, build_batch
from schemas.transactions.codec import encode_transactions
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.history.codec import encode_snapshot
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec, read_space
from stream_scorer.model.bundle import Bundle, Thresholds
from stream_scorer.model.forest.lightgbm_model import LightGBMModel
from stream_scorer.model.forest.predictor import build_predictor
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from tests.support.factories import make_batch, make_program, make_transaction, train_text
from tests.support.scoring_kit import INPUT

NOW: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR: Final = 3_600
DAY: Final = 86_400


def make_spec(ring: int = 4) -> HistorySpec:
    """Two key spaces with features of each sort; another ring is another spec."""
    client = {
        "space": "client",
        "version": 1,
        "key": ["card1", "addr1"],
        "start_day": "D1",
        "ttl_days": 30,
        "ring": ring,
        "features": [
            {"kind": "count", "group": "clients"},
            {"kind": "gap", "group": "clients"},
            {"kind": "amount_ratio", "group": "clients"},
            {"kind": "count_in", "group": "clients", "seconds": [HOUR, DAY]},
            {"kind": "decayed_amount", "group": "clients", "seconds": [DAY]},
            {"kind": "minus_mean", "group": "clients", "columns": ["C1"]},
            {"kind": "is_new", "group": "clients", "columns": ["P_emaildomain"]},
        ],
    }
    card = {
        "space": "card",
        "version": 1,
        "key": ["card1"],
        "ttl_days": 30,
        "ring": ring,
        "features": [
            {"kind": "count", "group": "cards"},
            {"kind": "amount_in", "group": "cards", "seconds": [HOUR]},
            {"kind": "same_amount", "group": "cards"},
        ],
    }
    return HistorySpec((read_space(client), read_space(card)))


@cache
def make_history_bundle(version: str = "v1", ring: int = 4) -> Bundle:
    """A bundle whose model reads the history of :func:`make_spec`, and scores depend on it."""
    spec = make_spec(ring)
    batch = make_batch(400)
    program = replace(make_program(), history=spec)
    columns = advance(PartitionHistory(spec), batch)
    features, matrix = FeatureSet.fit_transform(batch.with_history(columns), program)
    text = train_text(matrix, features.names)
    metadata = {"version": version, "history": {"fingerprint": spec.fingerprint}}
    return Bundle(
        version,
        metadata,
        features,
        build_predictor(text),
        LightGBMModel(text),
        Thresholds(0.5, 0.9),
    )


def make_card_rows(n: int, seed: int = 1, cards: int = 4) -> list[dict[str, Any]]:
    """Transactions of few cards, some of them late, equal in time or amount; ids count from 1."""
    rng = np.random.default_rng(seed)
    rows, time = [], 40 * DAY
    for i in range(n):
        time += int(rng.choice([0, 30, 900, 4 * HOUR]))
        late = int(rng.choice([0, 0, 0, 0, 2 * HOUR]))
        row = make_transaction(
            i + 1,
            float(rng.choice([10.0, 20.0, 57.95])),
            TransactionDT=time - late,
            card1=1000.0 + float(rng.integers(cards)),
            addr1=float(rng.integers(100, 102)),
            D1=float(time // DAY - 20),
            C1=float(rng.integers(0, 9)),
            P_emaildomain=str(rng.choice(["gmail.com", "yahoo.com", "anonymous.com"])),
        )
        if rng.random() < 0.05:
            del row["card1"]
        rows.append(row)
    return rows


def encode_rows(rows: Sequence[dict[str, Any]]) -> list[bytes]:
    """The records of transactions."""
    return list(encode_transactions(build_batch(rows)))


def make_era(spec: HistorySpec, partitions: int = 1, **changes: Any) -> Era:
    """The first era of a spec, which begins at offset 0 with nothing."""
    era = Era(
        spec=spec.fingerprint,
        number=1,
        topic=INPUT,
        topic_id="",
        begin=(0,) * partitions,
        seed=None,
        max_keys=100_000,
        is_cold=True,
        why="a test",
        created=NOW,
    )
    return replace(era, **changes)


def write_snapshot(
    store: HistoryStore,
    era: Era,
    partition: int,
    offset: int,
    history: PartitionHistory,
    **changes: Any,
) -> str:
    """Store the state of a history as the one at an offset; returns the object's key."""
    given: dict[str, Any] = {
        "dead_letter_offset": 0,
        "check_sum": history.check_sum(),
        "writer": "a test",
        "created": NOW,
    }
    header = era.header(partition, offset, **(given | changes))
    store.create_snapshot(era, encode_snapshot(header, history.records()))
    return era.snapshot(partition, offset).key


def fold(spec: HistorySpec, batch: TransactionBatch, max_keys: int = 1_000_000) -> Any:
    """One pass over all rows: the features, and the history afterwards."""
    history = PartitionHistory(spec, max_keys)
    return advance(history, batch).values, history


def advance(history: PartitionHistory, batch: TransactionBatch) -> HistoryColumns:
    """All rows in one step, which is settled; their features."""
    columns, undo = history.columns(batch, np.arange(len(batch)), np.ones(len(batch), np.bool_))
    history.settle(undo)
    return columns
