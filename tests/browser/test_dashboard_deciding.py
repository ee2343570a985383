"""Deciding in the browser: by keyboard, on a phone, again and again, and when it is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, Route, expect

from dashboard.cases.case import Case, Decision, Who
from dashboard.web.detail.case_text import describe_case
from dashboard.web.texts import split_name
from tests.browser import axe, scenes
from tests.browser.conftest import Board
from tests.support.dashboard_kit import make_context
from tests.support.desk.desk_kit import MemoryLog
from tests.support.waiting import wait_until

NewPage = Callable[..., Page]
EVIL = "<img src=x onerror=alert(1)>"
ANA = Who("ana", "analyst")


def flag(board: Board, count: int, **context: Any) -> list[str]:
    """Flagged transactions; the first has the highest expected loss. Their ids in this order."""
    ids = [
        board.score(0.9, transaction_id=100 + i,
                    context=make_context(TransactionAmt=1000.0 - i, **context))
        for i in range(count)
    ]  # fmt: skip
    board.wait_flagged(count)
    return ids


def open_list(page: Page, board: Board, path: str = "/") -> None:
    page.goto(board.address + path, wait_until="domcontentloaded")
    if "sel=" in path:
        expect(page.locator("#detail .why")).to_be_visible()  # all details, not the first alone
    else:
        expect(page.locator("#v-live")).to_have_attribute("data-state", "live")


def case_of(board: Board, flag_id: str) -> Case:
    found: Case = board.app.state.parts.desk.case_of([flag_id])[flag_id]
    return found


def labels(board: Board) -> list[str | None]:
    """The labels of the history of every case, in the order of the ids."""
    desk = board.app.state.parts.desk
    ids = [f"0-{i + 1}" for i in range(board.offset)]
    return [event.label for one in ids for event in desk.events(one) if event.kind == "decision"]


def test_first_decision_by_keyboard_and_its_undo(page: Page, board: Board) -> None:
    ids = flag(board, 2)
    open_list(page, board)
    page.keyboard.press("j")
    expect(page.locator("#rows tr[aria-current=true]")).to_have_count(1)
    page.keyboard.press("Enter")
    drawer = page.locator("#drawer")
    expect(drawer).to_contain_text("Transaction 100")
    page.get_by_text("Reasons and note").click()
    page.get_by_label("Stolen card").check()
    page.get_by_label("Note").fill("rang her")
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    expect(drawer.locator(".case")).to_contain_text("Fraud, decided by you")
    expect(drawer.locator(".proof")).to_have_text(re.compile(r"^Recorded at fraud-labels\[\d\]@0$"))
    expect(drawer.get_by_role("button", name="Fraud")).to_have_attribute("aria-pressed", "true")
    case = case_of(board, ids[0])
    assert (case.label, case.reasons, case.note) == ("FRAUD", ("stolen-card",), "rang her")
    page.keyboard.press("z")
    expect(drawer.locator(".case")).to_have_text(re.compile("^Open"))
    assert case_of(board, ids[0]).label is None
    page.keyboard.press("z")
    expect(page.locator("#toasts")).to_contain_text("Nothing to undo")
    page.keyboard.press("a")
    expect(drawer.locator(".case")).to_contain_text("Held by you")
    page.keyboard.press("a")
    expect(drawer.locator(".case")).to_have_text(re.compile("^Open"))
    page.keyboard.press("s")
    expect(drawer.get_by_role("button", name="1 h", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(drawer.locator(".case")).to_contain_text("Snoozed by you until")
    page.keyboard.press("u")
    expect(drawer.locator(".case")).to_contain_text("Unsure, decided by you")
    page.evaluate("scrollTo(0, 0)")  # else rows are half under the head of the list
    axe.check(page)


def test_undo_returns_to_the_transaction_and_then_the_loop_goes_on(
    page: Page, board: Board
) -> None:
    ids = flag(board, 3)
    open_list(page, board)
    drawer = page.locator("#drawer")
    with page.expect_request("**/t/0-2/panel*"):  # fetched while the first one is read
        page.keyboard.press("n")
    expect(drawer).to_contain_text("Transaction 100")
    assert case_of(board, ids[1]).status == "open"
    page.keyboard.press("f")
    expect(drawer).to_contain_text("Transaction 101")
    page.keyboard.press("z")
    expect(drawer).to_contain_text("Transaction 100")
    expect(drawer.locator(".case")).to_have_text(re.compile("^Open"))
    page.keyboard.press("l")
    expect(drawer).to_contain_text("Transaction 101")
    page.keyboard.press("u")
    expect(drawer).to_contain_text("Transaction 102")  # it does not wait for the decision
    wait_until(lambda: case_of(board, ids[1]).label == "UNSURE", what="the second decision")
    assert case_of(board, ids[0]).label == "LEGITIMATE"


def test_repeated_clicks_and_keys_are_one_decision(page: Page, board: Board) -> None:
    flag(board, 1)
    open_list(page, board, "/?sel=0-1")
    fraud = page.locator("#drawer").get_by_role("button", name="Fraud")
    fraud.dblclick()
    page.keyboard.press("f")
    expect(page.locator("#drawer .case")).to_contain_text("Fraud, decided by you")
    page.keyboard.press("f")
    expect(page.locator("#toasts")).to_contain_text("Already decided: Fraud.")
    assert labels(board) == ["FRAUD"]


def test_failed_decision_is_kept_and_repeated_as_the_same_one(page: Page, board: Board) -> None:
    flag(board, 1)
    open_list(page, board, "/?sel=0-1")
    drawer = page.locator("#drawer")
    keys: list[str | None] = []

    def lose_answer(route: Route) -> None:
        keys.append(route.request.headers.get("idempotency-key"))
        route.fetch()  # it is recorded, and the answer is lost
        route.abort()

    page.route("**/decision", lose_answer)
    drawer.get_by_role("button", name="Legit").click()
    expect(drawer).to_contain_text("Legitimate is not saved. No connection to the dashboard.")
    axe.check(page)
    page.unroute("**/decision")
    with page.expect_request("**/decision") as repeated:
        drawer.get_by_role("button", name="Retry").click()
    keys.append(repeated.value.headers.get("idempotency-key"))
    expect(drawer.locator(".case")).to_contain_text("Legitimate, decided by you")
    expect(drawer.locator(".doing")).to_be_empty()
    assert labels(board) == ["LEGITIMATE"]
    assert len(keys) == 2
    assert keys[0] == keys[1] is not None


def test_decision_waits_while_kafka_is_down_and_is_recorded_later(
    page: Page, start: Callable[..., Board]
) -> None:
    log = MemoryLog()
    board = start(desk_log=log)
    flag(board, 1)
    open_list(page, board, "/?sel=0-1")
    log.is_down = True
    page.keyboard.press("f")
    proof = page.locator("#drawer .proof")
    expect(proof).to_have_text("Waiting to be recorded")
    log.is_down = False
    expect(proof).to_have_text(re.compile(r"^Recorded at fraud-labels\[\d\]@0"))


def test_claim_is_renewed_while_somebody_reads(page: Page, board: Board) -> None:
    flag(board, 1)
    page.clock.install()
    scenes.control(page)
    scenes.open_queue(page, board.address, "/?sel=0-1")
    page.keyboard.press("a")
    expect(page.locator("#drawer .case")).to_contain_text("Held by you")
    expect(page.locator("#v-mine")).to_have_text("1")
    page.clock.fast_forward(4 * 60_000)
    page.mouse.move(400, 400)
    scenes.emit(page)  # the server's clock went on too
    with page.expect_request("**/flags/0-1/claim"):
        page.clock.fast_forward(2 * 60_000)


def test_conflict_and_stale_case_say_who_was_first_and_lead_on(page: Page, board: Board) -> None:
    flag(board, 3)
    desk = board.app.state.parts.desk
    open_list(page, board, "/?sel=0-1")
    drawer = page.locator("#drawer")
    expect(drawer).to_contain_text("Transaction 100")
    desk.claim("0-1", ANA)
    page.keyboard.press("f")
    expect(drawer.locator(".doing")).to_contain_text("Fraud is not saved.")
    expect(drawer.locator(".doing")).to_contain_text("Held by ana")
    drawer.get_by_role("button", name="Take the next one").click()
    expect(drawer).to_contain_text("Transaction 101")
    desk.release("0-1", ANA)
    page.locator('[data-id="0-3"] .c-score').click()
    expect(drawer).to_contain_text("Transaction 102")
    expect(drawer.locator(".why")).to_be_visible()  # the details know of no decision
    desk.decide(Decision("0-3", "UNSURE"), ANA, "anas-key", None)
    page.keyboard.press("f")
    expect(drawer.locator(".doing")).to_contain_text("Unsure, decided by ana")
    drawer.get_by_role("button", name="Show the current state").click()
    expect(drawer.locator(".doing")).to_be_empty()
    page.keyboard.press("f")
    expect(drawer.locator(".case")).to_contain_text("Fraud, decided by you")
    desk.decide(Decision("0-3", "LEGITIMATE"), ANA, "anas-second-key")
    page.keyboard.press("z")  # undoes one's own decision alone
    expect(drawer.locator(".doing")).to_contain_text("Legitimate, decided by ana")
    assert labels(board) == ["UNSURE", "FRAUD", "LEGITIMATE"]


def test_decision_from_the_list_names_the_version_that_is_shown(page: Page, board: Board) -> None:
    flag(board, 2)
    open_list(page, board)
    page.keyboard.press("j")
    with page.expect_request("**/decision") as sent:
        page.keyboard.press("f")
    assert sent.value.headers["if-match"] == '"0"'
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.locator("#bulk").get_by_role("button", name="Fraud").click()
    with page.expect_request("**/decisions:batch") as sent:
        page.get_by_role("dialog").get_by_role("button", name="Decide").click()
    decided: Any = sent.value.post_data_json
    assert [one["version"] for one in decided["decisions"]] == [0]


def test_burst_of_a_card_is_decided_at_once_after_a_question(page: Page, board: Board) -> None:
    flag(board, 6, card1=9500.0)
    open_list(page, board, "/?sel=0-6")
    drawer = page.locator("#drawer")
    expect(drawer.locator(".bulk .count")).to_have_text("0 selected")  # its code is loaded
    line = drawer.locator(".timeline svg")
    line.scroll_into_view_if_needed()
    box = line.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 20, steps=4)
    page.mouse.up()
    expect(drawer.locator(".bulk .count")).to_have_text("6 selected")
    drawer.get_by_label("Select transaction 100").uncheck()
    drawer.locator(".bulk").get_by_role("button", name="Fraud").click()
    dialog = page.get_by_role("dialog", name="Decide 5 transactions: Fraud?")
    expect(dialog).to_be_visible()
    axe.check(page)
    dialog.get_by_role("button", name="Fraud: decide 5").click()
    expect(page.locator("#toasts")).to_contain_text("Fraud: 5 saved.")
    expect(drawer.locator(".bulk .count")).to_have_text("0 selected")
    expect(drawer.locator(".case")).to_contain_text("Fraud, decided by you")
    assert labels(board) == ["FRAUD"] * 5
    assert case_of(board, "0-1").label is None


def test_phone_has_the_full_page_and_buttons_under_the_thumb(
    new_page: NewPage, board: Board
) -> None:
    ids = flag(board, 2)
    page = new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    open_list(page, board)
    page.locator(f'[data-id="{ids[0]}"] .c-score').tap()
    drawer = page.locator("#drawer")
    expect(drawer).to_contain_text("Transaction 100")
    expect(drawer.locator(".why")).to_be_visible()
    box = drawer.bounding_box()
    assert box is not None
    assert (box["x"], box["y"], box["width"], box["height"]) == (0, 0, 390, 844)
    for name in ("Fraud", "Legit", "Unsure"):
        button = drawer.locator(".labels").get_by_role("button", name=name).bounding_box()
        assert button is not None
        assert button["height"] >= 44
        assert button["y"] > 844 - 100
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    axe.check(page)
    drawer.get_by_role("button", name="Unsure").tap()
    expect(drawer.locator(".case")).to_contain_text("Unsure, decided by you")
    page.go_back(wait_until="commit")
    expect(drawer).to_be_hidden()


def test_all_raw_fields_can_be_filtered(page: Page, board: Board) -> None:
    flag(board, 1)
    fields: dict[str, Any] = {"TransactionID": 100, "C1": 3.0, "V12": 0.0, "V13": 5.0}
    record = {"fields": fields, "problem": None, "appended_at": 1_795_000_000_000, "size": 2310,
              "encoding": "avro", "key": "9500", "headers": [["trace", EVIL]]}  # fmt: skip
    page.route("**/raw", lambda route: route.fulfill(json=record))
    open_list(page, board, "/?sel=0-1")
    raw = page.locator("#drawer .raw")
    raw.get_by_text("All fields of the input record").click()
    expect(raw.locator("details")).to_have_count(3)
    expect(raw.get_by_text("2 of 339 present")).to_be_visible()
    for text in ("2026-11-18 11:06:40 UTC", "2,310 bytes", EVIL):
        expect(raw.locator(".record")).to_contain_text(text)
    expect(raw.get_by_text("V13")).to_be_hidden()
    raw.get_by_role("searchbox").fill("v13")
    expect(raw.get_by_text("V13")).to_be_visible()
    expect(raw.get_by_text("TransactionID")).to_be_hidden()


def test_page_and_script_say_the_same_about_a_case(page: Page, board: Board) -> None:
    now = 1_795_000_000_000
    empty: dict[str, Any] = dict.fromkeys(
        ("by", "until", "since", "label", "decided_by", "decided_at", "recorded", "external")
    )
    claims = [
        {"status": "claimed", "by": by, "since": now - age, "until": now + 900_000}
        for by in ("me", "ana")
        for age in (500, 59_999, 200_000, 3 * 3_600_000)
    ]
    proofs: list[dict[str, Any]] = [
        {"recorded": "3:17"}, {"pending": True}, {"external": "LEGITIMATE"}
    ]  # fmt: skip
    decisions = [
        {"status": "decided", "label": label, "decided_by": by, "decided_at": now, **proof}
        for label in ("FRAUD", "LEGITIMATE", "UNSURE")
        for by in ("me", "ana", None)
        for proof in proofs
    ]
    others: list[dict[str, Any]] = [
        {"status": "open"},
        {"status": "claimed", "by": "ana", "until": now - 1},
        {"status": "snoozed", "by": "me", "until": now + 86_400_000},
    ]
    given = [*others, *claims, *decisions]
    cases = [None, *({**empty, "pending": False, **more} for more in given)]
    page.goto(board.address, wait_until="domcontentloaded")
    found = page.evaluate(
        """async ([cases, now]) => {
            const { describeCase } = await import("/static/view.js");
            return cases.map((one) => describeCase(one, "me", now, "fraud-labels"))
                .map(({ state, text, proof, external }) => [state, text, proof, external]);
        }""",
        [cases, now],
    )
    assert found == [list(describe_case(one, "me", now, "fraud-labels")) for one in cases]
    texts = ["indicator (V258)", "a (b) c (d)", "a (b) c", "card1_count", " (x)", "a (b(c))", ""]
    split = "async (texts) => texts.map((await import('/static/view.js')).splitName)"
    assert page.evaluate(split, texts) == [list(split_name(text)) for text in texts]
