"""The banners of a model come and go without a page reload; its report is in a frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Page, expect

from stream_scorer.model.serving.status import FallBack, PromotionNote
from stream_scorer.model.store.file_store import FileStore
from tests.browser.conftest import Board, attributes
from tests.support.dashboard_kit import StaticModel, tiny_bundle, with_texts
from tests.support.factories import make_draft
from tests.support.stores import store_settings
from tests.support.training.report_kit import make_report_metadata
from trainer.publishing.publish import publish


def test_banners_of_a_rejected_and_of_a_forced_model_come_and_go(
    page: Page, start: Callable[..., Board]
) -> None:
    model = StaticModel(tiny_bundle())
    board = start(model)
    page.goto(board.address, wait_until="domcontentloaded")
    red, amber = page.locator(".banner.red"), page.locator(".banner.amber")
    expect(red).to_have_count(0)
    expect(amber).to_have_count(0)
    rejected = FallBack("v2", "v1", "<i>too many</i> flagged")
    note = PromotionNote("v1", ("<i>worse</i>", "slow"), "alice@desk", "<b>May</b>", "2026-11-29")
    model.status = replace(model.status, rolled_back=rejected, promotion_note=note)
    expect(red).to_have_text("Model v2 rejected: <i>too many</i> flagged. v1 is serving instead.")
    expect(amber).to_have_text(
        "Model v1 promoted by force by alice@desk at 2026-11-29: <b>May</b>. "
        "Its gate refused it: <i>worse</i>; slow."
    )
    model.status = replace(model.status, rolled_back=None, promotion_note=None)
    expect(red).to_have_count(0)
    expect(amber).to_have_count(0)


def test_reasons_of_live_rows_are_in_the_words_of_the_model_that_is_loaded(
    page: Page, start: Callable[..., Board]
) -> None:
    model = StaticModel(with_texts({"C13": "count <i>13</i>"}))
    board = start(model)
    names = ("C13", "D2", "constructor")
    reasons = [{"feature": name, "value": "1", "contribution": 0.5} for name in names]
    page.goto(board.address, wait_until="domcontentloaded")
    expect(page.locator("#v-live")).to_have_text("Live")
    first = page.locator(f'[data-id="{board.score(reasons=reasons)}"] .reason b')
    expect(first).to_have_text(["count <i>13</i>", "D2", "constructor"])
    assert first.first.get_attribute("title") == "count <i>13</i> · C13"
    assert first.last.get_attribute("title") == "constructor"
    with page.expect_response("**/api/v1/features") as answer:
        model.current = with_texts({"D2": "days"}, "v2")
    answer.value.finished()
    shown = page.locator(f'[data-id="{board.score(reasons=reasons)}"] .reason')
    second = shown.locator("b")
    expect(second).to_have_text(["C13", "days", "constructor"])
    live = shown.all_inner_texts(), attributes(second, "title")
    page.reload(wait_until="domcontentloaded")
    assert (shown.all_inner_texts(), attributes(second, "title")) == live


def test_report_is_shown_in_a_frame_without_rights(
    new_page: Callable[..., Page], start: Callable[..., Board], tmp_path: Path
) -> None:
    """A refused style or frame is an error in the console, which fails the test."""
    store = FileStore(tmp_path / "store")
    draft = make_draft()
    facts = make_report_metadata()
    keys = ("metrics", "plots", "gate", "evaluation", "calibration", "served", "training")
    publish(store, replace(draft, facts={key: facts[key] for key in keys}), store_settings())
    board = start(store=store)
    page = new_page()
    page.goto(f"{board.address}/model?version=v1", wait_until="domcontentloaded")
    report = page.locator("iframe.report")
    inside = page.frame_locator("iframe.report")
    report.scroll_into_view_if_needed()
    expect(inside.locator("h1")).to_have_text("Fraud model v1")
    expect(inside.locator("figure svg").first).to_be_attached()
    assert len(page.frames) == 2
    grounds = []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        state = page.frames[1].evaluate(
            "() => [self.origin, getComputedStyle(document.body).backgroundColor]"
        )
        assert state[0] == "null"  # no access to the dashboard, its cookies and its storage
        grounds.append(state[1])
    assert grounds == ["rgb(255, 255, 255)", "rgb(17, 22, 28)"]
    inside.locator("nav a").first.click()
    page.frames[1].wait_for_url("**/report#evaluation")
    page.set_viewport_size({"width": 390, "height": 844})
    for frame in page.frames:
        frame.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
    with page.expect_download() as started:
        page.get_by_role("link", name="Download").click()
    assert started.value.suggested_filename == "report-v1.html"
    assert started.value.path().read_bytes() == store.read_report("v1")
