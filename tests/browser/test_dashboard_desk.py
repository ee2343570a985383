"""Working on transactions: the drawer, decisions, one after another, and what may go wrong."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, Route, expect

from dashboard.cases.case import Decision, Who
from tests.browser import axe
from tests.browser.conftest import Board, wait_held
from tests.support.dashboard_kit import StaticModel, make_context, tiny_bundle


def open_list(page: Page, board: Board, count: int = 2) -> None:
    """Open the list with flagged transactions, whose ids are 100, 101, and so on."""
    for i in range(count):
        board.score(0.9 - i * 0.01, transaction_id=100 + i)
    board.wait_flagged(count)
    page.goto(board.address, wait_until="domcontentloaded")
    expect(page.locator("#rows tr")).to_have_count(count)
    expect(page.locator("#v-live")).to_have_text("Live")


def test_failed_load_is_shown_and_releases_the_list_and_can_be_repeated(
    page: Page, board: Board
) -> None:
    open_list(page, board)
    page.route("**/t/0-1/panel*", lambda route: route.abort())
    page.locator('[data-id="0-1"] .c-score').click()
    drawer = page.locator("#drawer")
    expect(drawer).to_contain_text("This transaction could not be loaded")
    expect(drawer).to_contain_text("No connection to the dashboard.")
    axe.check(page)
    page.mouse.move(5, 5)
    board.score()
    expect(page.locator("#rows tr")).to_have_count(3)
    page.unroute("**/t/0-1/panel*")
    page.route("**/t/0-1/panel*", lambda route: route.fulfill(status=503, json={"detail": "full"}))
    drawer.get_by_role("button", name="Retry").click()
    expect(drawer).to_contain_text("Full.")
    page.unroute("**/t/0-1/panel*")
    drawer.get_by_role("button", name="Retry").click()
    expect(drawer).to_contain_text("Transaction 100")
    page.route("**/t/0-2/panel*", lambda route: route.fulfill(status=401, json={}))
    page.locator('[data-id="0-2"] .c-score').click()
    expect(drawer).to_contain_text("Your session has ended.")
    expect(drawer.get_by_role("link", name="Log in again")).to_have_attribute(
        "href", "/login?next=%2F%3Fsel%3D0-2"
    )


def test_only_the_newest_transaction_is_shown(page: Page, board: Board) -> None:
    open_list(page, board)
    held: list[Route] = []
    # Playwright marks the handler, and a bound method of a list takes no mark.
    page.route("**/t/0-1/panel*", lambda route: held.append(route))  # noqa: PLW0108
    with page.expect_request("**/t/0-1/panel*"):
        page.locator('[data-id="0-1"] .c-score').click()
    # Not with the mouse: rows are moving to make room for the drawer.
    page.locator('[data-id="0-2"] .c-score').dispatch_event("click")
    drawer = page.locator("#drawer")
    expect(drawer).to_contain_text("Transaction 101")
    wait_held(page, held)
    held[0].continue_()
    page.unroute("**/t/0-1/panel*")
    expect(page).to_have_url(re.compile("sel=0-2"))
    expect(drawer).not_to_contain_text("Transaction 100")


def test_back_closes_the_drawer_and_the_row_has_the_focus(page: Page, board: Board) -> None:
    open_list(page, board)
    drawer = page.locator("#drawer")
    for identifier in ("0-1", "0-2"):
        page.locator(f'[data-id="{identifier}"] .c-score').click()
        expect(drawer).to_contain_text(f"Transaction {99 + int(identifier[2])}")
    assert page.evaluate("document.activeElement.id") == "drawer"
    page.go_back(wait_until="commit")
    expect(drawer).to_be_hidden()
    expect(page).to_have_url(f"{board.address}/")
    assert page.evaluate("document.activeElement.dataset.id") == "0-2"
    page.go_forward(wait_until="commit")
    expect(drawer).to_contain_text("Transaction 101")
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    page.wait_for_url(f"{board.address}/")


def test_transaction_opened_while_the_browser_still_goes_back_is_the_one_that_is_shown(
    page: Page, board: Board
) -> None:
    page.clock.install()
    open_list(page, board)
    drawer = page.locator("#drawer")
    page.locator('[data-id="0-1"] .c-score').click()
    expect(drawer).to_contain_text("Transaction 100")
    page.evaluate("() => { const back = history.back; history.back = () => { goBack = back; }; }")
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    page.locator('[data-id="0-2"] .c-score').click()
    page.clock.run_for(2000)
    page.evaluate("goBack.call(history)")
    expect(drawer).to_contain_text("Transaction 101")
    expect(page).to_have_url(re.compile("sel=0-2"))
    page.go_back(wait_until="commit")
    expect(drawer).to_be_hidden()


def test_print_of_an_open_transaction_is_that_transaction(page: Page, board: Board) -> None:
    open_list(page, board, 1)
    page.locator('[data-id="0-1"] .c-score').click()
    expect(page.locator("#drawer .related")).to_be_visible()
    page.emulate_media(media="print")
    expect(page.locator("#flags")).to_be_hidden()
    expect(page.locator("#drawer .close")).to_be_hidden()
    expect(page.locator("#drawer h2")).to_have_text("Transaction 100")
    assert page.locator("#drawer").evaluate("e => getComputedStyle(e).position") == "static"


def test_pages_of_a_transaction_and_of_an_entity_are_accessible(
    page: Page, start: Callable[..., Board]
) -> None:
    board = start(StaticModel(tiny_bundle("v7")))
    for i in range(4):
        board.score(0.6 + i / 10, context=make_context(card1=9500.0), transaction_id=100 + i)
    board.wait_flagged(4)
    desk = board.app.state.parts.desk
    ana = Who("ana", "analyst")
    for i, label in enumerate(("FRAUD", "LEGITIMATE", "UNSURE")):
        desk.decide(Decision(f"0-{i + 1}", label, ("other",), "a note"), ana, label, None)
    page.goto(f"{board.address}/t/0-1", wait_until="load")
    expect(page.locator(".waterfall tbody tr")).to_have_count(7)
    expect(page.locator(".timeline .dot")).to_have_count(4)
    axe.check(page)
    page.get_by_role("link", name="9500").click()
    page.wait_for_url(f"{board.address}/entity/card/9500")
    expect(page.locator(".items tbody tr")).to_have_count(4)
    page.get_by_role("button", name="Select all").click()
    expect(page.locator(".bulk .count")).to_have_text("4 selected")
    axe.check(page)
    page.get_by_role("link", name="103").click()
    page.wait_for_url(f"{board.address}/t/0-4")
    page.keyboard.press("l")
    expect(page.locator(".case")).to_contain_text("Legitimate, decided by you")


def test_page_of_a_transaction_goes_on_to_the_next_one(page: Page, board: Board) -> None:
    for i in range(3):
        board.score(0.9, transaction_id=100 + i, context=make_context(TransactionAmt=1000.0 - i))
    board.wait_flagged(3)
    page.goto(f"{board.address}/t/0-1", wait_until="load")
    detail = page.locator("#detail")
    after = detail.get_by_role("button", name="Next")
    expect(after).to_be_hidden()
    page.keyboard.press("f")
    expect(detail.locator(".tally")).to_contain_text("You decided 1 today")
    expect(after).to_be_visible()
    detail.get_by_role("button", name="Withdraw decision").click()
    expect(detail.locator(".case")).to_have_text(re.compile("^Open"))
    expect(detail.locator(".tally")).to_be_hidden()
    page.keyboard.press("f")
    after.click()
    expect(detail).to_contain_text("Transaction 101")
    expect(detail.locator(".case")).to_contain_text("Held by you")
    expect(page).to_have_url(re.compile("/t/0-2$"))
    expect(page).to_have_title("Transaction 101 · Fraud dashboard")
    expect(page.locator("#opened")).to_contain_text("Transaction 101, 999.00 USD")
    page.keyboard.press("l")
    expect(detail).to_contain_text("Transaction 102")
    expect(detail.locator(".tally")).to_contain_text("You decided 2 today")
    page.keyboard.press("z")
    expect(detail).to_contain_text("Transaction 101")
    expect(detail.locator(".case")).to_have_text(re.compile("^Open"))
    page.go_back(wait_until="commit")
    expect(detail).to_contain_text("Transaction 102")
    expect(page).to_have_url(re.compile("/t/0-3$"))
    page.reload(wait_until="domcontentloaded")
    expect(detail.locator(".tally")).to_contain_text("You decided 1 today")


def test_older_news_of_a_case_and_slower_answers_change_nothing(page: Page, board: Board) -> None:
    page.goto(f"{board.address}/static/desk-state.js", wait_until="domcontentloaded")
    found = page.evaluate(
        """async () => {
            const desk = await import("/static/desk-state.js");
            const drawer = await import("/static/drawer-state.js");
            const run = ({ reduce }, state, actions) => actions.reduce(reduce, state);
            const known = (version) => ({ type: "known", id: "a", found: version && { version } });
            const of = (...actions) => run(desk, desk.NOTHING, actions).cases.get("a")?.version;
            const at = (at, by) => ({ type: "known", id: "a", found: { version: 0, by }, at });
            const by = (...actions) => run(desk, desk.NOTHING, actions).cases.get("a")?.by;
            const told = { type: "told", id: "a", found: { version: 1 } };
            const opened = [{ type: "opened", id: "a" }, { type: "opened", id: "b" }];
            const shown = (...more) => run(drawer, drawer.CLOSED, [...opened, ...more]);
            return [
                of(known(2), known(1)), of(known(2), known(null)), of(known(2), told),
                of(known(2), { type: "forgotten", id: "a" }, known(1)),
                by(at(5, "me"), at(4, null)), by(at(5, "me"), at(6, null)),
                shown({ type: "loaded", turn: 1, node: "a" }).node,
                shown({ type: "loaded", turn: 2, node: "b" }, { type: "slow", turn: 2 }).view,
                shown({ type: "loaded", turn: 2, node: "b" }, { type: "failed", turn: 1 }).view,
                shown({ type: "closed" }, { type: "loaded", turn: 2, node: "b" }).view,
                shown({ type: "loaded", turn: 2, node: "b" }).isNext,
            ];
        }"""
    )
    assert found == [2, 2, 1, 1, "me", None, None, "loading", "detail", "none", True]
    found = page.evaluate(
        """async () => {
            const { CLOSED, reduce } = await import("/static/drawer-state.js");
            const early = reduce(CLOSED, { type: "opened", id: "a", node: "A", isEarly: true });
            const of = (...actions) => {
                const { view, node, isEarly, isSlow } = actions.reduce(reduce, early);
                return [view, node, isEarly, isSlow];
            };
            const slow = { type: "slow", turn: 1 };
            return [
                of(), of(slow), of(slow, { type: "loaded", turn: 1, node: "A" }),
                of({ type: "opened", id: "b" }, { type: "slow", turn: 2 }),
                of(slow, { type: "failed", turn: 1, error: "e" }),
            ];
        }"""
    )
    assert found == [
        ["detail", "A", True, False],
        ["detail", "A", True, True],
        ["detail", "A", False, False],
        ["loading", None, False, False],
        ["failed", None, False, False],
    ]


def test_what_is_fetched_ahead_is_little_and_young_and_can_be_dropped(
    page: Page, board: Board
) -> None:
    page.goto(f"{board.address}/static/ahead.js", wait_until="domcontentloaded")
    found = page.evaluate(
        """async () => {
            const { Ahead } = await import("/static/ahead.js");
            const ahead = new Ahead({ most: 3, longestMs: 10 });
            const at = (now) => [..."abcd"].filter((id) => ahead.get(id, now)?.answer === `${id}!`);
            for (const [i, id] of [..."abcd"].entries()) ahead.put(id, `${id}!`, i);
            const seen = [at(3), at(10), at(11), at(13)];
            ahead.put("b", "b!", 4); // asked for again: the youngest
            ahead.put("a", "a!", 5); // c makes room
            ahead.drop("d");
            return [...seen, at(5)].map((ids) => ids.join(""));
        }"""
    )
    assert found == ["bcd", "bcd", "cd", "", "ab"]
