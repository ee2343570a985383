"""The rows of an ablation: windows in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.batch import build_batch
from schemas.csv.codec import CsvChunk
from stream_scorer.errors import UsageError
from tests.support.factories import make_transaction
from tests.support.training.history_kit import make_history_program, read_rows, same_bits
from trainer.ablation.windows import (
    Cut,
    FileWindows,
    SyntheticWindows,
    cut_rows,
    join_rows,
    load_window,
)
from trainer.data.ingest import TrainingRows
from trainer.data.source import SyntheticSource
from trainer.history.burn_in import first_learned_row
from trainer.history.rows import compute_history


def hours(n: int) -> NDArray[np.int64]:
    return 3600 * np.arange(n, dtype=np.int64)


def make_rows(order: NDArray[np.int64]) -> TrainingRows:
    """One row an hour; every third is fraud."""
    batch = build_batch([make_transaction(int(i), TransactionDT=3600 * int(i)) for i in order])
    times = np.sort(batch.times)
    labels = (np.arange(len(order)) % 3 == 0).astype(np.int8)
    return TrainingRows([batch], labels, times, {"sha256": "x"}, order)


def test_test_windows_follow_each_other_and_training_windows_grow() -> None:
    cuts = cut_rows(hours(1000), 3, gap_days=0.5)
    assert [cut.test for cut in cuts] == [slice(550, 700), slice(700, 850), slice(850, 1000)]
    # Twelve hours before the first test row, exclusive.
    assert [cut.train for cut in cuts] == [slice(0, 538), slice(0, 688), slice(0, 838)]


def test_one_window_is_the_cut_at_four_fifths() -> None:
    assert cut_rows(hours(1000), 1, gap_days=0.0) == [(slice(0, 800), slice(800, 1000))]
    (short,) = cut_rows(hours(1000), 1, gap_days=100.0)
    assert short.train == slice(0, 781)  # the gap is at most 2 % of the time, 19.98 hours


def test_rows_of_one_second_are_on_one_side() -> None:
    times = hours(100)
    times[75:85] = times[80]
    assert cut_rows(times, 1, gap_days=0.0) == [(slice(0, 75), slice(75, 100))]


def test_rows_of_a_window_are_in_the_order_of_time() -> None:
    rows = join_rows(make_rows(np.random.default_rng(1).permutation(300)))
    window = load_window(rows, Cut(slice(0, 240), slice(240, 300)), "a")
    assert window.train.batch.ids.tolist() == list(range(240))
    assert window.test.batch.ids.tolist() == list(range(240, 300))
    assert window.test.labels.tolist() == [int(i % 3 == 0) for i in range(240, 300)]
    assert np.shares_memory(window.train.batch.numbers, rows.batch.numbers)


def test_all_variants_learn_from_the_rows_after_the_burn_in_alone() -> None:
    assert cut_rows(hours(1000), 1, gap_days=0.0, begin=100) == [
        (slice(100, 800), slice(800, 1000))
    ]
    program = make_history_program()
    assert program.history is not None
    rows = join_rows(read_rows(), program)
    assert rows.first == first_learned_row(rows.batch.times, program) > 0
    columns = compute_history(read_rows(), program.history, lambda _: None).columns
    assert rows.batch.history is not None
    assert same_bits(rows.batch.history.values, columns.values)
    (cut,) = cut_rows(rows.batch.times, 1, 3.0, rows.first)
    window = load_window(rows, cut, "a")
    assert window.facts["train_rows"] == cut.train.stop - rows.first
    history = window.test.batch.history
    assert history is not None
    assert same_bits(history.values, columns.values[cut.test])


def test_window_without_a_fraud_is_refused() -> None:
    rows = make_rows(np.arange(300))
    rows.labels[240:] = 0
    with pytest.raises(UsageError, match=r"seed 7: 0 of the 60 rows to be judged on are frauds"):
        load_window(join_rows(rows), Cut(slice(0, 240), slice(240, 300)), "seed 7")


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
