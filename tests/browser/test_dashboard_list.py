"""The live list in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, Route, expect

from dashboard.feed.board import FeedState
from tests.browser import scenes
from tests.browser.conftest import Board, attributes, wait_held
from tests.support.dashboard_kit import make_context
from tests.support.waiting import wait_until

NewPage = Callable[..., Page]
EVIL = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'


def open_list(page: Page, board: Board, path: str = "/?sort=newest") -> None:
    page.goto(board.address + path, wait_until="domcontentloaded")
    expect(page.locator("#v-live")).to_have_text("Live")


def shown(page: Page) -> list[str]:
    return [str(name) for name in attributes(page.locator("#rows tr"), "data-id")]


def test_new_flagged_rows_appear_automatically_newest_first(page: Page, board: Board) -> None:
    open_list(page, board)
    expect(page.get_by_role("heading", name="No scores yet")).to_be_visible()
    context = make_context(TransactionAmt=1234.5, ProductCD="H", card1=4242.0)
    board.score(0.9999, transaction_id=777, context=context, scored_at=1_700_000_000_000)
    row = page.locator("#rows tr").first
    expect(row).to_be_visible()
    for text in ("▲▲▲ Critical", "0.9999", "2023-11-14 22:13:20", "777", "1,234.50", "H",
                 "4242", "Block"):  # fmt: skip
        expect(row).to_contain_text(text)
    expect(page.get_by_role("heading", name="No scores yet")).to_be_hidden()
    second = board.score(0.5)
    board.score(0.1)
    expect(page.locator("#rows tr")).to_have_count(2)
    assert shown(page)[0] == second
    expect(page.locator("#v-scored")).to_have_text("3")
    expect(page.locator("#v-flagged")).to_have_text("2")
    expect(page.locator("#v-model")).to_have_text("v7")


def test_live_row_and_server_rendered_row_have_the_same_text(
    new_page: NewPage, board: Board
) -> None:
    path = "/?sort=newest&columns=model,proof,card2,R_emaildomain"
    page, rendered = new_page(), new_page(java_script_enabled=False)
    open_list(page, board, path)
    for score in (0.41, 0.6, 0.79999, 0.95):
        board.score(score, context=make_context(ProductCD=None if score < 0.5 else "W"))
    rows = page.locator("#rows tr")
    expect(rows).to_have_count(4)
    live = rows.all_inner_texts()
    rendered.goto(board.address + path, wait_until="domcontentloaded")
    assert rendered.locator("#rows tr").all_inner_texts() == live
    page.reload(wait_until="domcontentloaded")
    expect(page.locator("#v-live")).to_have_text("Live")
    assert rows.all_inner_texts() == live


def test_text_from_an_attacker_is_never_interpreted_as_html(page: Page, board: Board) -> None:
    open_list(page, board)
    context = make_context(ProductCD=EVIL, DeviceInfo=EVIL, card4=EVIL, P_emaildomain=EVIL)
    reasons = [{"feature": EVIL, "value": EVIL, "contribution": 1.0}]
    more: dict[str, Any] = {"context": context, "reasons": reasons, "model_version": EVIL}
    board.score(0.9, **more)
    expect(page.locator("#rows tr .c-product")).to_have_text(EVIL)
    page.locator("#rows tr .c-score").click()
    expect(page.locator("#drawer")).to_contain_text(EVIL)
    page.reload(wait_until="domcontentloaded")
    expect(page.locator("#drawer")).to_contain_text(EVIL)
    page.goto(f"{board.address}/t/0-1", wait_until="domcontentloaded")
    expect(page.locator("#detail")).to_contain_text(EVIL)
    assert page.evaluate("window.pwned") is None
    assert page.locator("main img").count() == 0


def test_filter_is_in_the_url_and_applies_to_live_rows(page: Page, board: Board) -> None:
    kept = board.score(0.9, context=make_context(ProductCD="C"))
    board.score(0.5, context=make_context(ProductCD="C"))
    board.wait_flagged(2)
    open_list(page, board)
    page.fill("[name=min_score]", "0.8")
    page.select_option("[name=product]", "C")
    page.wait_for_url(f"{board.address}/?sort=newest&min_score=0.8&product=C")
    expect(page.locator("#v-live")).to_have_text("Live")
    assert shown(page) == [kept]
    board.score(0.5, context=make_context(ProductCD="C"))
    board.score(0.9, context=make_context(ProductCD="W"))
    wanted = board.score(0.85, context=make_context(ProductCD="C"))
    expect(page.locator(f'[data-id="{wanted}"]')).to_be_visible()
    assert shown(page) == [wanted, kept]
    page.get_by_role("link", name="Product C").first.click()
    page.wait_for_url(f"{board.address}/?sort=newest&min_score=0.8")
    expect(page.locator("#rows tr")).to_have_count(3)
    page.goto(f"{board.address}/?min_score=0.99", wait_until="domcontentloaded")
    expect(page.get_by_role("heading", name="No matching transactions")).to_be_visible()
    expect(page.locator("#empty")).to_contain_text(
        "Flagged transactions hidden by these filters: 5."
    )


def test_paused_list_counts_new_rows_and_resumes(page: Page, board: Board) -> None:
    board.score()
    board.wait_flagged(1)
    open_list(page, board)
    page.keyboard.press("p")
    expect(page.locator("#v-live")).to_have_text("Paused")
    for _ in range(3):
        board.score()
    expect(page.locator("#pill")).to_have_text("3 new — show")
    assert len(shown(page)) == 1
    page.click("#pill")
    expect(page.locator("#rows tr")).to_have_count(4)
    expect(page.locator("#pill")).to_be_hidden()
    board.score()
    expect(page.locator("#pill")).to_have_text("1 new — show")
    page.click("#pause")
    expect(page.locator("#rows tr")).to_have_count(5)


def test_rows_do_not_move_under_the_pointer(page: Page, board: Board) -> None:
    board.score()
    board.wait_flagged(1)
    open_list(page, board)
    page.locator("#rows tr .c-score").hover()
    expect(page.locator("#v-live")).to_have_text("Held: pointer over the list")
    board.score()
    expect(page.locator("#pill")).to_have_text("1 new — show")
    assert len(shown(page)) == 1
    page.mouse.move(5, 5)
    expect(page.locator("#rows tr")).to_have_count(2)


def test_rows_do_not_move_while_text_is_selected_or_the_list_is_scrolled(
    page: Page, board: Board
) -> None:
    for _ in range(45):
        board.score()
    board.wait_flagged(45)
    open_list(page, board)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('td.c-txn'))")
    expect(page.locator("#v-live")).to_have_text("Held: text is selected")
    board.score()
    expect(page.locator("#pill")).to_have_text("1 new — show")
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator("#rows tr")).to_have_count(46)
    page.evaluate("scrollTo(0, 900)")
    expect(page.locator("#v-live")).to_have_text("Held: scrolled down")
    board.score()
    expect(page.locator("#pill")).to_have_text("1 new — show")
    for part in ("#v-live", "#pause", "#pill"):
        expect(page.locator(part)).to_be_in_viewport()
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator("#rows tr")).to_have_count(47)


def test_drawer_shows_all_details_and_is_in_the_url_and_closes_with_escape(
    page: Page, board: Board
) -> None:
    flag = board.score(0.87, transaction_id=555)
    board.wait_flagged(1)
    open_list(page, board)
    row = page.locator("#rows tr")
    row.locator(".c-score").click()
    drawer = page.locator("#drawer")
    for text in ("Transaction 555", "0.8700", "Review ≥ 0.4", "transactions[0]@1",
                 "fraud-scores[0]@0", "DeviceInfo"):  # fmt: skip
        expect(drawer).to_contain_text(text)
    expect(drawer.locator("svg.bar rect")).to_have_count(5)
    expect(page).to_have_url(re.compile(f"sel={flag}$"))
    page.mouse.move(5, 5)
    board.score()
    expect(page.locator("#pill")).to_have_text("1 new — show")
    page.reload(wait_until="domcontentloaded")
    expect(drawer).to_contain_text("Transaction 555")
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(page).not_to_have_url(re.compile("sel="))  # the browser goes back on its own time


def test_older_page_continues_after_the_last_row_shown_then(page: Page, board: Board) -> None:
    for _ in range(70):
        board.score()
    board.wait_flagged(70)
    open_list(page, board)
    for _ in range(30):
        board.score()
    expect(page.locator(f'[data-id="0-{board.offset}"]')).to_be_visible()
    expect(page.locator("#rows tr.gap")).to_have_count(0)  # what a tick left out is fetched
    page.keyboard.press("p")  # the live list still drops rows until it is back at its usual length
    expect(page.locator("#v-live")).to_have_text("Paused")
    first = shown(page)
    page.get_by_role("link", name="Older transactions").click()
    expect(page.locator("#v-live")).to_have_text("Held: older transactions")
    assert first + shown(page) == [f"0-{i}" for i in range(100, 0, -1)]


def open_three_rows(new_page: NewPage, board: Board) -> tuple[Page, list[str], dict[str, Any]]:
    """A page with three rows whose ticks the test sends, their ids, and a later row for a tick."""
    ids = [board.score() for _ in range(3)]
    board.wait_flagged(3)
    page = new_page()
    scenes.control(page)
    scenes.open_queue(page, board.address, "/?sort=newest")
    row = board.find(ids[-1])
    later = {**row, "id": "0-9", "scored_at": row["scored_at"] + 5000}
    return page, ids, later


def test_rows_that_a_tick_left_out_are_counted_where_they_are_missing(
    new_page: NewPage, board: Board
) -> None:
    page, ids, later = open_three_rows(new_page, board)
    page.route("**/api/v1/flags?*", lambda route: route.abort())
    with page.expect_event("requestfailed"):
        scenes.emit(page, {}, rows=[later], more=14)
    expect(page.locator("#rows tr").nth(1)).to_have_text("14 not shown here — loading")
    assert shown(page) == ["0-9", "None", *ids[::-1]]
    page.unroute("**/api/v1/flags?*")
    scenes.emit(page, {}, rows=[{**later, "id": "0-10"}], more=1)
    expect(page.locator("#rows tr.gap")).to_have_count(0)
    expect(page.locator("#rows tr")).to_have_count(3)


def test_row_that_arrives_while_the_first_page_is_fetched_stays_on_the_page(
    new_page: NewPage, board: Board
) -> None:
    page, ids, later = open_three_rows(new_page, board)
    waiting: list[Route] = []

    def keep(route: Route) -> None:
        waiting.append(route)

    page.route("**/api/v1/flags?*", keep)
    scenes.emit(page, {}, rows=[], more=1)
    wait_held(page, waiting)
    scenes.emit(page, {}, rows=[later], more=0)
    expect(page.locator('#rows [data-id="0-9"]')).to_be_visible()
    waiting[0].continue_()  # the response does not have the row
    expect(page.locator("#rows tr.gap")).to_have_count(0)
    assert shown(page) == ["0-9", *ids[::-1]]


def test_default_order_is_by_expected_loss_for_live_rows_too(page: Page, board: Board) -> None:
    amounts = {board.score(0.9, context=make_context(TransactionAmt=a)): a for a in (10.0, 500.0)}
    board.wait_flagged(2)
    open_list(page, board, "/")
    expect(page.locator("th[aria-sort]")).to_have_text("Expected loss")
    amounts |= {board.score(0.5, context=make_context(TransactionAmt=100.0)): 100.0}
    expect(page.locator("#rows tr")).to_have_count(3)
    assert [amounts[row] for row in shown(page)] == [500.0, 100.0, 10.0]
    expect(page.locator("#rows .c-loss").nth(1)).to_have_text("50.00")
    page.get_by_role("link", name="Oldest").click()
    page.wait_for_url(f"{board.address}/?sort=oldest")
    assert shown(page) == sorted(amounts)


def test_list_never_has_more_than_200_rows(page: Page, board: Board) -> None:
    open_list(page, board)
    for _ in range(300):
        board.score()
    board.wait_flagged(300)
    wait_until(lambda: page.locator("#rows tr").count() >= 50, what="the rows")
    for _ in range(6):
        for _ in range(40):
            board.score()
        newest = f"0-{board.offset}"
        expect(page.locator(f'[data-id="{newest}"]')).to_be_visible()
    assert page.locator("#rows tr").count() <= 200


def test_kafka_outage_shows_a_banner_keeps_the_rows_and_recovers(page: Page, board: Board) -> None:
    board.score()
    board.wait_flagged(1)
    open_list(page, board)
    board.topic.is_down = True
    expect(page.locator(".banner.amber")).to_contain_text("Disconnected from Kafka since 2")
    expect(page.locator(".banner.amber")).to_contain_text("UTC (fraud-scores[0]@0).")
    expect(page.locator(".banner.amber")).to_contain_text("Kafka does not answer")
    expect(page.locator("#v-live")).to_contain_text("As of 2")
    assert len(shown(page)) == 1
    board.topic.is_down = False
    expect(page.locator(".banner.amber")).to_have_count(0)
    expect(page.locator("#v-live")).to_have_text("Live")
    wait_until(lambda: board.app.state.parts.board.status.state is FeedState.LIVE)
    board.score()
    expect(page.locator("#rows tr")).to_have_count(2)


def test_tabs_share_one_stream(new_page: NewPage, board: Board) -> None:
    first = new_page()
    open_list(first, board)
    tabs = [first, *(first.context.new_page() for _ in range(6))]
    for tab in tabs[1:]:
        open_list(tab, board)
    wait_until(lambda: len(board.app.state.parts.hub) == 1, what="one stream")
    board.score()
    for tab in tabs:
        expect(tab.locator("#rows tr")).to_have_count(1)


def test_listing_and_paging_work_without_javascript(new_page: NewPage, board: Board) -> None:
    for _ in range(60):
        board.score()
    board.wait_flagged(60)
    page = new_page(java_script_enabled=False)
    page.goto(f"{board.address}/?sort=newest", wait_until="domcontentloaded")
    first = shown(page)
    page.get_by_role("link", name="Older transactions").click()
    expect(page.locator("#rows tr")).to_have_count(60 - len(first))
    assert first + shown(page) == [f"0-{i}" for i in range(60, 0, -1)]
    page.get_by_role("link", name="Go to the first page").click()
    expect(page.locator("#rows tr")).to_have_count(len(first))
    page.fill("[name=min_score]", "0.95")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("heading", name="No matching transactions")).to_be_visible()


def test_page_of_older_rows_does_not_update_and_links_to_the_newest(
    page: Page, board: Board
) -> None:
    for _ in range(60):
        board.score()
    board.wait_flagged(60)
    open_list(page, board)
    page.get_by_role("link", name="Older transactions").click()
    expect(page.locator("#rows tr")).to_have_count(10)
    expect(page.locator("#v-live")).to_have_text("Held: older transactions")
    newest = board.score()
    expect(page.locator("#pill")).to_have_text("1 new — go to the first page")
    assert len(shown(page)) == 10
    page.click("#pill")
    expect(page.locator(f'[data-id="{newest}"]')).to_be_visible()
