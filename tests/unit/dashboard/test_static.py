"""The files that browsers load are small and reference no other site; values are formatted."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

import dashboard
from dashboard.web.texts import (
    format_amount,
    format_iso,
    format_score,
    format_signed,
    format_threshold,
    format_time,
    format_transaction_dt,
    format_value,
)

ROOT = Path(dashboard.__file__).parent
FILES = sorted(
    path
    for folder in ("static", "templates")
    for path in (ROOT / folder).rglob("*.*")
    if "vendor" not in path.parts  # which test_vendored checks
)
# What a browser loads for the queue, and what the worker that all tabs share loads.
FIRST_LOAD = (
    "queue.js", "queue-state.js", "view.js", "vendor/htm/standalone.module.js",
    "stream-worker.js", "style.css",
)  # fmt: skip
# XML namespace names, which are never fetched.
NAMESPACES = ("http://www.w3.org/2000/svg",)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_references_another_site(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in NAMESPACES:
        text = text.replace(name, "")
    assert re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}|@import|url\(", text) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_needs_inline_code_or_unescaped_html(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text) == []
    assert re.findall(r"""\sstyle=|\son[a-z]+=["']|<style|javascript:""", text) == []
    assert "|safe" not in text


def test_first_load_is_small_and_needs_few_requests() -> None:
    packed = sum(len(gzip.compress((ROOT / "static" / n).read_bytes())) for n in FIRST_LOAD)
    assert packed < 40_000  # leaves 20 kB for the page itself
    assert len(FIRST_LOAD) + len(("the page", "the stream")) <= 8
    imported = set()
    for name in FIRST_LOAD:
        source = (ROOT / "static" / name).read_text()
        imported |= set(re.findall(r'^(?:import .*|\} )from "\./(.*)";', source, re.MULTILINE))
    assert imported <= set(FIRST_LOAD)


def test_score_is_never_rounded_across_a_threshold_or_to_one() -> None:
    assert format_score(0.6199, 0.62) == "0.6199"
    assert format_score(0.62, 0.62) == "0.62"
    assert format_score(0.971, 0.4, 0.8) == "0.97"
    assert format_score(0.9996, 0.4) == "0.9996"
    assert format_score(1.0) == "1.00"
    assert format_score(0.97, 0.4, digits=4) == "0.9700"


def test_values_are_formatted_for_display() -> None:
    assert format_time(1_795_000_000_123) == "2026-11-18 11:06:40 UTC"
    assert format_iso(1_795_000_000_123) == "2026-11-18T11:06:40Z"
    assert format_time(None) == "—"
    assert format_time(2**62) == f"{2**62} ms"
    assert format_transaction_dt(12 * 86400 + 4 * 3600 + 31 * 60 + 7) == "D+12 04:31:07"
    assert format_amount(1234.5) == "1,234.50"
    assert [format_amount(v) for v in (136.515, 0.005, -0.001)] == ["136.52", "0.01", "-0.00"]
    assert format_amount(1e308).startswith("100,000,")
    assert format_amount(None) == format_amount(float("nan")) == "—"
    assert format_signed(1.214) == "+1.21"
    assert format_signed(-0.5) == "\N{MINUS SIGN}0.50"
    assert [format_value(v) for v in (13926.0, 1.5, None, "", "W")] == [
        "13926",
        "1.5",
        "—",
        "—",
        "W",
    ]


def test_thresholds_beside_each_other_have_like_digits() -> None:
    assert [format_threshold(0.4, 0.8), format_threshold(0.8, 0.4)] == ["0.40", "0.80"]
    assert [format_threshold(0.62, 0.8137), format_threshold(0.8137, 0.62)] == ["0.6200", "0.8137"]
    assert format_threshold(1.0) == "1.00"
    assert format_threshold(None, 0.5) == "—"
    assert format_threshold(0.5, None) == "0.50"


def test_vendored_files_of_the_browser_tests_are_the_ones_that_were_published() -> None:
    folder = Path(__file__).parents[2] / "browser/vendor/axe-core"
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "manifest.json"
    }
    assert found == manifest["files"]
    assert not re.search(r"://", (folder / "manifest.json").read_text("utf-8"))
