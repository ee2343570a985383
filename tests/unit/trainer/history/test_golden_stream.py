"""The golden stream exercises every kind of history feature, and rows that files seldom have."""

from __future__ import annotations

from typing import Any

import numpy as np

from schemas.batch import TransactionBatch
from schemas.json.codec import decode_objects
from stream_scorer.features.history.kinds import KINDS, Takes
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec, read_space
from stream_scorer.model.bundled_history import plain_rows
from trainer.history.golden_stream import golden_stream
from trainer.history.rows import follow


def every_kind(ring: int = 8) -> HistorySpec:
    """A spec with every kind of feature, and keys of numbers, texts and a day."""
    columns: dict[Takes, dict[str, Any]] = {
        Takes.NOTHING: {},
        Takes.SECONDS: {"seconds": [3600, 86_400]},
        Takes.NUMBERS: {"columns": ["C1", "D10"]},
        Takes.ANY_COLUMNS: {"columns": ["V45", "id_31"]},
    }
    features = [{"kind": k, "group": "g"} | columns[kind.takes] for k, kind in KINDS.items()]
    spaces = [
        {"space": "client", "key": ["card1", "addr1"], "start_day": "D1", "ttl_days": 180},
        {"space": "mail", "key": ["card1", "P_emaildomain"], "ttl_days": 9},
    ]
    given = {"version": 1, "ring": ring, "features": features}
    return HistorySpec(tuple(read_space(space | given) for space in spaces))


def values_of(batch: TransactionBatch, spec: HistorySpec) -> tuple[Any, PartitionHistory]:
    history = PartitionHistory(spec)
    return follow(history, batch, lambda _: None), history


def test_every_feature_takes_several_values() -> None:
    spec = every_kind()
    values, _ = values_of(golden_stream(spec), spec)
    for name, column in zip(spec.names, values.T, strict=True):
        known = column[~np.isnan(column)]
        assert len(known) >= 20, name
        assert len(np.unique(known)) >= 2, name


def test_rows_are_valid_and_the_same_each_time() -> None:
    spec = every_kind()
    rows = plain_rows(golden_stream(spec))
    assert rows == plain_rows(golden_stream(spec))
    assert len(rows) == 64
    decoded = decode_objects(rows, strict=True)
    assert decoded.rejections == []
    assert plain_rows(decoded.batch) == rows


def test_stream_has_what_files_of_real_rows_seldom_have() -> None:
    spec = every_kind(ring=4)
    batch = golden_stream(spec)
    values, history = values_of(batch, spec)
    figures = history.figures()
    assert figures.late > 0
    assert figures.repeats == 2  # once in each space
    assert (np.diff(batch.times) == 0).any()
    missing = np.isnan(values).all(axis=1)
    assert missing.any()  # a row without a card
    counts = values[:, spec.names.index("client_count")]
    assert np.nanmax(counts) > 4  # the ring is full
    assert np.nanmax(values[:, spec.names.index("mail_id_31_distinct")]) == 4  # and the set
    # A record that expired: its key was there before, and counts from 0 again.
    late = batch.times > batch.times[0] + 180 * 86_400
    assert (counts[late] == 0).any()
    assert history.sizes().keys["client"] < 12


def test_spec_without_optional_parts_has_a_stream_too() -> None:
    space = {
        "space": "card", "version": 1, "key": ["card1"], "ttl_days": 1, "ring": 0,
        "features": [{"kind": "count", "group": "g"}],
    }  # fmt: skip
    spec = HistorySpec((read_space(space),))
    values, _ = values_of(golden_stream(spec), spec)
    assert len(np.unique(values[~np.isnan(values)])) > 3
