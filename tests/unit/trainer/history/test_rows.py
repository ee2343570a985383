"""One pass over all rows gives each row the features that a scorer would have computed for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.batch import TransactionBatch, build_batch
from schemas.contracts import NUMBER_INDEX
from stream_scorer.features.builtin import load_builtin
from stream_scorer.features.history.partition import PartitionHistory
from tests.support.factories import make_transactions
from tests.support.training.history_kit import (
    CLIENT,
    by_partition,
    joined_rows,
    make_history_program,
    make_spec,
    read_rows,
    same_bits,
)
from trainer.data.ingest import TrainingRows
from trainer.data.labels import Labelling
from trainer.data.rows import Part, join_rows, some_rows
from trainer.history import rows as history_rows
from trainer.history.rows import compute_history, follow, measure_step, with_history

SPEC = make_spec()


def nothing(_: int) -> None:
    pass


def values_of(rows: TrainingRows) -> NDArray[np.float64]:
    return compute_history(rows, SPEC, nothing).columns.values


def as_rows(batch: TransactionBatch, labels: NDArray[np.int8]) -> TrainingRows:
    return TrainingRows([batch], labels, batch.times, {})


def test_columns_are_those_of_twelve_partitions_bit_for_bit() -> None:
    found = compute_history(read_rows(), SPEC, nothing)
    batch = joined_rows().batch
    assert found.columns.fingerprint == SPEC.fingerprint
    assert found.columns.values.shape == (3000, len(SPEC.names))
    for blocks in ((2000,), (1, 500, 7)):
        assert same_bits(found.columns.values, by_partition(SPEC, batch, blocks))
    counts = found.columns.values[:, SPEC.names.index("client_count")]
    assert np.nanmax(counts) >= 3  # the rows do have clients with a past


def test_blocks_do_not_matter_and_progress_counts_every_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = values_of(read_rows())
    monkeypatch.setattr(history_rows, "BLOCK_ROWS", 271)
    steps: list[int] = []
    found = compute_history(read_rows(), SPEC, steps.append)
    assert same_bits(found.columns.values, whole)
    assert steps == [271] * 11 + [19]


def test_later_rows_change_nothing() -> None:
    whole = values_of(read_rows())
    batch, labels = joined_rows().batch, joined_rows().labels
    for n in (1, 1000, 2999):
        part = batch.take(slice(0, n))
        assert same_bits(values_of(as_rows(part, labels[:n])), whole[:n])


def leaky(batch: TransactionBatch) -> NDArray[np.float64]:
    """Leaks: the state is updated by all rows before features are read from it."""
    history, out = PartitionHistory(SPEC), np.empty((len(batch), len(SPEC.names)))
    rows, advances = np.arange(len(batch)), np.ones(len(batch), np.bool_)
    history.settle(history.step(batch, rows, advances, out))
    history.peek(batch, rows, out)
    return out


def test_features_after_the_update_fail_the_check_of_later_rows() -> None:
    batch = joined_rows().batch
    assert not same_bits(leaky(batch)[:1000], leaky(batch.take(slice(0, 1000))))
    assert not same_bits(leaky(batch), values_of(read_rows()))


def test_labels_are_never_used() -> None:
    batch, labels = joined_rows().batch, joined_rows().labels
    shuffled = np.random.default_rng(1).permutation(labels)
    assert (shuffled != labels).any()
    assert same_bits(values_of(as_rows(batch, labels)), values_of(as_rows(batch, shuffled)))


def test_unsorted_file_gives_the_columns_of_the_sorted_one() -> None:
    batch = joined_rows().batch
    order = np.random.default_rng(2).permutation(len(batch))
    rows = TrainingRows([batch.take(order)], joined_rows().labels, batch.times, {}, order)
    assert same_bits(values_of(rows), values_of(read_rows()))


def test_rows_whose_label_is_not_known_advance_and_are_left_out(tmp_path: Path) -> None:
    batch = joined_rows().batch
    unsure = batch.ids[np.random.default_rng(4).random(len(batch)) < 0.3]
    path = tmp_path / "labels.csv"
    path.write_text("transaction_id,label\n" + "".join(f"{i},UNSURE\n" for i in unsure))
    rows = read_rows(labelling=Labelling(str(path), maturity_days=5.0))
    assert rows.distinct == 3000
    assert 500 < len(rows) < 2500
    found = compute_history(rows, SPEC, nothing)
    kept = np.isin(batch.ids, unsure, invert=True)
    kept &= batch.times.max() - batch.times >= 5 * 86_400
    assert found.facts["rows"] == 3000
    assert found.facts["rows_without_label"] == int((~kept).sum())
    assert same_bits(found.columns.values, values_of(read_rows())[kept])
    part = join_rows(rows)
    assert part.batch.ids.tolist() == batch.ids[kept].tolist()
    # Alone they would have another past.
    alone = as_rows(batch.take(kept), part.labels)
    assert not same_bits(values_of(alone), found.columns.values)


def test_facts_count_keys_and_their_bytes() -> None:
    facts = compute_history(read_rows(), SPEC, nothing).facts
    batch = joined_rows().batch
    cells = [NUMBER_INDEX[name] for name in ("card1", "addr1", "D1")]
    keyed = batch.numbers[:, cells]
    keyed[:, 2] = batch.times // 86_400 - np.floor(keyed[:, 2])
    clients = np.unique(np.nan_to_num(keyed[~np.isnan(keyed[:, 2])], nan=-1.0), axis=0)
    assert facts["keys"]["client"] == len(clients)
    assert facts["bytes_a_key"] == {space.name: 8 * space.width for space in SPEC.spaces}
    assert facts["memory_bytes"] > sum(
        facts["keys"][name] * size for name, size in facts["bytes_a_key"].items()
    )
    assert facts["repeats"] == 0


def test_time_of_a_step_is_measured_without_a_trace() -> None:
    history = PartitionHistory(SPEC)
    batch = joined_rows().batch
    follow(history, batch, nothing)
    before = history.check_sum()
    readings = iter([0.0, 9.0, *(second for i in range(9) for second in (0.0, 1.0 + (i != 4)))])
    found = measure_step(history, batch, lambda: next(readings))
    assert found == pytest.approx(1.0 / 2048 * 1e6)
    assert history.check_sum() == before
    assert history.open_steps == 0
    assert measure_step(history, batch.take(slice(0, 0))) == 0.0


def test_rows_get_the_history_that_a_program_needs_and_no_other() -> None:
    one, other = make_history_program(), make_history_program(CLIENT)
    assert one.history is not None
    assert other.history is not None
    part = joined_rows()
    columns = {
        spec.fingerprint: compute_history(read_rows(), spec, nothing).columns
        for spec in (one.history, other.history)
    }
    for program in (one, other):
        assert program.history is not None
        history = with_history(part, program, columns).batch.history
        assert history is columns[program.history.fingerprint]
    with_one = with_history(part, one, columns)
    assert with_history(with_one, load_builtin("raw/1"), columns).batch.history is None
    some = some_rows(with_one, slice(7, 11)).batch.history
    assert some is not None
    assert same_bits(some.values, columns[one.history.fingerprint].values[7:11])


def test_narrow_rows_have_the_columns_that_the_spec_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[TransactionBatch] = []

    def watched(history: PartitionHistory, batch: TransactionBatch, advance: Any) -> Any:
        seen.append(batch)
        return follow(history, batch, advance)

    monkeypatch.setattr(history_rows, "follow", watched)
    compute_history(read_rows(), SPEC, nothing)
    (batch,) = seen
    assert batch.layout is not None
    assert batch.numbers.shape[1] == batch.layout.width < 20
    for name in ("card1", "D1", "V45"):
        cell = batch.layout.at(NUMBER_INDEX[name])
        whole = joined_rows().batch.numbers[:, NUMBER_INDEX[name]]
        assert np.array_equal(batch.numbers[:, cell], whole, equal_nan=True)


def test_times_outside_the_range_and_rows_without_a_card_have_no_history() -> None:
    batch = build_batch(make_transactions(40))
    batch.times[5] = 2**32
    batch.numbers[6, NUMBER_INDEX["card1"]] = np.nan
    order = np.argsort(batch.times, kind="stable")
    rows = as_rows(batch.take(order), np.zeros(40, np.int8))
    values = values_of(rows)
    assert np.isnan(values[np.isin(order, [5, 6])]).all()
    assert not np.isnan(values[:, SPEC.names.index("mail_count")]).all()


def test_empty_part_keeps_its_history() -> None:
    columns = {SPEC.fingerprint: compute_history(read_rows(), SPEC, nothing).columns}
    part = with_history(joined_rows(), make_history_program(), columns)
    nothing_left = replace(part, batch=part.batch.take(slice(0, 0)), labels=part.labels[:0])
    assert isinstance(nothing_left, Part)
    assert nothing_left.batch.history is not None
    assert nothing_left.batch.history.values.shape == (0, len(SPEC.names))
