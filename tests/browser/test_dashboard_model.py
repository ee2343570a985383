"""The banners of a model appear and disappear without a page reload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from playwright.sync_api import Page, expect

from stream_scorer.model.serving.status import FallBack, PromotionNote
from tests.browser.conftest import Board
from tests.support.dashboard_kit import StaticModel, tiny_bundle


def test_banner_is_shown_while_the_promoted_model_is_rejected(
    page: Page, start: Callable[..., Board]
) -> None:
    model = StaticModel(tiny_bundle())
    board = start(model)
    page.goto(board.address, wait_until="domcontentloaded")
    expect(page.locator(".banner.red")).to_have_count(0)
    model.status = replace(
        model.status, rolled_back=FallBack("v2", "v1", "<i>too many</i> flagged")
    )
    expect(page.locator(".banner.red")).to_contain_text(
        "Model v2 rejected: <i>too many</i> flagged. v1 is serving instead."
    )
    model.status = replace(model.status, rolled_back=None)
    expect(page.locator(".banner.red")).to_have_count(0)


def test_banner_is_shown_while_a_forced_model_serves(
    page: Page, start: Callable[..., Board]
) -> None:
    model = StaticModel(tiny_bundle())
    board = start(model)
    page.goto(board.address, wait_until="domcontentloaded")
    expect(page.locator(".banner.amber")).to_have_count(0)
    note = PromotionNote("v1", ("<i>worse</i>", "slow"), "alice@desk", "<b>May</b>", "2026-11-29")
    model.status = replace(model.status, promotion_note=note)
    expect(page.locator(".banner.amber")).to_have_text(
        "Model v1 promoted by force by alice@desk at 2026-11-29: <b>May</b>. "
        "Its gate refused it: <i>worse</i>; slow."
    )
    model.status = replace(model.status, promotion_note=PromotionNote("v1", ("worse",)))
    expect(page.locator(".banner.amber")).to_have_text("Model v1 refused by its gate: worse.")
    model.status = replace(model.status, promotion_note=None)
    expect(page.locator(".banner.amber")).to_have_count(0)
