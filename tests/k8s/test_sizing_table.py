"""The sizing table of the guide matches the simulator, run with the shipped manifest."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from stream_scorer.__main__ import main
from tests.k8s.support.rendering import ROOT, render

NUMBER = r"([\d,]+)"
ROW = re.compile(
    rf"^\| {NUMBER} \| {NUMBER} \| {NUMBER} \| {NUMBER}\u2013{NUMBER} \| ([\d to]+) "
    r"\| (none|\d+ s) \| (none|[\d,]+) \|$",
    re.MULTILINE,
)


def _rows() -> list[tuple[str, ...]]:
    return ROW.findall((ROOT / "docs/operations.md").read_text("utf-8"))


def _number(text: str) -> int:
    return 0 if text == "none" else int(text.replace(",", "").removesuffix(" s"))


def test_table_is_found() -> None:
    assert len(_rows()) == 10


@pytest.mark.parametrize("row", _rows(), ids=lambda row: f"{row[0]}, {row[1]}, {row[3]}")
def test_rows_match_the_simulator(
    row: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, peak, partitions, lowest, highest, used, delay, lag = row
    (scaled,) = [item for item in render("overlays/production") if item["kind"] == "ScaledObject"]
    scaled["spec"] |= {"minReplicaCount": int(lowest), "maxReplicaCount": int(highest)}
    path = tmp_path / "scaledobject.yaml"
    path.write_text(yaml.safe_dump(scaled), encoding="utf-8")
    trace = f"burst:base={_number(base)},peak={_number(peak)},start=1200,seconds=300"
    arguments = ["--capacity", "20000", "--partitions", partitions, "--trace", trace, "--json"]
    assert main(["keda-sim", str(path), *arguments]) == 0
    summary = json.loads(capsys.readouterr().out)["summary"]
    first, _, most = used.partition(" to ")
    assert summary["min_replicas"] == int(first)
    assert summary["max_replicas"] == int(most or first)
    assert round(summary["max_delay_seconds"]) == _number(delay)
    assert summary["peak_lag"] == _number(lag)
