"""The drift page in a browser: readable by everyone, in both themes and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import axe
from tests.browser.conftest import Board
from tests.support.drift.report import put_report

pytestmark = pytest.mark.browser


def test_drift_page_is_accessible_and_fits_a_phone(
    tmp_path: Path, start: Callable[..., Board], new_page: Callable[..., Page]
) -> None:
    board = start(model_store_uri=put_report(tmp_path))
    page = new_page(viewport={"width": 360, "height": 740})
    page.goto(f"{board.address}/drift")
    page.get_by_text("View as table: C13").click()
    expect(page.get_by_role("table").nth(1)).to_contain_text("2.5 to 10")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    axe.check(page)
