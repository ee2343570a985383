"""The dashboard shows that the loaded model was promoted by force, or refused by its gate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dashboard.model_status import describe_model
from stream_scorer.model.serving.cache import BundleCache
from stream_scorer.model.serving.status import PromotionNote
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from stream_scorer.model.store.promotions import Override
from tests.support.dashboard_kit import StaticModel, make_app, tiny_bundle
from tests.support.factories import publish_only

REFUSED = {"gate": {"passed": False, "refusals": ["ROC AUC 0.5200 is below 0.6", "<i>worse</i>"]}}
ALICE = Override("alice@desk", "labels of <b>May</b>")


def make_model(note: PromotionNote) -> StaticModel:
    model = StaticModel(tiny_bundle())
    model.status = replace(model.status, promotion_note=note)
    return model


def forced(store: MemoryStore) -> None:
    publish_only(store, REFUSED)
    store.promote("v1", None, override=ALICE)


def test_page_and_health_show_who_forced_the_model_and_why(tmp_path: Path) -> None:
    note = PromotionNote(
        "v1", ("<i>worse</i>",), "alice@desk", "labels of <b>May</b>", "2026-11-29"
    )
    with TestClient(make_app(tmp_path, model=make_model(note)), "http://127.0.0.1") as client:
        page = client.get("/").text
        assert "<b>Model v1 promoted by force</b> by alice@desk at 2026-11-29: labels of" in page
        assert "labels of &lt;b&gt;May&lt;/b&gt;. Its gate refused it: &lt;i&gt;worse" in page
        model = client.get("/health").json()["checks"]["model"]
    assert model["ok"]
    assert model["override"] == {
        "version": "v1",
        "refusals": ["<i>worse</i>"],
        "by": "alice@desk",
        "reason": "labels of <b>May</b>",
        "at": "2026-11-29",
    }


def test_page_shows_a_refused_model_that_nobody_is_recorded_to_have_forced(
    tmp_path: Path,
) -> None:
    model = make_model(PromotionNote("v1", ("too few frauds to judge (6 of 30)",)))
    with TestClient(make_app(tmp_path, model=model), "http://127.0.0.1") as client:
        page = client.get("/").text
    assert "<b>Model v1 refused by its gate</b>: too few frauds to judge (6 of 30).</p>" in page


def test_health_without_a_token_hides_names_and_reasons(tmp_path: Path) -> None:
    note = PromotionNote("v1", ("worse than v7",), "alice@desk", "secret", "2026-11-29")
    tokens = tmp_path / "tokens"
    tokens.write_text("")
    app = make_app(
        tmp_path, model=make_model(note), dashboard_auth="token", dashboard_tokens_file=tokens
    )
    with TestClient(app, "http://127.0.0.1") as client:
        shown = client.get("/health")
    assert shown.json()["checks"]["model"]["override"]["by"] == "see the log"
    for hidden in ("alice", "secret", "worse"):
        assert hidden not in shown.text


@pytest.mark.parametrize(
    "note", [None, PromotionNote("v9", ("of another version",), "alice", "why", "now")]
)
def test_no_banner_for_a_model_that_passed(tmp_path: Path, note: PromotionNote | None) -> None:
    model = StaticModel(tiny_bundle())
    model.status = replace(model.status, promotion_note=note)
    assert describe_model(model)["override"] is None
    with TestClient(make_app(tmp_path, model=model), "http://127.0.0.1") as client:
        assert "promoted by force" not in client.get("/").text


def test_watcher_reads_the_override_from_the_promotion_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    forced(store)
    watcher = ModelWatcher(store, BundleCache(tmp_path))
    watcher.tick()
    watcher.tick()
    override = describe_model(watcher)["override"]
    assert override is not None
    assert (override["by"], override["reason"]) == (ALICE.by, ALICE.reason)
    assert override["refusals"] == REFUSED["gate"]["refusals"]
    assert caplog.text.count("model v1 was refused by its gate") == 1
    publish_only(store, {"gate": {"passed": True}}, seed=2)
    store.promote("v2", store.current())
    watcher.tick()
    assert describe_model(watcher)["version"] == "v2"
    assert describe_model(watcher)["override"] is None


def test_promotion_log_is_read_once_for_a_version(tmp_path: Path) -> None:
    store = MemoryStore()
    forced(store)
    watcher = ModelWatcher(store, BundleCache(tmp_path))
    watcher.tick()
    before = describe_model(watcher)["override"]
    store.script(StoreFault("unavailable", "* manifests/history/*", times=3))
    for _ in range(3):
        watcher.tick()
    assert describe_model(watcher)["override"] == before is not None
    assert watcher.status.problem is None


def test_unreadable_promotion_log_hides_only_the_force_and_is_read_again(tmp_path: Path) -> None:
    store = MemoryStore()
    forced(store)
    store.script(StoreFault("unavailable", "keys manifests/history/"))
    watcher = ModelWatcher(store, BundleCache(tmp_path))
    watcher.tick()
    override = describe_model(watcher)["override"]
    assert override is not None
    assert override["by"] is None
    assert override["refusals"]
    assert watcher.status.problem is None
    watcher.tick()
    override = describe_model(watcher)["override"]
    assert override is not None
    assert override["by"] == ALICE.by


def test_hostile_log_and_metadata_are_cut_and_escaped(tmp_path: Path) -> None:
    store = MemoryStore()
    publish_only(store, {"gate": {"passed": False, "refusals": ["\x1b[31m" + "x" * 5000] * 50}})
    store.promote("v1", None, override=Override("b" * 5000, "\x1b]0;r" + "r" * 5000))
    watcher = ModelWatcher(store, BundleCache(tmp_path))
    watcher.tick()
    note = watcher.status.promotion_note
    assert note is not None
    assert note.describe().isprintable()
    assert len(note.describe()) < 6000
    assert len(note.refusals) == 10
