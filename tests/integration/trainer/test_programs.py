"""``fraud-trainer train`` with a program of one's own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from stream_scorer.model.bundle import load_bundle
from stream_scorer.model.store.file_store import FileStore
from trainer.__main__ import main

PROGRAM = """
format = 1
name = "mine/3"
title = "Few features"

[[operation]]
op = "copy"
version = 1
group = "numbers"
columns = ["TransactionAmt", "C1..C14", "D1..D15"]

[[operation]]
op = "share"
version = 1
group = "shares"
columns = ["card1"]

[[operation]]
op = "hour"
version = 1
group = "time"
"""

SMALL = ["--trees", "10", "--leaves", "7", "--learning-rate", "0.2", "--threads", "1"]


def test_model_has_the_features_of_the_file_without_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_STORE_URI", (tmp_path / "store").as_uri())
    file = tmp_path / "mine.toml"
    file.write_text(PROGRAM, encoding="utf-8")
    run = ["train", "--synthetic", "3000", *SMALL, "--json", "--no-promote"]
    # It is published whether or not the gate, which may refuse a model of ten trees, passes it.
    assert main([*run, "--features", str(file), "--without", "time"]) in (0, 1)
    version = json.loads(capsys.readouterr().out)["version"]
    bundle = load_bundle(FileStore(tmp_path / "store").fetch(version), version)
    assert len(bundle.features.names) == 31
    assert bundle.features.names[-1] == "card1_share"
    assert bundle.features.program.name == "mine/3"
    assert bundle.metadata["parameters"]["features"] == {
        "program": "mine/3",
        "file": str(file),
        "sha256": hashlib.sha256(PROGRAM.encode()).hexdigest(),
        "left_out": ["time"],
    }


def test_unknown_group_fails_before_the_rows_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_STORE_URI", (tmp_path / "store").as_uri())
    missing = str(tmp_path / "no-such.csv")
    assert main(["train", "--transactions", missing, "--without", "histories"]) == 1
    error = capsys.readouterr().err
    assert "has no group 'histories'" in error
    assert missing not in error
