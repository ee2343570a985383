"""Every state of the queue: what it shows, and that all of it can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from dashboard.web.tokens import make_token
from tests.browser import axe, scenes
from tests.browser.conftest import Board, attributes
from tests.support.dashboard_kit import StaticModel, tiny_bundle

NewPage = Callable[..., Page]
Start = Callable[..., Board]


@pytest.fixture
def board_with_rows(start: Start) -> Board:
    board = start(StaticModel(tiny_bundle()))
    for score in (0.45, 0.65, 0.9):
        board.score(score)
    board.wait_flagged(3)
    return board


def open_scene(new_page: NewPage, board: Board, path: str = "/", **options: Any) -> Page:
    page = new_page(**options)
    page.clock.install()
    scenes.control(page)
    scenes.open_queue(page, board.address, path)
    return page


def test_states_that_a_tick_leads_to_are_accessible_in_both_themes(
    new_page: NewPage, board_with_rows: Board
) -> None:
    page = open_scene(new_page, board_with_rows)
    for enter in scenes.FOLLOWING.values():
        enter(page)
        axe.check(page)


@pytest.mark.parametrize("name", sorted(scenes.SCENES.keys() - scenes.FOLLOWING.keys()))
def test_other_states_of_the_queue_are_accessible_in_both_themes(
    new_page: NewPage, board_with_rows: Board, name: str
) -> None:
    page = open_scene(new_page, board_with_rows)
    scenes.SCENES[name](page)
    axe.check(page)


@pytest.mark.parametrize("path", scenes.PATHS.values(), ids=scenes.PATHS)
def test_states_that_an_address_leads_to_are_accessible_in_both_themes(
    new_page: NewPage, board_with_rows: Board, path: str
) -> None:
    axe.check(open_scene(new_page, board_with_rows, path))


def test_other_pages_and_the_phone_are_accessible_and_the_check_can_fail(
    new_page: NewPage, start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    token, line = make_token("vic", "viewer")
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(line)
    board = start(dashboard_auth="token", dashboard_tokens_file=tokens)
    page = new_page(viewport={"width": 390, "height": 844})
    page.goto(board.address, wait_until="domcontentloaded")
    axe.check(page)  # the login
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="No scores yet")).to_be_visible()
    expect(page.locator(".banner.info").first).to_have_text(
        "Read only: your role is viewer. Analysts and leads can claim and decide."
    )
    # Brokers and topics are for the people who run them.
    expect(page.locator("#empty")).not_to_contain_text("localhost:9092")
    axe.check(page)
    board.score(0.9)
    expect(page.locator("#rows tr")).to_have_count(1)
    assert page.get_by_role("checkbox").count() == 0
    axe.check(page)
    page.goto(f"{board.address}/nowhere", wait_until="domcontentloaded")
    axe.check(page, themes=("light",))
    page.evaluate("document.querySelector('h1').setAttribute('role', 'nothing')")
    with pytest.raises(AssertionError, match="aria-roles"):
        axe.check(page, themes=("light",))


def test_states_are_said_in_plain_words_and_with_reasons_to_operators(
    new_page: NewPage, board_with_rows: Board
) -> None:
    page = open_scene(new_page, board_with_rows)
    detail = "kafka: broker-7.internal:9092 does not answer"
    for role, is_shown in (("analyst", False), ("viewer", False), ("ops", True), ("lead", True)):
        texts = page.evaluate(
            """async ([role, detail]) => {
                const { begin, describeStates } = await import("/static/queue-state.js");
                const vitals = JSON.parse(document.getElementById("rows").dataset.vitals);
                const feed = { ...vitals.feed, state: "waiting", since: 0, read_at: 0, detail };
                const model = { version: null, detail };
                const now = Date.now();
                const given = { isOps: ["ops", "lead"].includes(role), rows: [], points: [] };
                const clock = { wall: now, up: 0 };
                const state = begin(given, { ...vitals, now, feed, model }, clock);
                return describeStates(state).map(String);
            }""",
            [role, detail],
        )
        assert len(texts) == 2
        assert "Disconnected from Kafka" in texts[0]
        assert "No model loaded" in texts[1]
        assert [detail in text for text in texts] == [is_shown, is_shown]


def test_ages_are_counted_without_ticks_and_the_delay_grows_while_the_scorer_is_silent(
    new_page: NewPage, board_with_rows: Board
) -> None:
    page = open_scene(new_page, board_with_rows)
    page.clock.pause_at((scenes.now(page) + scenes.MINUTE) / 1000)
    page.evaluate("isSilent = true")
    scenes.emit(page, {"delay_ms": 400}, backlog=0)
    expect(page.locator("#v-delay")).to_have_text("0.4 s")
    expect(page.locator("#v-backlog")).to_have_text("0")
    scenes.emit(page, {"delay_ms": 400}, backlog=4812)
    page.clock.run_for(4000)
    expect(page.locator("#v-delay")).to_have_text("4.0 s")
    expect(page.locator("#v-backlog")).to_have_text("4,812")
    expect(page.locator("#v-live")).to_have_text("Live")
    page.clock.run_for(6000)
    expect(page.locator("#v-live")).to_have_text(re.compile(r"No answer for \d"))
    scenes.emit(page)
    expect(page.locator("#v-live")).to_have_text("Live")
    expect(page.locator("#banners .amber")).to_have_count(0)


def test_row_that_was_counted_with_the_page_is_not_counted_again_with_its_tick(
    new_page: NewPage, board_with_rows: Board
) -> None:
    page = open_scene(new_page, board_with_rows)
    counted = json.loads(str(page.locator("#rows").get_attribute("data-work")))
    open_cases = page.locator("#v-open")
    for flagged, extra in ((counted["flagged"], 0), (counted["flagged"] + 2, 2), (1, 2)):
        scenes.emit(page, {"totals": {"flagged": flagged}}, flagged=2)
        expect(page.locator("#v-flagged")).to_have_text(str(flagged))
        expect(open_cases).to_have_text(str(counted["open"] + extra))


def test_claims_and_decisions_show_in_their_rows_which_do_not_move(
    new_page: NewPage, board_with_rows: Board
) -> None:
    page = open_scene(new_page, board_with_rows)
    page.clock.pause_at((scenes.now(page) + scenes.MINUTE) / 1000)
    rows = page.locator("#rows tr")
    before = attributes(rows, "data-id")
    edges = "heads => heads.map(head => head.getBoundingClientRect().x)"
    places = page.locator("#flags thead th").evaluate_all(edges)
    row = page.locator('[data-id="0-2"]')
    status = row.locator(".c-status")
    now = scenes.now(page)
    minute = scenes.MINUTE
    times = {"until": now + 12 * minute, "since": now - 3 * minute}
    claim = {"id": "0-2", "status": "claimed", **times}
    for case, text in (
        ({**claim, "by": "ana"}, "ana · 3 min"),
        ({**claim, "by": "local"}, "Mine · 12 min left"),
        ({**claim, "by": "ana", "until": now - 1000}, "Open"),
        ({**claim, "by": "ana", "status": "snoozed"}, "Snoozed · 12 min left"),
        ({**claim, "status": "decided", "label": "FRAUD", "decided_by": "ana"}, "Fraud"),
        ({**claim, "status": "decided", "label": "UNSURE", "pending": True}, "Unsure · waiting"),
        ({"id": "0-2", "status": "open", "external": "FRAUD"}, "Reported fraud"),
    ):
        scenes.emit(page, {}, cases=[case])
        expect(status).to_have_text(text)
        assert page.locator("#flags thead th").evaluate_all(edges) == places, text
    case = {"status": "decided", "label": "LEGITIMATE", "decided_by": "local"}
    page.evaluate(
        "detail => document.dispatchEvent(new CustomEvent('case:changed', { detail }))",
        {"id": "0-2", "case": case},
    )
    expect(status).to_have_text("Legitimate")
    assert attributes(rows, "data-id") == before


def test_clock_that_is_set_while_the_page_is_open_changes_no_age_and_no_claim(
    new_page: NewPage, board_with_rows: Board
) -> None:
    page = open_scene(new_page, board_with_rows)
    page.locator('[data-id="0-3"] .c-score').click()
    expect(page.locator("#drawer .related")).to_be_visible()
    page.keyboard.press("a")
    state, status = page.locator("#drawer .case"), page.locator('[data-id="0-3"] .c-status')
    expect(state).to_contain_text("Held by you")
    page.clock.pause_at((scenes.now(page) + 60_000) / 1000)
    page.evaluate("globalThis.isSilent = true")  # only this test says what time it is
    server = scenes.now(page)
    for hours, words in ((3, "3 h ahead of"), (-5, "5 h behind")):
        page.clock.run_for(5000)  # the stream is opened again after a silence
        scenes.emit(page, {}, now=server)
        page.clock.set_system_time(server / 1000 + hours * 3600)
        page.clock.run_for(1000)
        # Until the server says what time it is.
        expect(page.locator("#v-live")).to_contain_text("No answer for")
        expect(status).to_have_text(re.compile(r"^Mine · 1\d min left$"))
        scenes.emit(page, {}, now=server)
        expect(page.locator("#v-live")).to_contain_text("Held")
        expect(page.locator("#banners")).to_contain_text(f"this computer's clock is {words}")
        page.clock.run_for(16_000)  # the details say it again
        expect(state).to_have_text(re.compile(r"^Held by you for \d+ (s|min), until"))
        expect(status).to_have_text(re.compile(r"^Mine · 1\d min left$"))
        expect(page.locator("#v-oldest")).to_have_text(re.compile(r"^\d+(\.\d)? (s|min)$"))


def test_unreadable_record_is_a_row_that_leads_to_its_reason(page: Page, board: Board) -> None:
    page.goto(board.address, wait_until="domcontentloaded")
    expect(page.locator("#unreadable")).to_be_hidden()
    board.topic.append(b"garbage")
    board.score()
    expect(page.locator("#v-unreadable")).to_have_text("1")
    expect(page.locator("#rows tr")).to_have_count(1)
    named = page.locator("#unreadable-rows tr")
    expect(named).to_have_text("Unreadable fraud-scores[0]@0 Show in Operations")
    axe.check(page)
    page.reload(wait_until="domcontentloaded")  # the server renders it too
    expect(named).to_have_count(1)
    named.get_by_role("link").click()
    expect(page.locator("tr:target")).to_contain_text("unknown framing")


def test_distribution_stacks_decided_scores_and_can_be_read_as_a_table(
    new_page: NewPage, board_with_rows: Board
) -> None:
    page = open_scene(new_page, board_with_rows)
    bins: dict[str, list[int]] = {name: [0] * 50 for name in ("hist", "open", "decided")}
    for number, counts in ((1, (900, 0, 0)), (30, (7, 5, 2)), (45, (1204, 0, 1204))):
        for values, count in zip(bins.values(), counts, strict=True):
            values[number] = count
    listed = {"open": bins["open"], "decided": bins["decided"]}
    scenes.emit(page, {"hist": bins["hist"], "listed": listed})
    figure = page.locator("#dist")
    expect(figure.locator("rect.decided")).to_have_count(2)
    expect(figure.locator("rect")).to_have_count(6)
    heights = [
        [float(height or 0) for height in attributes(figure.locator(f"rect.{kind}"), "height")]
        for kind in ("all", "open", "decided")
    ]
    assert heights[0][1] == pytest.approx(heights[1][0] + heights[2][0])
    assert heights[0][2] == pytest.approx(heights[2][1]) == pytest.approx(38)
    figure.locator("summary").click()
    expect(figure.locator("tbody tr")).to_have_text(
        ["0.02 to 0.0490000", "0.60 to 0.62752", "0.90 to 0.921,20401,204"]
    )
    axe.check(page)
