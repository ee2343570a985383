"""The result where it goes: store, metrics, terminal and page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import generate_latest

from stream_scorer.cli.quality import report_lines
from stream_scorer.errors import StoreConflict, StoreError, UsageError
from stream_scorer.model.store.memory_store import MemoryObjects, StoreFault
from stream_scorer.model.store.names import QUALITY
from stream_scorer.quality.figures import Promise
from stream_scorer.quality.metrics import build_registry, write_metrics
from stream_scorer.quality.page import build_page
from stream_scorer.quality.promises import read_promises
from stream_scorer.quality.published import MAX_VERSIONS, publish
from stream_scorer.quality.words import PROBLEMS
from tests.support.quality.kit import NOW, make_result, make_rows, read_published


def test_result_is_plain_json_and_survives_the_store() -> None:
    result, objects = make_result(), MemoryObjects()
    assert read_published(objects) is None
    assert publish(objects, result)
    found = read_published(objects)
    assert found is not None
    assert found == json.loads(json.dumps(result)) | {"versions_left_out": 0}


def test_earlier_run_does_not_replace_the_result_of_a_later_one() -> None:
    objects = MemoryObjects()
    assert publish(objects, make_result(now=NOW))
    assert not publish(objects, make_result(now=NOW - 1))
    assert publish(objects, make_result(now=NOW + 1))
    found = read_published(objects)
    assert found is not None
    assert found["computed_at"] == NOW + 1


def test_unreadable_object_is_replaced() -> None:
    objects = MemoryObjects()
    objects.overwrite(QUALITY, b"[]")
    assert publish(objects, make_result())
    assert read_published(objects) is not None


def test_lost_race_is_tried_again_and_given_up_in_the_end() -> None:
    objects = _RacingObjects(2)
    assert publish(objects, make_result())
    with pytest.raises(StoreConflict):
        publish(_RacingObjects(99), make_result())
    objects = _RacingObjects(0)
    objects.script([StoreFault("unavailable", "read *")])
    with pytest.raises(StoreError):
        publish(objects, make_result())


class _RacingObjects(MemoryObjects):
    """Somebody else writes first, some number of times."""

    def __init__(self, races: int) -> None:
        super().__init__()
        self._races = races

    def replace(self, key: str, content: bytes, expected: str | None) -> str:
        if self._races:
            self._races -= 1
            self.overwrite(key, b'{"computed_at": %d}' % self._races)
        return super().replace(key, content, expected)


def test_only_the_newest_versions_are_published() -> None:
    n = MAX_VERSIONS + 3
    rows = make_rows(
        np.full(n, 0.7),
        times=NOW - np.arange(n) - 1,
        versions=np.arange(n, dtype=np.int32),
        version_names=tuple(f"v{n - i}" for i in range(n)),
    )
    objects = MemoryObjects()
    publish(objects, make_result(rows))
    found = read_published(objects)
    assert found is not None
    assert found["versions_left_out"] == 3
    names = [version["version"] for version in found["versions"]]
    assert names == [f"v{n - i}" for i in range(MAX_VERSIONS)]


def metrics_of(result: dict[str, Any]) -> dict[str, float]:
    lines = generate_latest(build_registry(result)).decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_metrics_are_the_figures_and_what_is_not_known_is_absent() -> None:
    result = make_result()
    found = metrics_of(result)
    (version,) = result["versions"]
    at = '{source="reviewed",threshold="review",version="v1"}'
    figure = version["precision"]["review"]["reviewed"]
    assert found[f"fraud_model_live_precision{at}"] == figure["value"]
    assert found[f"fraud_model_live_precision_low{at}"] == figure["interval"][0]
    assert found[f"fraud_model_live_precision_high{at}"] == figure["interval"][1]
    change = version["precision_change"]["review"]["reviewed"]
    assert found[f"fraud_model_live_precision_change_high{at}"] == change["interval"][1] < 0
    assert f"fraud_model_live_recall{at}" not in found
    assert found['fraud_model_live_current{version="v1"}'] == 1
    assert found['fraud_model_live_scores{version="v1"}'] == 600
    assert found['fraud_model_live_problems{reason="unreadable_scores"}'] == 3
    assert found["fraud_model_live_last_success_timestamp_seconds"] == NOW / 1000
    money = version["money"]["caught"]["value"]
    assert found['fraud_model_live_fraud_amount{outcome="caught",version="v1"}'] == money > 0


def test_metrics_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    write_metrics(build_registry(make_result()), tmp_path / "live.prom")
    assert "fraud_model_live_precision{" in (tmp_path / "live.prom").read_text()
    with pytest.raises(UsageError, match="cannot write"):
        write_metrics(build_registry(make_result()), tmp_path / "missing" / "live.prom")


def test_terminal_shows_every_figure_with_its_labels() -> None:
    result = make_result()
    text = "\n".join(report_lines(result))
    (version,) = result["versions"]
    reviewed = version["precision"]["review"]["reviewed"]["value"]
    assert re.search(rf"precision at review +reviewed +{reviewed * 100:.1f} % \(", text)
    assert re.search(r"recall at review +reviewed +not estimable from these labels: analysts", text)
    assert re.search(r"fraud caught +all +[\d,]+ \([\d,]+ to [\d,]+\) in \d+ frauds", text)
    assert re.search(r"fraud missed +all +unknown: \d+ frauds whose amount is not known", text)
    assert "BELOW THE PROMISE beyond chance, by reviewed labels" in text
    assert "3 records are no scores" in text
    assert "1 labels are of transactions without a score in this window" in text


def test_page_shows_the_figures_and_escapes_names_from_records() -> None:
    page = build_page(make_result())
    assert "&lt;b&gt;W" in page
    assert "<b>W" not in page
    assert "\x1b" not in page
    assert page.count("<circle") >= 8  # the ranges of scores
    assert "is below the promised 80.0 % beyond chance, by reviewed labels" in page
    assert not re.search(r"https?://", page)


def test_nothing_scored_is_said_everywhere() -> None:
    rows = make_rows([0.7], times=np.array([0]))
    result = make_result(rows)
    assert result["versions"] == []
    assert "no score in this window: choose an earlier --since" in list(report_lines(result))
    assert "There is no score in this window." in build_page(result)
    assert "fraud_model_live_scores" not in metrics_of(result)


def test_every_problem_has_its_words() -> None:
    kinds = set(re.findall(r'"((?:labels|scores|bad|unreadable|conflicting)_[a-z_]+)"', _sources()))
    assert kinds - {"labels_topic"} == set(PROBLEMS)


def _sources() -> str:
    room = Path(__file__).parents[3] / "stream_scorer" / "quality"
    names = ("counts", "reader", "run")
    return "".join((room / f"{name}.py").read_text() for name in names).replace(
        "unreadable_batches=1", '"unreadable_batches"'
    )


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"rows": 200, "frauds": 160}, {"review": Promise(160, 200)}),
        ({"rows": 0, "frauds": 0}, {}),
        ({"rows": 10, "frauds": 11}, {}),
        ({"rows": True, "frauds": True}, {}),
        ({"rows": 10, "frauds": -1}, {}),
        ({"rows": 1e9, "frauds": 3}, {}),
        ("80 %", {}),
        (None, {}),
    ],
)
def test_only_sound_promises_count(stated: Any, expected: dict[str, Promise]) -> None:
    assert read_promises({"metrics": {"test": {"review": stated}}}) == expected
    assert read_promises({"metrics": stated}) == {}
