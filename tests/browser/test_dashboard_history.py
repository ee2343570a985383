"""Card history on the pages: what a check used, and the last transactions of a client."""

from __future__ import annotations

import json
from collections.abc import Callable

from playwright.sync_api import Page, expect

from dashboard.history.past import Recent
from stream_scorer.features.history.card_record import PastTransaction
from tests.browser.conftest import Board
from tests.support.dashboard_kit import StaticModel, make_context
from tests.support.history.scored_stream import NOW, history_bundle, make_rows
from tests.support.history.scripted_histories import LOADED, ScriptedHistories


def test_check_shows_of_each_result_which_history_it_used(
    page: Page, start: Callable[..., Board]
) -> None:
    board = start(StaticModel(history_bundle()), ScriptedHistories(LOADED))
    page.goto(f"{board.address}/check?from=row", wait_until="domcontentloaded")
    expect(page.locator("#history")).to_contain_text("12 of 12 partitions loaded")
    page.fill("#f-row", json.dumps(make_rows(2)))
    page.get_by_role("button", name="Score").click()
    expect(page.locator("#answer th")).to_have_text(
        ["Transaction", "Score", "Decision", "Strongest push", "Card history"]
    )
    cells = page.locator("#answer tbody tr td:last-child")
    expect(cells).to_have_text(["not used: <b>why</b>\\x1b", "as of 2026-01-31 12:00:00 UTC"])


def test_drawer_shows_the_last_transactions_of_the_client(
    new_page: Callable[..., Page], start: Callable[..., Board]
) -> None:
    past = [PastTransaction(90_061, 12.5), PastTransaction(86_400, 1234.5)]
    found = Recent("<i>client", past, NOW, is_included=True)
    board = start(StaticModel(history_bundle()), ScriptedHistories(LOADED, found))
    board.score(context=make_context(TransactionAmt=12.5))
    board.wait_flagged(1)
    page = new_page(viewport={"width": 360, "height": 700})
    page.goto(f"{board.address}/t/0-1", wait_until="load")
    expect(page.locator(".recent tbody tr")).to_have_text(
        ["D+1 01:01:0112.50", "D+1 00:00:001,234.50"]
    )
    expect(page.locator("#detail")).to_contain_text("Card history of the same <i>client, as of")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
