"""``quality``: a result that was measured is printed and kept, wherever else it cannot go."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stream_scorer.cli import quality as command
from stream_scorer.cli.parsing.parser import build_parser
from stream_scorer.errors import StoreError, UsageError
from tests.support.quality.kit import make_result


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    result = make_result()

    def fail(_settings: object) -> None:
        raise StoreError("no store")

    found = SimpleNamespace(scores=result["scores"], as_json=lambda: result)
    monkeypatch.setattr(command, "read_standing", lambda *_: None)
    monkeypatch.setattr(command, "table_of", lambda *_: None)
    monkeypatch.setattr(command, "measure_quality", lambda *_: found)
    monkeypatch.setattr(command, "open_quality_objects", fail)
    return result


def test_result_is_printed_and_its_metrics_are_written_although_the_store_fails(
    measured: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics, page = tmp_path / "quality.prom", tmp_path / "page.html"
    words = ["quality", "--publish", "--json", "--metrics-file", str(metrics), "--html", str(page)]
    with pytest.raises(StoreError, match="no store"):
        command.run_quality(build_parser().parse_args(words))
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(measured))
    assert "fraud_model_live_scores" in metrics.read_text()
    assert page.read_text().startswith("<!doctype html>")


def test_metrics_are_written_although_the_page_cannot_be(
    measured: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics, page = tmp_path / "quality.prom", tmp_path / "absent" / "page.html"
    words = ["quality", "--metrics-file", str(metrics), "--html", str(page)]
    with pytest.raises(UsageError, match=r"cannot write .*absent"):
        command.run_quality(build_parser().parse_args(words))
    assert f"{measured['scores']:,} scores from" in capsys.readouterr().out
    assert "fraud_model_live_scores" in metrics.read_text()
