"""The cache of histories: what it keeps, how much, and what it makes of damaged files."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream_scorer.model.store.history_cache import HistoryCache
from stream_scorer.model.store.history_era import encode_era
from tests.support.history.snapshots import (
    ERA,
    SPEC,
    WIDTHS,
    edit_header,
    make_records,
    make_snapshot,
    next_era,
)

FOLDER = SPEC[:16]
SIZE = len(make_snapshot(compression="none"))


def offset_of(cache: HistoryCache, partition: int = 1, at_most: int = 10**9) -> int | None:
    found = cache.load(ERA, partition, at_most, WIDTHS)
    return None if found is None else found.header.next_offset


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def set_age(path: Path, seconds: float) -> None:
    modified = path.stat().st_mtime - seconds
    os.utime(path, (modified, modified))


def test_empty_cache_holds_nothing_and_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for cache in (HistoryCache(tmp_path / "absent"), HistoryCache(tmp_path)):
        assert cache.latest_era(SPEC) is None
        assert offset_of(cache) is None
    assert caplog.records == []
    assert list(tmp_path.iterdir()) == []


def test_era_and_snapshots_come_back_in_another_process(tmp_path: Path) -> None:
    cache = HistoryCache(tmp_path / "made" / "for it")
    cache.save_era(ERA)
    cache.save(ERA, make_snapshot(1, 25))
    cache.save(ERA, make_snapshot(2, 33))
    other = HistoryCache(tmp_path / "made" / "for it")
    assert other.latest_era(SPEC) == ERA
    assert offset_of(other, 2) == 33
    found = other.load(ERA, 1, 25, WIDTHS)
    assert found is not None
    expected = make_records(seed=1025).spaces["client"]
    assert np.array_equal(found.records.spaces["client"], expected)
    assert files(tmp_path / "made/for it") == [
        f"{FOLDER}/000003-p00001.snap",
        f"{FOLDER}/000003-p00002.snap",
        f"{FOLDER}/000003.json",
    ]
    assert (tmp_path / "made/for it" / FOLDER).stat().st_mode & 0o077 == 0


def test_the_snapshot_saved_last_is_the_one_that_is_kept(tmp_path: Path) -> None:
    cache = HistoryCache(tmp_path)
    for offset in (25, 99, 40):  # an operator moved the offsets back
        cache.save(ERA, make_snapshot(1, offset))
    assert offset_of(cache) == 40
    assert offset_of(cache, at_most=40) == 40
    assert offset_of(cache, at_most=39) is None
    assert files(tmp_path) == [f"{FOLDER}/000003-p00001.snap"]


def test_new_era_removes_what_belongs_to_others(tmp_path: Path) -> None:
    cache = HistoryCache(tmp_path)
    cache.save_era(ERA)
    cache.save(ERA, make_snapshot())
    later = next_era(ERA)
    cache.save_era(later)
    assert cache.latest_era(SPEC) == later
    assert offset_of(cache) is None
    assert files(tmp_path) == [f"{FOLDER}/000004.json"]
    cache.save_era(replace(ERA, number=1))  # the store was cleared, and numbers begin again
    assert files(tmp_path) == [f"{FOLDER}/000001.json"]


def test_era_that_has_not_changed_is_not_written_again(tmp_path: Path) -> None:
    cache = HistoryCache(tmp_path)
    cache.save_era(ERA)
    before = (tmp_path / FOLDER / "000003.json").stat()
    cache.save_era(ERA)
    after = (tmp_path / FOLDER / "000003.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_two_specs_are_kept(tmp_path: Path) -> None:
    cache = HistoryCache(tmp_path)
    (tmp_path / "not-a-spec").mkdir()
    for digit in "abc":
        cache.save_era(replace(ERA, spec=digit * 64))
        set_age(tmp_path / (digit * 16), 100 - ord(digit))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b" * 16, "c" * 16, "not-a-spec"]


# --- bounds


def test_oldest_snapshots_make_room_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = HistoryCache(tmp_path, max_bytes=3 * SIZE + 100)
    era = replace(ERA, begin=(0,) * 8)

    def save(partition: int) -> None:
        cache.save(era, make_snapshot(partition, 25, era=era, compression="none"))
        for path in (tmp_path / FOLDER).iterdir():
            set_age(path, 10)
        total = sum(path.stat().st_size for path in (tmp_path / FOLDER).iterdir())
        assert total <= 3 * SIZE + 100

    for partition in (0, 1, 2):
        save(partition)
    save(0)  # its own old file makes room, so that a full cache can be renewed
    assert [p for p in range(8) if cache.load(era, p, 99, WIDTHS) is not None] == [0, 1, 2]
    assert caplog.records == []
    save(3)
    save(4)
    kept = [p for p in range(8) if cache.load(era, p, 99, WIDTHS) is not None]
    assert kept == [0, 3, 4]
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "the histories do not fit into the cache" in caplog.text


def test_cache_for_one_snapshot_can_renew_it(tmp_path: Path) -> None:
    cache = HistoryCache(tmp_path, max_bytes=SIZE + 100)
    cache.save(ERA, make_snapshot(1, 25, compression="none"))
    cache.save(ERA, make_snapshot(1, 26, compression="none"))
    assert offset_of(cache) == 26


def test_snapshot_larger_than_the_cache_is_not_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = HistoryCache(tmp_path, max_bytes=SIZE - 1)
    cache.save(ERA, make_snapshot(compression="none"))
    assert offset_of(cache) is None
    assert f"could not keep the history of partition 1 in {tmp_path}: it has" in caplog.text
    assert "(HISTORY_CACHE_DIR)" in caplog.text


def test_partial_files_count_and_are_removed_when_they_are_old(tmp_path: Path) -> None:
    cache = HistoryCache(tmp_path, max_bytes=3 * SIZE)
    cache.save(ERA, make_snapshot(0, 25, compression="none"))
    part = tmp_path / FOLDER / ".000003-p00002.snap.4711.part"
    part.write_bytes(bytes(2 * SIZE))
    cache.save(ERA, make_snapshot(1, 25, compression="none"))
    assert part.exists()
    assert (offset_of(cache, 0), offset_of(cache, 1)) == (None, 25)
    set_age(part, 3700)
    cache.save(ERA, make_snapshot(0, 25, compression="none"))
    assert not part.exists()
    assert (offset_of(cache, 0), offset_of(cache, 1)) == (25, 25)


# --- damage


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (make_snapshot()[:-5], "bytes after its header, which announces"),
        (b"", "contain no header line"),
        (b"\0" * 100_000, "contain no header line"),
        (make_snapshot(2, 33), "it is of partition 2, not 1"),
        (make_snapshot(era=replace(ERA, id="e" * 32)), "of an era 3 that was never created"),
        (edit_header(make_snapshot(), format=9), "format 9"),
    ],
)
def test_damaged_snapshot_is_ignored_and_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, reason: str
) -> None:
    cache = HistoryCache(tmp_path)
    cache.save(ERA, make_snapshot())
    path = tmp_path / FOLDER / "000003-p00001.snap"
    path.write_bytes(content)
    assert offset_of(cache) is None
    assert reason in caplog.text
    assert "it is removed from the cache" in caplog.text
    assert not path.exists()
    caplog.clear()
    assert offset_of(cache) is None
    assert caplog.records == []


def test_snapshot_with_more_keys_than_the_era_allows_is_removed(tmp_path: Path) -> None:
    cache = HistoryCache(tmp_path)
    cache.save(ERA, make_snapshot())
    assert cache.load(replace(ERA, max_keys=50), 1, 99, WIDTHS) is not None
    assert cache.load(replace(ERA, max_keys=49), 1, 99, WIDTHS) is None
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "content", [b"", b"{}", encode_era(next_era(ERA)), encode_era(replace(ERA, spec="f" * 64))]
)
def test_damaged_era_is_ignored_and_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    cache = HistoryCache(tmp_path)
    cache.save_era(ERA)
    path = tmp_path / FOLDER / "000003.json"
    path.write_bytes(content)
    assert cache.latest_era(SPEC) is None
    assert not path.exists()
    assert "it is removed from the cache" in caplog.text
    cache.save_era(ERA)
    assert cache.latest_era(SPEC) == ERA


def test_files_too_large_for_any_snapshot_are_removed_unread(tmp_path: Path) -> None:
    cache = HistoryCache(tmp_path)
    cache.save(ERA, make_snapshot())
    path = tmp_path / FOLDER / "000003-p00001.snap"
    with path.open("r+b") as file:
        file.truncate(2**40)  # sparse
    assert offset_of(cache) is None
    assert not path.exists()


def test_what_is_no_file_does_not_block_or_crash(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = HistoryCache(tmp_path)
    (tmp_path / FOLDER).mkdir()
    path = tmp_path / FOLDER / "000003-p00001.snap"
    os.mkfifo(path)
    assert offset_of(cache) is None
    assert not path.exists()
    path.symlink_to("/dev/zero")
    assert offset_of(cache) is None
    path.unlink()
    path.mkdir()
    assert offset_of(cache) is None
    cache.save(ERA, make_snapshot())
    assert "could not keep the history of partition 1" in caplog.text
    (tmp_path / FOLDER / "000003.json").mkdir()
    cache.save_era(ERA)
    assert cache.latest_era(SPEC) is None


def test_folder_that_cannot_be_used_is_a_warning_for_each_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("x")
    cache = HistoryCache(tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        cache.save_era(ERA)
        cache.save(ERA, make_snapshot())
        assert cache.latest_era(SPEC) is None
        assert offset_of(cache) is None
    assert caplog.text.count("(HISTORY_CACHE_DIR)") >= 3


def test_full_disk_leaves_the_snapshot_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = HistoryCache(tmp_path)
    cache.save(ERA, make_snapshot(1, 25))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stream_scorer.runtime.files.os.fsync", full)
    cache.save(ERA, make_snapshot(1, 26))
    assert "No space left on device" in caplog.text
    assert offset_of(cache) == 25
    assert files(tmp_path) == [f"{FOLDER}/000003-p00001.snap"]


def test_processes_may_share_the_folder(tmp_path: Path) -> None:
    """Threads here: each has its own object, and partial files have the process id in the name."""
    era = replace(ERA, begin=(0,) * 8)

    def work(partition: int) -> None:
        cache = HistoryCache(tmp_path, max_bytes=5 * SIZE)
        for offset in range(1, 30):
            cache.save(era, make_snapshot(partition, offset, era=era, compression="none"))
            found = cache.load(era, partition, 99, WIDTHS)
            assert found is None or found.header.next_offset == offset

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert all(name.endswith(".snap") for name in files(tmp_path))
