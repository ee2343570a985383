"""Scores as records to columns, and columns in the state file."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.records import encode_record
from schemas.resolver import LocalSchemas
from schemas.scores.sampling import MAX_SHARE, SHARE_HEADER, choose
from stream_scorer.errors import UsageError
from stream_scorer.quality import score_file
from stream_scorer.quality.reader import QualityReader, refuse_unread
from stream_scorer.quality.rows import ScoreRows
from stream_scorer.quality.score_file import ScoreFile, join_rows
from tests.support.factories import make_score
from tests.support.quality.kit import NOW, make_rows

TOPIC = "transactions"
IDENTITY = {"cluster": "c", "topic": "scores", "topic id": "t1"}
SAMPLED = int(np.flatnonzero(choose(TOPIC, np.full(5000, 3), np.arange(5000), MAX_SHARE))[0])
"""The offset of an input that the random lane chooses."""


def value(offset: int, **fields: Any) -> bytes:
    return encode_record("fraud_score", make_score(TOPIC, 3, offset, **fields))


def flagged(offset: int, amount: float | None, product: str | None, **fields: Any) -> bytes:
    context = {"TransactionAmt": amount, "ProductCD": product}
    return value(
        offset, score=0.95, decision="BLOCK", is_flagged=True, context=context, **fields
    )  # fmt: skip


def read(values: list[bytes | None], headers: Any = None, times: Any = None) -> Any:
    reader = QualityReader(LocalSchemas("fraud_score"), TOPIC)
    at = np.full(len(values), NOW) if times is None else np.array(times)
    rows = reader.read(values, at, lambda: headers or [None] * len(values))
    return rows, {name: n for name, n in reader.refused.items() if n}


def test_flagged_and_sampled_scores_state_what_others_do_not() -> None:
    values = [
        value(1, transaction_id=11),
        flagged(2, 12.5, "W", transaction_id=12, model_version="v2"),
        value(SAMPLED, is_sampled=True, context={"TransactionAmt": 3.0, "ProductCD": "C"}),
        flagged(4, None, None),
        flagged(5, 7.0, "W"),
    ]
    headers = [None, None, [("model-version", b"v1"), (SHARE_HEADER, b"0.002")], None, None]
    rows, refused = read([*values], headers)
    assert refused == {}
    assert rows.transactions.tolist() == [11, 12, 1, 1, 1]
    assert rows.decisions.tolist() == [0, 2, 0, 2, 2]
    assert rows.scores.tolist() == [0.25, 0.95, 0.25, 0.95, 0.95]
    assert [rows.version_names[i] for i in rows.versions] == ["v1", "v2", "v1", "v1", "v1"]
    assert rows.is_sampled.tolist() == [False, False, True, False, False]
    assert rows.offsets.tolist() == [1, 2, SAMPLED, 4, 5]
    np.testing.assert_equal(rows.shares, [np.nan, np.nan, 0.002, np.nan, np.nan])
    np.testing.assert_equal(rows.amounts, [np.nan, 12.5, 3.0, np.nan, 7.0])
    names = [None if i < 0 else rows.product_names[i] for i in rows.products]
    assert names == [None, "W", "C", None, "W"]


@pytest.mark.parametrize("header", [b"half", b"7", b"", "0.002", None])
def test_share_that_cannot_have_been_set_is_not_known(header: Any) -> None:
    context = {"TransactionAmt": 3.0}
    rows, _ = read([value(SAMPLED, is_sampled=True, context=context)], [[(SHARE_HEADER, header)]])
    assert rows.is_sampled.tolist() == [True]
    assert np.isnan(rows.shares).all()


def test_headers_are_not_looked_at_unless_a_score_is_sampled() -> None:
    reader = QualityReader(LocalSchemas("fraud_score"), TOPIC)

    def never() -> Any:
        raise AssertionError

    assert len(reader.read([flagged(1, 1.0, "W")], np.array([NOW]), never).times) == 1


def test_what_is_no_score_is_counted_and_left_out() -> None:
    values = [
        b"garbage", None, value(1)[:-3], value(1, score=float("nan")),
        value(1, score=0.95), value(2, transaction_id=5), value(3),
    ]  # fmt: skip
    rows, refused = read([*values], times=[NOW] * 6 + [-1])
    assert rows.transactions.tolist() == [5]
    assert refused == {"unreadable_scores": 5, "scores_without_time": 1}


def batch(first: int, product: str = "W", version: str = "v1") -> ScoreRows:
    return make_rows(
        [0.1, 0.6, 0.95],
        transactions=np.arange(first, first + 3),
        products=np.array([-1, 0, 0], np.int16),
        product_names=(product,),
        version_names=(version,),
    )


def plain(rows: ScoreRows) -> list[tuple[Any, ...]]:
    products = [None if i < 0 else rows.product_names[i] for i in rows.products]
    versions = [rows.version_names[i] for i in rows.versions]
    return list(
        zip(rows.transactions.tolist(), rows.scores.tolist(), products, versions, strict=True)
    )


def test_batches_are_joined_under_common_names() -> None:
    parts = [batch(0), batch(3, "C", "v2"), batch(6, "W", "v2")]
    joined = join_rows(parts)
    assert plain(joined) == [row for part in parts for row in plain(part)]
    assert joined.product_names == ("W", "C")


def test_file_continues_where_it_was_flushed(tmp_path: Path) -> None:
    path = tmp_path / "scores"
    file = ScoreFile(path, IDENTITY, since=0)
    file.add(batch(0), 0, 10)
    file.add(batch(3, "C"), 1, 7)
    file.flush()
    file.add(batch(6), 0, 20)  # an interrupted run: never flushed
    file.close()
    file = ScoreFile(path, IDENTITY, since=0)
    assert file.reached() == {0: 10, 1: 7}
    file.add(batch(6, "H", "v2"), 0, 20)
    file.move(1, 9)
    file.flush()
    found = [row for rows in file.batches() for row in plain(rows)]
    assert found == [r for p in (batch(0), batch(3, "C"), batch(6, "H", "v2")) for r in plain(p)]
    assert file.reached() == {0: 20, 1: 9}
    file.close()


def test_scores_before_the_window_leave_the_file(tmp_path: Path) -> None:
    path = tmp_path / "scores"
    file = ScoreFile(path, IDENTITY, since=0)
    file.add(batch(0)._replace(times=np.full(3, 50)), 0, 10)
    file.flush()
    file.add(batch(3)._replace(times=np.full(3, 150)), 0, 20)
    file.flush()
    file.close()
    file = ScoreFile(path, IDENTITY, since=100)
    assert [rows.transactions.tolist() for rows in file.batches()] == [[3, 4, 5]]
    file.close()
    with pytest.raises(UsageError, match="begin later than --since"):
        ScoreFile(path, IDENTITY, since=99)


def test_file_of_another_topic_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores"
    ScoreFile(path, IDENTITY, since=0).close()
    with pytest.raises(UsageError, match="is of topic id t1, not of t2"):
        ScoreFile(path, IDENTITY | {"topic id": "t2"}, since=0)


def test_file_that_is_no_state_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "scores"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(UsageError, match="start a new state file"):
        ScoreFile(path, IDENTITY, since=0)
    with pytest.raises(UsageError, match="cannot use the state file"):
        ScoreFile(tmp_path / "missing" / "scores", IDENTITY, since=0)


def test_file_that_another_run_uses_is_refused_until_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_file, "_BUSY_SECONDS", 0.0)
    path = tmp_path / "scores"
    for _ in range(2):  # a new file, and one with scores
        first = ScoreFile(path, IDENTITY, since=0)
        with pytest.raises(UsageError, match="another run uses it: wait until that has ended"):
            ScoreFile(path, IDENTITY, since=0)
        first.add(batch(0), 0, 10)
        first.flush()
        first.close()
    ScoreFile(path, IDENTITY, since=0).close()


def one_batch(folder: Path) -> Path:
    """A closed file with the scores of one batch."""
    path = folder / "scores"
    file = ScoreFile(path, IDENTITY, since=0)
    file.add(batch(0), 0, 10)
    file.flush()
    file.close()
    return path


def test_file_that_cannot_be_made_or_written_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name a file in a folder that exists"):
        ScoreFile(tmp_path / "absent" / "scores", IDENTITY, since=0)
    with pytest.raises(UsageError, match="name a file in a folder that exists"):
        ScoreFile(tmp_path, IDENTITY, since=0)


@pytest.mark.parametrize("keep", [0, 10, 100, 4096, 5000, -4096, -1])
def test_file_that_was_cut_off_is_refused_or_begins_again(tmp_path: Path, keep: int) -> None:
    path = one_batch(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    found: Any = None
    with suppress(UsageError), closing(ScoreFile(path, IDENTITY, since=0)) as file:
        found = file.reached(), sum(len(rows.times) for rows in file.batches())
    # SQLite reads a last page that lacks a few bytes.
    assert found == {0: ({}, 0), -1: ({0: 10}, 3)}.get(keep)


@pytest.mark.parametrize("damage", [b"", b"PK\x05\x06" + b"\x00" * 18, b"PK\x03\x04 damaged"])
def test_damaged_segment_is_named(tmp_path: Path, damage: bytes) -> None:
    path = one_batch(tmp_path)
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE segments SET data = ?", (damage,))
    database.close()
    file = ScoreFile(path, IDENTITY, since=0)
    with pytest.raises(UsageError, match="cannot use the state file"):
        list(file.batches())
    file.close()


def test_file_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores"
    ScoreFile(path, IDENTITY, since=0).close()
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE about SET value = '9' WHERE name = 'format'")
    database.close()
    with pytest.raises(UsageError, match="has format 9"):
        ScoreFile(path, IDENTITY, since=0)


@pytest.mark.parametrize(("bad", "is_refused"), [(1, False), (3, True)])
def test_a_record_that_only_looks_like_one_of_a_registry_does_not_stop_the_run(
    bad: int, is_refused: bool
) -> None:
    reader = QualityReader(LocalSchemas("fraud_score"), TOPIC)
    values = [*(value(offset) for offset in range(200)), *[b"\0\0\0\0\1garbage"] * bad]
    rows = reader.read(values, np.full(len(values), NOW), lambda: [None] * len(values))
    assert len(rows.scores) == 200
    assert reader.refused["unreadable_scores"] == bad
    assert reader.needs_registry
    if is_refused:
        with pytest.raises(UsageError, match=r"3 of 203 records of .* set SCHEMA_REGISTRY_URL"):
            refuse_unread(TOPIC, reader.of_registry, 200)
    else:
        refuse_unread(TOPIC, reader.of_registry, 200)


def test_records_that_no_registry_could_read_do_not_stop_the_run() -> None:
    reader = QualityReader(LocalSchemas("fraud_score"), TOPIC)
    values = [value(1), None, b"", b"junk", value(2)[:-3], b"\0\0\0\0\1garbage"]
    reader.read(values, np.full(len(values), NOW), lambda: [None] * len(values))
    assert (reader.refused["unreadable_scores"], reader.of_registry) == (5, 1)
