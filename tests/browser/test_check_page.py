"""The check page in a browser: it answers in place, and its faults lead to their fields."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, Route, expect

from tests.browser.axe import check as check_accessibility
from tests.browser.conftest import Board
from tests.support.dashboard_kit import StaticModel, tiny_bundle

Start = Callable[..., Board]


def test_answer_appears_in_place_and_faults_lead_to_their_fields(
    new_page: Callable[..., Page], start: Start
) -> None:
    board = start(StaticModel(tiny_bundle()))
    page = new_page(viewport={"width": 390, "height": 800}, has_touch=True)
    page.goto(f"{board.address}/check?sample=usual", wait_until="load")
    page.get_by_label("Amount").fill("99,5")
    page.get_by_label("D1", exact=True).fill("yesterday")
    page.get_by_text("Days, D1 to D15").click()  # the fault is in a folded group
    page.get_by_role("button", name="Score").click()
    answer = page.locator("#answer")
    expect(answer).to_contain_text("write it with a point, not a comma")
    expect(answer).to_be_focused()
    answer.get_by_role("link", name="D1 must be").click()
    expect(page.get_by_label("D1", exact=True)).to_be_focused()
    expect(page.get_by_label("D1", exact=True)).to_have_accessible_description(
        "D1 must be a number, not 'yesterday'"
    )
    check_accessibility(page, ("dark",))
    page.get_by_label("D1", exact=True).fill("")
    page.get_by_label("Amount").fill("990")
    page.keyboard.press("Enter")
    expect(answer.locator(".waterfall tfoot")).to_contain_text("Score")
    expect(answer).to_contain_text("What would have to differ")
    expect(page.locator("[aria-invalid]")).to_have_count(0)
    for summary in answer.locator("summary").all():
        summary.click()
    check_accessibility(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.url.endswith("/check?sample=usual")
    page.emulate_media(media="print")
    expect(page.locator("form#check")).to_be_hidden()
    expect(answer).to_be_visible()


def test_lost_server_and_ended_session_are_said(page: Page, start: Start) -> None:
    board = start(StaticModel(tiny_bundle()))
    page.goto(f"{board.address}/check", wait_until="load")

    def end_session(route: Route) -> None:
        route.fulfill(status=401, content_type="application/problem+json", body="{}")

    for handler, words in (
        (lambda route: route.abort(), "No connection to the dashboard."),
        (end_session, "Your session has ended. Log in again"),
    ):
        page.route("**/check", handler)
        page.get_by_role("button", name="Score").click()
        expect(page.locator("#answer")).to_contain_text(words)
        page.unroute("**/check")
