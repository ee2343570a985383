"""The drawer shows what is known of a transaction at once, and its details are fetched ahead."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, Request, Route, expect

from dashboard.cases.case import Decision, Who
from tests.browser.conftest import Board, wait_held
from tests.browser.test_dashboard_deciding import flag, labels, open_list
from tests.support.dashboard_kit import make_context
from tests.support.desk.desk_kit import MemoryLog
from tests.support.waiting import wait_until

ANA = Who("ana", "analyst")
STYLED = """() => ["drawer", "waterfall"].every((name) =>
    [...document.styleSheets].some(({ href }) => href?.endsWith(`/${name}.css`)))"""
HEAD = """() => [...document.querySelectorAll("#detail .head, #detail .verdict")]
    .map((part) => part.textContent.trim().replace(/\\s+/g, " "))"""


def test_buttons_work_before_the_details_are_here_and_nothing_moves_when_they_come(
    page: Page, start: Callable[..., Board]
) -> None:
    board = start(desk_log=MemoryLog())
    flag(board, 2)
    held: list[Route] = []
    page.route("**/t/0-1/panel*", lambda route: held.append(route))  # noqa: PLW0108
    open_list(page, board)
    with page.expect_request("**/t/0-1/panel*"):
        page.keyboard.press("j")
    page.wait_for_function(STYLED)
    page.keyboard.press("Enter")
    drawer = page.locator("#drawer")
    expect(drawer).to_contain_text("Transaction 100")
    expect(drawer.locator(".verdict")).to_contain_text("0.9000")
    expect(page.locator("#opened")).to_contain_text("Transaction 100, 1,000.00 USD")
    expect(drawer.locator(".why")).to_have_count(0)
    drawer.get_by_text("Reasons and note").click()
    drawer.get_by_label("Note").fill("rang her")
    place = drawer.locator(".labels").bounding_box()
    head = page.evaluate(HEAD)
    held[0].continue_()
    expect(drawer.locator(".why")).to_be_visible()
    assert len(held) == 1  # what was fetched ahead is waited for
    assert drawer.locator(".labels").bounding_box() == place
    assert page.evaluate(HEAD) == head
    expect(drawer.get_by_label("Note")).to_be_focused()
    expect(drawer.get_by_label("Note")).to_have_value("rang her")
    page.route("**/t/0-2/panel*", lambda route: held.append(route))  # noqa: PLW0108
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(drawer).to_contain_text("Transaction 101")
    page.keyboard.press("f")
    expect(drawer.locator(".case")).to_contain_text("Fraud, decided by you")


def test_decision_before_the_details_are_here_replaces_none_that_is_not_shown(
    page: Page, board: Board
) -> None:
    held: list[Route] = []  # which are never answered
    page.route("**/t/0-1/panel*", lambda route: held.append(route))  # noqa: PLW0108
    open_list(page, board)
    flag(board, 1)
    expect(page.locator("#rows tr")).to_have_count(1)  # by a tick, which knows of no case
    page.keyboard.press("j")
    page.wait_for_function(STYLED)
    page.keyboard.press("Enter")
    drawer = page.locator("#drawer")
    expect(drawer.locator(".case")).to_have_text(re.compile("^Open"))
    board.app.state.parts.desk.decide(Decision("0-1", "UNSURE"), ANA, "anas-key", None)
    expect(page.locator("#rows .c-status")).to_have_text("Unsure")
    page.keyboard.press("f")
    expect(drawer.locator(".doing")).to_contain_text("Unsure, decided by ana")
    assert labels(board) == ["UNSURE"]


def test_details_fetched_ahead_need_no_request_and_are_dropped_when_the_case_changes(
    page: Page, board: Board
) -> None:
    flag(board, 4)
    asked: list[str] = []

    def note(request: Request) -> None:
        if request.url.endswith("/panel"):
            asked.append(request.url.split("/")[-2])

    page.on("request", note)
    held: list[Route] = []  # the count of decisions alone
    page.route("**/panel?tally=yes", lambda route: held.append(route))  # noqa: PLW0108
    open_list(page, board)
    hide = """value =>
        Object.defineProperty(document, "hidden", { value, configurable: true })"""
    page.evaluate(hide, True)
    page.evaluate("async () => (await import('/static/panel.js')).prefetchPanel('0-1')")
    page.evaluate(hide, False)
    assert asked == []  # nobody looks at this page
    for fetched in ("0-2", "0-3"):  # the one after the row that keys are about
        with page.expect_response(f"**/t/{fetched}/panel") as answer:
            page.keyboard.press("j")
        answer.value.finished()
    page.wait_for_function(STYLED)
    drawer = page.locator("#drawer")
    page.keyboard.press("Enter")
    expect(drawer).to_contain_text("Transaction 101")
    expect(drawer.locator(".why")).to_be_visible()
    wait_held(page, held)
    assert asked == ["0-1", "0-2", "0-3"]
    with page.expect_response("**/panel?tally=yes") as answer:
        held[0].continue_()
    answer.value.finished()
    board.app.state.parts.desk.claim("0-3", ANA)
    expect(page.locator('[data-id="0-3"] .c-status')).to_contain_text("ana")
    page.keyboard.press("j")
    expect(drawer).to_contain_text("Transaction 102")
    expect(drawer.locator(".why")).to_be_visible()
    expect(drawer.locator(".case")).to_contain_text("Held by ana")
    assert asked.count("0-2") == 1
    assert asked.count("0-3") == 2


def decide_first(page: Page, board: Board) -> None:
    """Claim and decide the first of three, once the second is fetched ahead."""
    flag(board, 3)
    open_list(page, board)
    with page.expect_response("**/t/0-2/panel"):
        page.keyboard.press("n")
    expect(page.locator("#drawer .case")).to_contain_text("Held by you")
    page.keyboard.press("f")


def decide_second_before_its_claim(page: Page, board: Board) -> list[Route]:
    """Decide the second of three while its claim waits in the list that is returned."""
    held: list[Route] = []
    page.route("**/flags/0-2/claim", lambda route: held.append(route))  # noqa: PLW0108
    with page.expect_request("**/flags/0-2/claim"):
        decide_first(page, board)
    drawer = page.locator("#drawer")
    expect(drawer).to_contain_text("Transaction 101")
    expect(drawer.locator(".why")).to_be_visible()
    expect(drawer.locator(".case")).to_have_text(re.compile("^Open"))
    page.keyboard.press("l")
    expect(drawer.locator(".doing")).to_have_text("Saving: Legitimate…")
    wait_until(lambda: labels(board) == ["FRAUD"])
    return held


def test_next_one_is_shown_while_its_claim_is_on_its_way_and_a_decision_waits_for_it(
    page: Page, board: Board
) -> None:
    held = decide_second_before_its_claim(page, board)
    drawer = page.locator("#drawer")
    held[0].continue_()
    expect(drawer).to_contain_text("Transaction 102")
    expect(drawer.locator(".case")).to_contain_text("Held by you")
    wait_until(lambda: labels(board) == ["FRAUD", "LEGITIMATE"])


def test_next_one_that_somebody_else_claimed_first_gives_way_to_another_undecided(
    page: Page, board: Board
) -> None:
    held = decide_second_before_its_claim(page, board)
    drawer = page.locator("#drawer")
    board.app.state.parts.desk.claim("0-2", ANA)
    held[0].continue_()
    expect(drawer).to_contain_text("Transaction 102")
    expect(drawer.locator(".case")).to_contain_text("Held by you")
    expect(page.locator("#toasts")).to_contain_text("Transaction 101")
    expect(page.locator("#toasts")).to_contain_text("ana")
    wait_until(lambda: labels(board) == ["FRAUD"])


def test_next_one_whose_claim_fails_can_be_decided_all_the_same(page: Page, board: Board) -> None:
    page.route("**/flags/0-2/claim", lambda route: route.abort())
    decide_first(page, board)
    drawer = page.locator("#drawer")
    expect(drawer).to_contain_text("Transaction 101")
    expect(page.locator("#toasts")).to_contain_text("Transaction 101 could not be claimed.")
    page.keyboard.press("l")
    expect(drawer).to_contain_text("Transaction 102")
    page.wait_for_function("() => document.querySelector('#drawer .case').dataset.state === 'mine'")
    wait_until(lambda: labels(board) == ["FRAUD", "LEGITIMATE"])


def test_after_the_drawer_was_closed_the_most_worthwhile_is_taken_not_the_one_fetched_before(
    page: Page, board: Board
) -> None:
    with page.expect_response("**/t/0-3/panel"):
        decide_first(page, board)
    drawer = page.locator("#drawer")
    expect(drawer).to_contain_text("Transaction 101")
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    board.score(0.9, transaction_id=900, context=make_context(TransactionAmt=9000.0))
    board.wait_flagged(4)
    page.keyboard.press("n")
    expect(drawer).to_contain_text("Transaction 900")
