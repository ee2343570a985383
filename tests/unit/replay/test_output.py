"""The file with the rows of a replay."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from stream_scorer.errors import UsageError
from stream_scorer.replay.columns import NO_DECISION, NO_VERSION, Scored
from stream_scorer.replay.output import make_columns, writing
from tests.support.factories import make_batch

BEFORE = Scored(
    np.array([0.1, float("nan"), 0.3]),
    np.array([0, NO_DECISION, 1], np.int8),
    np.array([0, NO_VERSION, 1], np.int32),
    ("v1", '=1,"x"\n\x1b'),
    {},
)
NOW = Scored(
    np.array([1 / 3, 5e-324, 1.0]), np.array([0, 1, 2], np.int8), np.zeros(3, np.int32), ("v2",), {}
)


def write(path: Path, *, with_label: bool = True) -> None:
    label = np.array([True, False, True]), np.array([1, 0, -1], np.int8)
    batch, offsets = make_batch(3), np.array([5, 6, 8])
    with writing(path) as writer:
        assert writer is not None
        for _ in range(2):
            writer.write(
                make_columns(4, offsets, batch, NOW, BEFORE, label if with_label else None)
            )


def test_numbers_in_a_csv_file_have_the_same_bits(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert [float(row["score"]) for row in rows[:3]] == NOW.scores.tolist()
    assert rows[1]["before_score"] == rows[1]["before_decision"] == rows[1]["label"] == ""
    assert rows[2] == {
        "partition": "4", "offset": "8", "transaction_id": "3", "transaction_dt": "86580",
        "score": "1.0", "decision": "BLOCK", "model_version": "v2",
        "before_score": "0.3", "before_decision": "REVIEW",
        "before_model_version": '=1,"x"\\x0a\\x1b', "label": "UNSURE",
        "amount": "53.61", "card1": "1003",
    }  # fmt: skip
    write(path, with_label=False)
    assert "label" not in path.read_text().splitlines()[0]
    assert [one.name for one in tmp_path.iterdir()] == ["rows.csv"]


def test_parquet_file_has_the_same_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write(path)
    table = parquet.read_table(path)
    assert table.num_rows == 6
    assert table["score"].to_pylist()[:3] == NOW.scores.tolist()
    assert table["before_score"].to_pylist()[:3] == [0.1, None, 0.3]
    assert table["label"].to_pylist()[:3] == ["FRAUD", None, "UNSURE"]
    assert str(table.schema.field("offset").type) == "int64"
    assert [one.name for one in tmp_path.iterdir()] == ["rows.parquet"]


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_interrupted_replay_leaves_the_earlier_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("earlier")

    def interrupted() -> None:
        with writing(path) as writer:
            assert writer is not None
            writer.write(make_columns(0, np.arange(3), make_batch(3), NOW, BEFORE, None))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "earlier"
    assert [one.name for one in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["none/rows.csv", "none/rows.parquet", "folder.csv"])
def test_file_that_cannot_be_written_is_a_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match=f"cannot write .*{name}: "), writing(tmp_path / name):
        raise AssertionError("the work has begun")


def test_parquet_without_its_package_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = r"requires pyarrow: pip install .*, or write a .csv file"
    with pytest.raises(UsageError, match=message), writing(tmp_path / "rows.parquet"):
        raise AssertionError("the work has begun")
    assert list(tmp_path.iterdir()) == []


def test_there_is_no_writer_without_a_file() -> None:
    with writing(None) as writer:
        assert writer is None
