"""The first decisions of somebody who has never seen the page: by keyboard and by touch."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from dashboard.cases.log import Channel
from schemas.records import decode_record
from tests.browser import axe
from tests.browser.conftest import Board
from tests.support.dashboard_kit import make_context
from tests.support.desk.desk_kit import MemoryLog
from tests.support.waiting import wait_until

NewPage = Callable[..., Page]
KEYS = {"f": "FRAUD", "l": "LEGITIMATE", "u": "UNSURE"}


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def board(start: Callable[..., Board], log: MemoryLog) -> Board:
    """Twenty flagged transactions; the first, 100, has the highest expected loss."""
    board = start(desk_log=log)
    for i in range(20):
        context = make_context(TransactionAmt=1000.0 - i)
        board.score(0.9, transaction_id=100 + i, context=context)
    board.wait_flagged(20)
    return board


def recorded(log: MemoryLog) -> list[tuple[int, str]]:
    """Transaction and label of each record on the labels topic, by transaction."""
    records = (
        decode_record("fraud_label", one.value or b"") for one in log.records(Channel.LABELS)
    )
    return sorted((one["transaction_id"], one["label"]) for one in records)


def test_twenty_are_decided_by_keyboard_alone_and_each_is_recorded_once(
    page: Page, board: Board, log: MemoryLog
) -> None:
    page.goto(board.address, wait_until="domcontentloaded")
    expect(page.locator("#v-live")).to_have_attribute("data-state", "live")
    expect(page.locator(".hint")).to_contain_text("n takes the next one")
    drawer, case = page.locator("#drawer"), page.locator("#drawer .case")
    wanted = []
    page.keyboard.press("n")  # and a decision brings the next one
    for i in range(10):
        expect(drawer).to_contain_text(f"Transaction {100 + i}")
        expect(case).to_contain_text("Held by you")
        expect(page.locator("#opened")).to_have_text(re.compile(f"^Transaction {100 + i}, .* USD"))
        page.keyboard.press("flu"[i % 3])
        wanted.append((100 + i, KEYS["flu"[i % 3]]))
    expect(drawer).to_contain_text("Transaction 110")
    page.keyboard.press("Escape")  # the focus returns to its row
    expect(drawer).to_be_hidden()
    for i in range(10, 20):  # row by row; nothing is claimed
        page.keyboard.press("Enter")
        expect(drawer).to_contain_text(f"Transaction {100 + i}")
        page.keyboard.press("luf"[i % 3])
        expect(case).to_contain_text("decided by you")
        wanted.append((100 + i, KEYS["luf"[i % 3]]))
        page.keyboard.press("Escape")
        page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(drawer).to_contain_text("Transaction 118")
    expect(drawer.locator(".tally")).to_have_text(
        re.compile(r"^You decided 20 today · median \d+ s")
    )
    page.keyboard.press("n")
    expect(page.locator("#toasts")).to_contain_text("No open transaction is left")
    wait_until(lambda: recorded(log) == wanted, what="each decision once")


def test_phone_takes_one_after_another_with_the_thumb(
    new_page: NewPage, board: Board, log: MemoryLog
) -> None:
    page = new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.goto(board.address, wait_until="domcontentloaded")
    expect(page.locator("#v-live")).to_have_attribute("data-state", "live")
    expect(page.locator(".hint")).to_be_hidden()
    page.locator('[data-id="0-1"] .c-score').tap()
    drawer = page.locator("#drawer")
    expect(drawer).to_contain_text("Transaction 100")
    drawer.get_by_role("button", name="Fraud").tap()
    expect(drawer.locator(".case")).to_contain_text("Fraud, decided by you")
    onward = drawer.get_by_role("button", name="Take the next one")
    box = onward.bounding_box()
    assert box is not None
    assert box["height"] >= 44
    assert box["y"] > 844 - 150  # under the thumb, with the labels
    axe.check(page)
    onward.tap()
    expect(drawer).to_contain_text("Transaction 101")
    expect(onward).to_be_hidden()
    drawer.get_by_role("button", name="Legit").tap()
    expect(drawer).to_contain_text("Transaction 102")
    wanted = [(100, "FRAUD"), (101, "LEGITIMATE")]  # which the next one did not wait for
    wait_until(lambda: recorded(log) == wanted, what="the decisions")
