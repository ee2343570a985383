"""Decisions while something is missing: the broker, the session, or the state of the case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from dashboard.cases.log import Channel
from dashboard.web.tokens import make_token
from schemas.records import decode_record
from tests.browser.conftest import Board
from tests.support.dashboard_kit import make_context
from tests.support.desk.desk_kit import MemoryLog
from tests.support.waiting import wait_until

Start = Callable[..., Board]


def begin(start: Start, log: MemoryLog, count: int = 3, **settings: object) -> Board:
    """A dashboard with flagged transactions 100, 101, …, the most worthwhile first."""
    board = start(desk_log=log, **settings)
    for i in range(count):
        context = make_context(TransactionAmt=1000.0 - i)
        board.score(0.9, transaction_id=100 + i, context=context)
    board.wait_flagged(count)
    return board


def recorded(log: MemoryLog) -> list[tuple[int, str]]:
    """Transaction and label of each record on the labels topic, by transaction."""
    records = [decode_record("fraud_label", one.value) for one in log.records(Channel.LABELS)]
    return sorted((one["transaction_id"], one["label"]) for one in records)


def test_loop_goes_on_without_a_broker_and_a_reload_loses_and_repeats_nothing(
    page: Page, start: Start
) -> None:
    log = MemoryLog()
    board = begin(start, log)
    page.goto(board.address, wait_until="domcontentloaded")
    drawer, case = page.locator("#drawer"), page.locator("#drawer .case")
    log.is_down = True
    with page.expect_response("**/t/0-2/panel*"):  # fetched early, when nobody had claimed it
        page.keyboard.press("n")
        expect(drawer).to_contain_text("Transaction 100")
    expect(case).to_contain_text("Held by you")
    page.keyboard.press("f")
    expect(drawer).to_contain_text("Transaction 101")
    expect(case).to_contain_text("Held by you")
    expect(page.locator("#toasts")).to_contain_text("Fraud: saved, and recorded once")
    page.keyboard.press("l")
    expect(drawer).to_contain_text("Transaction 102")
    expect(page.locator("#toasts")).to_contain_text("Legitimate: saved")
    page.reload(wait_until="domcontentloaded")
    expect(drawer).to_contain_text("Transaction 102")
    expect(case).to_contain_text("Held by you")
    expect(page.locator("#banners")).to_contain_text("2 decisions waiting to be recorded")
    page.keyboard.press("u")
    expect(page.locator("#drawer .proof")).to_have_text("Waiting to be recorded")
    assert recorded(log) == []
    log.is_down = False
    expect(page.locator("#drawer .proof")).to_contain_text("Recorded at fraud-labels")
    wait_until(lambda: len(recorded(log)) >= 3, what="the records")
    assert recorded(log) == [(100, "FRAUD"), (101, "LEGITIMATE"), (102, "UNSURE")]


def test_second_tab_does_not_overwrite_what_the_first_one_decided(page: Page, start: Start) -> None:
    log = MemoryLog()
    board = begin(start, log, 1)
    other = page.context.new_page()
    for tab in (page, other):
        tab.goto(f"{board.address}/?sel=0-1", wait_until="domcontentloaded")
        expect(tab.locator("#drawer .why")).to_be_visible()  # nobody has decided, it says
    page.keyboard.press("f")
    expect(page.locator("#drawer .case")).to_contain_text("Fraud, decided by you")
    other.keyboard.press("l")
    expect(other.locator("#drawer .doing")).to_contain_text("Legitimate is not saved.")
    expect(other.locator("#drawer .case")).to_contain_text("Fraud, decided by you")
    wait_until(lambda: recorded(log) == [(100, "FRAUD")], what="the decision")


def test_decision_after_the_session_ended_is_kept_until_the_next_login(
    page: Page, start: Start, tmp_path: Path
) -> None:
    token, line = make_token("ana", "analyst")
    tokens = tmp_path / "tokens"
    tokens.write_text(line)
    log = MemoryLog()
    board = begin(start, log, 1, dashboard_auth="token", dashboard_tokens_file=tokens)

    def log_in(tab: Page) -> None:
        tab.goto(f"{board.address}/?sel=0-1", wait_until="domcontentloaded")
        tab.get_by_label("Token").fill(token)
        tab.get_by_role("button", name="Log in").click()
        expect(tab.locator("#drawer .why")).to_be_visible()  # no request is under way

    log_in(page)
    page.context.clear_cookies()
    page.keyboard.press("f")
    failed = page.locator("#drawer .doing")
    expect(failed).to_contain_text("Fraud is not saved. Your session has ended.")
    expect(failed.get_by_role("link", name="Log in again")).to_have_attribute(
        "href", "/login?next=%2F%3Fsel%3D0-1"
    )
    assert recorded(log) == []
    log_in(page.context.new_page())  # in another tab, so that the decision is not lost
    failed.get_by_role("button", name="Retry").click()
    expect(page.locator("#drawer .case")).to_contain_text("Fraud, decided by you")
    wait_until(lambda: recorded(log) == [(100, "FRAUD")], what="the decision")
