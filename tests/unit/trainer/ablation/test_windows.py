"""The rows of an ablation: windows in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from schemas.batch import TransactionBatch, build_batch
from schemas.csv.codec import CsvChunk
from stream_scorer.errors import UsageError
from tests.support.factories import make_transaction
from trainer.ablation.windows import (
    DAY_SECONDS,
    FileWindows,
    SyntheticWindows,
    cut_rows,
    load_window,
)
from trainer.data.ingest import TrainingRows
from trainer.data.source import SyntheticSource


def make_rows(order: np.ndarray[tuple[int], np.dtype[np.int64]]) -> TrainingRows:
    """One row an hour; every third is fraud."""
    batch: TransactionBatch = build_batch(
        [make_transaction(int(i), TransactionDT=3600 * int(i)) for i in order]
    )
    return TrainingRows([batch], (order % 3 == 0).astype(np.int8), batch.times, {"sha256": "x"})


def test_test_windows_follow_each_other_and_training_windows_grow() -> None:
    rows = make_rows(np.arange(1000))
    cuts = cut_rows(rows, 3, gap_days=0.5)
    tested = np.flatnonzero(np.logical_or.reduce([cut.test for cut in cuts]))
    assert tested.tolist() == list(range(550, 1000))
    assert [int(cut.test.sum()) for cut in cuts] == [150, 150, 150]
    for cut in cuts:
        first = int(rows.times[cut.test].min())
        last = int(rows.times[cut.train].max())
        assert first - last > 0.5 * DAY_SECONDS
        assert np.flatnonzero(cut.train).tolist() == list(range(int(cut.train.sum())))
        assert first - last < 0.5 * DAY_SECONDS + 2 * 3600


def test_one_window_is_the_cut_at_four_fifths() -> None:
    (cut,) = cut_rows(make_rows(np.arange(1000)), 1, gap_days=0.0)
    assert (int(cut.train.sum()), int(cut.test.sum())) == (800, 200)
    (short,) = cut_rows(make_rows(np.arange(1000)), 1, gap_days=100.0)
    assert int(short.train.sum()) == 800 - 19  # the gap is at most 2 % of the time


def test_rows_of_a_window_are_in_the_order_of_time() -> None:
    order = np.random.default_rng(1).permutation(300)
    rows = make_rows(order)
    (cut,) = cut_rows(rows, 1, gap_days=0.0)
    window = load_window(rows, cut, "a")
    assert window.train.batch.ids.tolist() == list(range(240))
    assert window.test.batch.ids.tolist() == list(range(240, 300))
    assert window.test.labels.tolist() == [int(i % 3 == 0) for i in range(240, 300)]


def test_window_without_a_fraud_is_refused() -> None:
    rows = make_rows(np.arange(300))
    rows.labels[240:] = 0
    (cut,) = cut_rows(rows, 1, gap_days=0.0)
    with pytest.raises(UsageError, match=r"seed 7: 0 of the 60 rows to be judged on are frauds"):
        load_window(rows, cut, "seed 7")


def test_synthetic_windows_have_other_rows_for_each_seed() -> None:
    source = SyntheticWindows(1500, (3, 4), gap_days=3.0)
    assert source.names == ("data seed 3", "data seed 4")
    assert source.seeds("data seed 4") == (4,)
    first, second = map(source.load, source.names)
    assert first.facts["test_rows"] == second.facts["test_rows"] == 300
    assert first.facts["sha256"] != second.facts["sha256"]
    assert source.load("data seed 3").facts == first.facts
    assert first.train.batch.times.max() < first.test.batch.times.min()


def test_file_is_read_once_for_all_windows() -> None:
    class Counted(SyntheticSource):
        reads = 0

        def chunks(self, advance: Callable[[int], None]) -> Iterator[CsvChunk]:
            Counted.reads += 1
            return super().chunks(advance)

    source = FileWindows(Counted(1500, 3), "rows.csv", 2, (7, 8), gap_days=3.0)
    assert source.facts() == {"source": "rows.csv", "folds": 2}
    early, late = map(source.load, source.names)
    assert Counted.reads == 1
    assert source.seeds(source.names[0]) == (7, 8)
    assert early.test.batch.times.max() < late.test.batch.times.min()
    assert len(late.train) > len(early.train)
