"""The banner of a rejected model appears and disappears without a page reload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from playwright.sync_api import Page, expect

from stream_scorer.model.serving.status import FallBack
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
