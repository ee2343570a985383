"""``doctor`` on the offsets of the scorers' group."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_scorer.settings import GroupSettings
from tests.support.command_kit import run_json
from tests.support.group_kit import commit_offset, in_txn


def doctor_on_the_group(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str]
) -> tuple[str, str, str]:
    """Level, finding and advice of the check of the group's offsets."""
    _, printed = run_json(environment, capsys, "doctor")
    (check,) = [c for c in printed if c["check"] == f"group {environment.kafka_group_id}"]
    return check["level"], check["found"], check["advice"]


def test_doctor_counts_records_to_read_without_transaction_markers(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("MODEL_STORE_URI", (tmp_path / "store").as_uri())
    in_txn(environment, environment.input_topic, 5, end=6)  # the last offset is a marker
    level, found, _ = doctor_on_the_group(environment, capsys)
    assert (level, found.split(", ")[0]) == ("ok", "0 of 3 partitions committed")
    assert "6 records to read" in found
    commit_offset(environment, environment.kafka_group_id, environment.input_topic, 5)
    level, found, _ = doctor_on_the_group(environment, capsys)
    assert level == "ok"
    assert "1 of 3 partitions committed, 0 records to read" in found
    assert "a lag of 1 more is only transaction markers" in found


def test_doctor_says_that_the_groups_offset_is_beyond_the_log_and_what_to_do(
    environment: GroupSettings, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("MODEL_STORE_URI", (tmp_path / "store").as_uri())
    commit_offset(environment, environment.kafka_group_id, environment.input_topic, 70)
    level, found, advice = doctor_on_the_group(environment, capsys)
    assert level == "fail"
    assert "committed offset 70" in found
    assert "its log ends at 0" in found
    assert "--from-start" in advice
