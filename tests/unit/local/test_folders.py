"""What a broker's folder may be, and the words where it cannot be used."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from stream_scorer.errors import UsageError
from stream_scorer.local import broker as broker_module
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.local.folders import (
    check_path,
    check_space,
    explaining_full_disk,
    find_fullness,
    using_folder,
)
from stream_scorer.local.node import write_node

Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 - as shutil's


@pytest.mark.parametrize("name", ["bröker", "中文", "🦊", "with space", "#=:!\\ $"])
def test_path_may_be_in_any_language(name: str) -> None:
    check_path(Path("/data") / name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a,b", "has a comma"),
        ("${HOME}", r"has '\$\{'"),
        ("a\nb", "has a line break"),
        ("\udcff", "is not valid UTF-8"),
        ("a\x1bb", "or has a control character"),
    ],
)
def test_path_that_kafka_cannot_take_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EmbeddedBroker(Path("/data") / name).start()


def test_settings_name_the_folder_as_java_reads_them(tmp_path: Path) -> None:
    folder = tmp_path / "brö 中🦊"
    write_node(folder, 20001, 20002, "WARN", {})
    for name in ("server.properties", "log4j2.properties"):
        text = (folder / name).read_text("ascii")
        assert r"br\u00f6 \u4e2d\ud83e\udd8a" in text


def test_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match=r"cannot write the data: .*/file: File exists"),
        using_folder(tmp_path / "file", "the data"),
    ):
        (tmp_path / "file").mkdir()


def test_full_disk_is_named_without_a_traceback(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=f"no space is left on the disk of {tmp_path}"),
        using_folder(tmp_path, "the data"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_explained_and_other_errors_stay_what_they_are(
    tmp_path: Path, number: int
) -> None:
    with pytest.raises(UsageError, match="no space is left"), explaining_full_disk(tmp_path):
        raise OSError(number, os.strerror(number))
    with pytest.raises(ConnectionRefusedError), explaining_full_disk(tmp_path):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")


def test_too_little_space_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**10, 0, 250 * 2**20))
    check_space(tmp_path, 250)
    with pytest.raises(UsageError, match=f"250 MiB are free on the disk of {tmp_path}, and 300"):
        check_space(tmp_path, 300)


def test_fullness_is_found_only_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, 10**8))
    assert find_fullness(tmp_path) is None
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 0))
    assert "no space is left" in (find_fullness(tmp_path) or "")
    monkeypatch.undo()
    assert find_fullness(tmp_path / "absent") is None


def start_with(monkeypatch: pytest.MonkeyPatch, folder: Path, java: str) -> str:
    """The message of a broker whose Java is the program ``java``."""
    monkeypatch.setattr(broker_module, "find_java", lambda: Path(java))
    monkeypatch.setattr(broker_module, "ensure_jars", lambda **_: (folder / "a.jar",))
    with pytest.raises(Exception, match="kafka exited with code 1 while starting") as raised:
        EmbeddedBroker(folder).start()
    return str(raised.value)


def test_start_that_fails_on_a_full_disk_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 0))
    message = start_with(monkeypatch, tmp_path, shutil.which("false") or "")
    assert f"no space is left on the disk of {tmp_path}" in message


def test_failed_start_names_a_log_that_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho the reason >&2\nexit 1\n")
    java.chmod(0o755)
    message = start_with(monkeypatch, tmp_path, str(java))
    assert f"({tmp_path / 'java.log'})" in message
    assert (tmp_path / "java.log").is_file()
    assert "the reason" in message
