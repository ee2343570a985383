"""The generator: shapes and names of the real tables, reproducibility, and no label leaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from schemas.batch import concatenate
from schemas.contracts import TRANSACTION_COLUMNS
from schemas.csv.codec import read_transactions, table_chunks
from stream_scorer.errors import UsageError
from trainer.synth import Synthetic, generate
from trainer.synth.drift import NEW_FRAUD_MAIL, plant_drift
from trainer.synth.files import write_csvs


@pytest.fixture(scope="module")
def tables() -> Synthetic:
    return generate(2000, seed=11)


def test_tables_have_the_real_shapes_and_names(tables: Synthetic) -> None:
    assert tables.transactions.shape == (2000, 394)
    assert tables.identity.shape[1] == 41
    names = set(tables.transactions.columns) | set(tables.identity.columns)
    assert names == set(TRANSACTION_COLUMNS) - {"event_time"} | {"isFraud"}


@pytest.mark.parametrize("n", [50, 200, 777])
def test_any_size_is_exact_and_has_both_classes(n: int) -> None:
    made = generate(n, seed=3).transactions
    assert len(made) == n
    assert 0 < made["isFraud"].sum() < n


def test_too_few_rows_are_refused_with_the_minimum() -> None:
    with pytest.raises(UsageError, match="cannot generate 10 synthetic rows: the minimum is 50"):
        generate(10)


def test_same_seed_gives_the_same_tables_and_another_seed_others() -> None:
    first, again, other = generate(300, seed=1), generate(300, seed=1), generate(300, seed=2)
    pd.testing.assert_frame_equal(first.transactions, again.transactions)
    pd.testing.assert_frame_equal(first.identity, again.identity)
    assert not first.transactions["TransactionAmt"].equals(other.transactions["TransactionAmt"])


def test_rows_come_in_time_order_with_unique_ids(tables: Synthetic) -> None:
    made = tables.transactions
    assert made["TransactionID"].is_unique
    assert made["TransactionDT"].is_monotonic_increasing
    assert made["TransactionDT"].between(86_400, 15_811_131).all()
    assert set(tables.identity["TransactionID"]) <= set(made["TransactionID"])


def test_aggregates_are_near_the_published_ones(tables: Synthetic) -> None:
    made = tables.transactions
    assert 0.02 < made["isFraud"].mean() < 0.06
    assert 0.6 < (made["ProductCD"] == "W").mean() < 0.85
    assert 0.15 < len(tables.identity) / len(made) < 0.35
    assert 50 < made["TransactionAmt"].median() < 110
    assert np.isfinite(made["TransactionAmt"]).all()
    assert made["dist2"].isna().mean() > 0.8


def test_no_single_column_gives_the_label_away(tables: Synthetic) -> None:
    made = tables.transactions
    is_fraud = made["isFraud"].to_numpy() == 1
    numbers = made.select_dtypes("number").drop(columns="isFraud").fillna(-999.0)
    frauds = int(is_fraud.sum())
    pairs = frauds * (len(made) - frauds)
    auc = (numbers.rank()[is_fraud].sum() - frauds * (frauds + 1) / 2) / pairs
    assert float(np.maximum(auc, 1 - auc).max()) < 0.8


def test_csv_files_hold_exactly_the_tables(tables: Synthetic, tmp_path: Path) -> None:
    import pyarrow as pa

    transactions, identity = write_csvs(tables, tmp_path / "new" / "folder")
    assert transactions.name == "train_transaction.csv"
    assert identity.name == "train_identity.csv"
    arrow = [
        pa.Table.from_pandas(t, preserve_index=False)
        for t in (tables.transactions, tables.identity)
    ]
    ours = concatenate([c.batch for c in table_chunks(*arrow)])
    read = concatenate([c.batch for c in read_transactions(transactions, identity)])
    assert read.numbers.tobytes() == ours.numbers.tobytes()
    assert [read.row(i) == ours.row(i) for i in range(0, 2000, 200)] == [True] * 10


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        write_csvs(generate(50), tmp_path / "file")


def test_planted_drift_changes_only_later_rows_and_is_the_same_every_time(
    tables: Synthetic,
) -> None:
    before, after = tables.transactions, plant_drift(tables, 1000, 5).transactions
    pd.testing.assert_frame_equal(before[:1000], after[:1000])
    pd.testing.assert_frame_equal(after, plant_drift(tables, 1000, 5).transactions)
    late, was = after[1000:], before[1000:]
    assert late["TransactionAmt"].median() > 2 * was["TransactionAmt"].median()
    assert (late["ProductCD"] == "W").mean() < 0.7 * (was["ProductCD"] == "W").mean()
    assert late["P_emaildomain"].isna().mean() > was["P_emaildomain"].isna().mean() + 0.2
    new = late[late["R_emaildomain"] == NEW_FRAUD_MAIL]
    assert 20 <= len(new[new["isFraud"] == 1]) <= 60
    assert late["isFraud"].sum() > was["isFraud"].sum() + 15
    assert list(after.columns) == list(before.columns)
    assert after.dtypes.equals(before.dtypes)


@pytest.mark.parametrize("row", [-1, 2000])
def test_drift_from_a_row_that_is_not_there_is_refused(tables: Synthetic, row: int) -> None:
    with pytest.raises(UsageError, match=f"from row {row} on: there are rows 0 to 1999"):
        plant_drift(tables, row)
