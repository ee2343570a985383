"""What the queue does beside listing: keys, bulk decisions, saved views, theme and time zone."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import Board
from tests.browser.test_dashboard_list import open_list
from tests.support.dashboard_kit import make_context

NewPage = Callable[..., Page]


def test_hold_ends_when_a_transaction_cannot_be_loaded(page: Page, board: Board) -> None:
    board.score()
    board.wait_flagged(1)
    open_list(page, board)
    page.route("**/static/drawer.js", lambda route: route.abort())
    page.locator("#rows tr .c-score").click()
    expect(page.locator(".toast")).to_contain_text("The transaction could not be loaded")
    page.mouse.move(5, 5)
    expect(page.locator("#v-live")).to_have_text("Live")
    board.score()
    expect(page.locator("#rows tr")).to_have_count(2)


def test_keys_move_open_select_and_search_and_can_be_switched_off(page: Page, board: Board) -> None:
    ids = [board.score(0.5 + i / 10) for i in range(4)][::-1]
    board.wait_flagged(4)
    open_list(page, board)
    current = page.locator("#rows tr[aria-current]")
    for key, row in (("j", 0), ("j", 1), ("ArrowDown", 2), ("k", 1), ("ArrowUp", 0)):
        page.keyboard.press(key)
        expect(current).to_have_attribute("data-id", ids[row])
        expect(current).to_be_focused()
    # One row is in the order of Tab, not two hundred.
    assert page.locator("#rows tr[tabindex='0']").count() == 1
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Shift+X")
    expect(page.locator("#bulk")).to_contain_text("3 selected")
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(page.locator("#bulk")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("[name=q]")).to_be_focused()
    page.keyboard.type("jx?")
    expect(page.locator("[name=q]")).to_have_value("jx?")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog.locator("dt")).to_have_count(21)
    dialog.get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("p")
    expect(current).to_have_attribute("data-id", ids[2])
    expect(page.locator("#pause")).to_have_text("Pause")
    page.keyboard.press("ArrowUp")
    expect(current).to_have_attribute("data-id", ids[1])


def test_snooze_asks_how_long_in_the_details_and_closes_its_menu(page: Page, board: Board) -> None:
    first = board.score()
    board.wait_flagged(1)
    open_list(page, board)
    page.keyboard.press("j")
    page.keyboard.press("s")  # which opens the transaction first
    drawer, menu = page.locator("#drawer"), page.locator("#drawer details.snooze[open]")
    expect(menu).to_be_visible()
    expect(menu.get_by_role("button", name="1 h", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu).to_have_count(0)
    expect(drawer).to_be_visible()
    page.keyboard.press("s")
    page.keyboard.press("Enter")
    expect(drawer.locator(".case")).to_contain_text("Snoozed by you until")
    expect(menu).to_have_count(0)
    expect(drawer.locator(".snooze summary")).to_be_focused()
    expect(page.locator(f'[data-id="{first}"] .c-status')).to_contain_text("Snoozed")
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()


def test_own_claims_are_counted_at_once(page: Page, board: Board) -> None:
    board.score()
    board.wait_flagged(1)
    page.clock.install()
    open_list(page, board)
    page.keyboard.press("j")
    page.keyboard.press("a")
    expect(page.locator("#rows .c-status")).to_contain_text("Mine")
    page.clock.run_for(1000)
    expect(page.locator("#v-mine")).to_have_text("1")


def test_selected_rows_are_decided_together_after_a_confirmation(page: Page, board: Board) -> None:
    for amount in (100.0, 200.0, 300.0):
        board.score(0.9, context=make_context(TransactionAmt=amount))
    board.wait_flagged(3)
    page.goto(f"{board.address}/?sort=oldest", wait_until="domcontentloaded")
    expect(page.locator("#v-live")).to_have_text("Live")
    for row in ("0-1", "0-2"):
        page.locator(f'[data-id="{row}"] .c-select input').check()
    expect(page.locator("#v-live")).to_contain_text("Held")
    page.get_by_role("button", name="Fraud…").click()
    dialog = page.get_by_role("dialog", name="Fraud: 2 transactions?")
    expect(dialog).to_contain_text("Their amounts add up to 300.00 USD.")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.locator(".c-status").nth(1)).to_have_text("Open")
    page.get_by_role("button", name="Fraud…").click()
    dialog.get_by_label("Note (optional)").fill("one ring")
    dialog.get_by_role("button", name="Decide 2 transactions as fraud").click()
    expect(page.locator(".toast")).to_contain_text("2 decided.")
    for row, text in (("0-1", "Fraud"), ("0-2", "Fraud"), ("0-3", "Open")):
        expect(page.locator(f'[data-id="{row}"] .c-status')).to_contain_text(text)
    expect(page.locator("#bulk")).to_be_hidden()
    page.goto(f"{board.address}/?sort=oldest", wait_until="domcontentloaded")
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.locator("#v-open")).to_have_text("1")


def test_views_are_saved_opened_and_deleted_and_exports_have_the_filter(
    page: Page, board: Board
) -> None:
    board.score(0.9)
    board.wait_flagged(1)
    path = "/?min_score=0.5&sort=newest&columns=addr1"
    page.goto(board.address + path, wait_until="domcontentloaded")
    page.locator("#views > summary").click()
    page.get_by_label("Name of the view").fill("<b>Big</b>")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".toast")).to_contain_text("Saved the view “<b>Big</b>”.")
    page.goto(board.address, wait_until="domcontentloaded")
    page.locator("#views > summary").click()
    page.get_by_role("link", name="<b>Big</b>").click()
    page.wait_for_url(board.address + path)
    expect(page.locator("th.c-field")).to_have_text("addr1")
    export = page.locator("a[download]").first.get_attribute("href")
    assert export == "/api/v1/export.csv?min_score=0.5&status=open"
    assert page.request.get(board.address + export).status == 200
    page.locator("#views > summary").click()
    page.get_by_role("button", name="Delete the view <b>Big</b>").click()
    expect(page.locator("#view-list a")).to_have_count(0)


def test_theme_and_zone_can_be_chosen_and_stay(new_page: NewPage, board: Board) -> None:
    board.score(scored_at=1_795_000_000_000)
    board.wait_flagged(1)
    page = new_page(timezone_id="Europe/Berlin", color_scheme="light")
    page.goto(board.address, wait_until="domcontentloaded")
    cell = page.locator("#rows .c-time")
    expect(cell).to_contain_text("2026-11-18 11:06:40")
    page.select_option("#zone", "local")
    expect(cell).to_contain_text("2026-11-18 12:06:40")
    expect(page.locator("th.c-time")).to_have_text("Scored (GMT+1)")
    page.select_option("#zone", "other")
    page.get_by_label("Time zone, such as Europe/Berlin").fill("Asia/Tokyo")
    page.get_by_role("button", name="Use this zone").click()
    expect(cell).to_contain_text("2026-11-18 20:06:40")
    page.select_option("#theme", "dark")
    scheme = "getComputedStyle(document.documentElement).colorScheme"
    assert page.evaluate(scheme) == "dark"
    board.score(scored_at=1_795_000_001_000)
    page.reload(wait_until="domcontentloaded")
    # The server renders the theme, so that no page flashes in the other one.
    assert page.locator("html").get_attribute("data-theme") == "dark"
    expect(cell.first).to_contain_text("2026-11-18 20:06:4")
    page.select_option("#theme", "auto")
    assert page.evaluate(scheme) == "light dark"
