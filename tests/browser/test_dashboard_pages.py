"""Themes, page sizes, the other pages, and that Python and JavaScript format and filter alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from playwright.sync_api import Page, expect

from dashboard.web.texts import format_amount, format_duration, format_score, format_time
from dashboard.web.tokens import make_token
from stream_scorer.model.store.memory_store import MemoryStore
from tests.browser.conftest import Board
from tests.support.dashboard_kit import StaticModel, make_context, tiny_bundle
from tests.support.factories import publish_only
from tests.support.listing.varied_flags import FLAGS, NOW, some_selections

NewPage = Callable[..., Page]
Start = Callable[..., Board]


def luminance(page: Page, selector: str) -> float:
    """The luminance of an element's background, 0 (black) to 255 (white)."""
    script = "e => getComputedStyle(e).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number)"
    red, green, blue = page.locator(selector).first.evaluate(script)
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


def test_theme_follows_the_operating_system(new_page: NewPage, board: Board) -> None:
    board.score()
    board.wait_flagged(1)
    page = new_page(color_scheme="dark")
    page.goto(board.address, wait_until="load")
    assert luminance(page, "body") < 40
    assert luminance(page, "#flags") < 60
    page.emulate_media(color_scheme="light")
    assert luminance(page, "body") > 220


class Traffic:
    """Middleware that notes each request and the bytes of its response, before any other."""

    def __init__(self, app: Any) -> None:
        self.paths: list[str] = []
        self.bytes: Counter[str] = Counter()
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])

        async def count(message: Any) -> None:
            self.bytes[scope["path"]] += len(message.get("body", b""))
            self.bytes[scope["path"]] += sum(
                len(name) + len(value) + 4 for name, value in message.get("headers", [])
            )
            await send(message)

        await self._app(scope, receive, count)


def test_first_load_is_small_with_the_requests_of_the_worker(page: Page, start: Start) -> None:
    board = start(StaticModel(tiny_bundle()))
    for _ in range(60):
        board.score()
    board.wait_flagged(60)
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    # The server sees what the worker requests too, which the page does not.
    board.app.middleware_stack = traffic = Traffic(board.app.middleware_stack)
    page.goto(board.address, wait_until="domcontentloaded")
    expect(page.locator("#v-live")).to_have_text("Live")
    assert all(address.startswith((board.address, "data:")) for address in addresses)
    assert "/api/v1/stream" in traffic.paths
    assert len(traffic.paths) <= 8, "\n".join(traffic.paths)
    assert traffic.bytes.total() <= 60_000, traffic.bytes
    # What comes later has no part in it, such as the names of reasons.
    page.locator("[name=reason]").focus()
    expect(page.locator("#reason-names option").first).to_be_attached()


# What does not fit the width, and what is too small for a finger. Links in a text may be small.
_MEASURE = """() => {
  const isShown = (e) =>
    e.checkVisibility({ visibilityProperty: true }) && !e.closest(".sr, .skip");
  const controls = "a[href], button, input:not([type=hidden]), select, textarea, summary";
  const isText = (e) => e.tagName === "A" && getComputedStyle(e).display === "inline";
  const height = (e) => Math.max(...[e, e.closest("label") ?? e].map((one) => one.offsetHeight));
  return {
    width: document.documentElement.scrollWidth,
    headings: document.querySelectorAll("h1").length,
    skips: document.querySelectorAll('a.skip[href="#main"]').length,
    small: [...document.querySelectorAll(controls)]
      .filter((e) => isShown(e) && !isText(e) && e.type !== "range" && height(e) < 44)
      .map((e) => `${e.outerHTML.slice(0, 120)}: ${height(e)}`),
  };
}"""


def test_pages_fit_a_zoom_of_400_percent_and_fingers_and_keep_their_marks_in_forced_colours(
    new_page: NewPage, start: Start
) -> None:
    store = MemoryStore()
    for _ in range(2):
        publish_only(store, {"metrics": {"test": {"average_precision": 0.5}}})
    board = start(StaticModel(tiny_bundle()), store=store)
    board.score(transaction_id=2**60, model_version="v" + "1" * 60)
    board.wait_flagged(1)
    # 1280 x 1024 pixels at 400 %
    page = new_page(viewport={"width": 320, "height": 256}, has_touch=True, forced_colors="active")
    for path in (
        "/", "/?min_score=0.99", "/t/0-1", "/entity/email/gmail.com", "/threshold", "/ops",
        "/model?version=v2&against=v1", "/drift", "/audit", "/check", "/nowhere",
    ):  # fmt: skip
        page.goto(board.address + path, wait_until="load")
        found = page.evaluate(_MEASURE)
        assert found == {"width": 320, "headings": 1, "skips": 1, "small": []}, path
        if path == "/":
            # Backgrounds are gone, so lines say what they said.
            marks = {".risk": "border-top-style", "nav a[aria-current]": "outline-style"}
            for selector, name in marks.items():
                style = page.locator(selector).first
                assert style.evaluate("(e, n) => getComputedStyle(e)[n]", name) == "solid"


def test_phone_shows_the_current_page_the_currency_and_what_check_will_say(
    new_page: NewPage, board: Board
) -> None:
    board.score(context=make_context(TransactionAmt=12.5))
    board.wait_flagged(1)
    page = new_page(viewport={"width": 390, "height": 844}, has_touch=True)
    for path in ("/", "/?columns=P_emaildomain,proof"):
        page.goto(board.address + path, wait_until="domcontentloaded")
        expect(page.locator("#v-live")).to_have_text("Live")
        amount = page.locator("#rows .c-amount")
        expect(amount).to_have_text("12.50")
        expect(amount).to_have_attribute("data-unit", "USD")
        after = amount.evaluate("cell => getComputedStyle(cell, '::after').content")
        assert after not in ("none", "normal")
        cut = "cells => cells.filter(cell => cell.scrollWidth > cell.clientWidth).length"
        assert page.locator("#rows :is(.c-risk, .c-amount, .c-time)").evaluate_all(cut) == 0, path
    page.evaluate("localStorage.setItem('desk.keys', 'off')")
    page.goto(f"{board.address}/check", wait_until="load")
    expect(page.locator(".top nav [aria-current]")).to_be_in_viewport(ratio=0.99)
    expect(page.locator("#answer")).to_contain_text("appear here")
    expect(page.locator("#answer p")).to_be_visible()


def test_queue_fits_tablets(new_page: NewPage, board: Board) -> None:
    board.score(transaction_id=3_000_001, context=make_context(TransactionAmt=1234.5))
    board.wait_flagged(1)
    for width in (768, 1024, 1180):
        page = new_page(viewport={"width": width, "height": 800})
        page.goto(board.address, wait_until="domcontentloaded")
        expect(page.locator("#v-live")).to_have_text("Live")
        page.keyboard.press("j")
        expect(page.locator("#v-live")).to_contain_text("Held")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.locator("#rows .c-reasons").evaluate("cell => cell.clientWidth") > 80, width
        page.close()


def test_login_returns_to_the_requested_page(
    page: Page, start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    token, line = make_token("ana", "analyst")
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(line)
    board = start(dashboard_auth="token", dashboard_tokens_file=tokens)
    page.goto(f"{board.address}/?min_score=0.6", wait_until="domcontentloaded")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("Unknown token.")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{board.address}/?min_score=0.6")
    expect(page.locator("#v-live")).to_have_text("Live")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")


def test_live_rows_and_pages_apply_the_same_filter(page: Page, board: Board) -> None:
    page.goto(board.address, wait_until="domcontentloaded")
    selections = some_selections(200)
    found = page.evaluate(
        """async ([queries, rows, now]) => {
            const { readFilter, matches } = await import("/static/filter.js");
            return queries.map((query) => {
                const filter = readFilter(query);
                return rows.map((row) => matches(row, filter, now));
            });
        }""",
        [[s.query() for s in selections], [orjson.loads(flag.body) for flag in FLAGS], NOW],
    )
    expected = [[s.matches(flag, NOW) for flag in FLAGS] for s in selections]
    assert found == expected
    assert any(any(row) for row in found)


def test_live_rows_and_pages_format_values_alike(page: Page, board: Board) -> None:
    page.goto(board.address, wait_until="domcontentloaded")
    scores = [0.0, 0.004, 0.4, 0.39999, 0.4049, 0.62, 0.7999999, 0.8, 0.9951, 0.99999, 1.0]
    amounts = [None, 0.0, 12.5, 1234.567, 1e6]
    times = [0, 1_795_000_000_123]
    seconds = [-1, 0, 0.38, 9.99, 10, 12.5, 119.9, 120, 7199, 7200, 172_799, 172_800, 1e6]
    durations = [round(1000 * each) for each in seconds]
    found = page.evaluate(
        """async ([scores, amounts, times, durations]) => {
            const view = await import("/static/view.js");
            return [scores.map((s) => view.formatScore(s, 0.4, 0.8)),
                    amounts.map(view.formatAmount),
                    times.map((t) => view.formatTime(t) + " UTC"),
                    durations.map(view.formatDuration)];
        }""",
        [scores, amounts, times, durations],
    )
    assert found == [
        [format_score(score, 0.4, 0.8) for score in scores],
        [format_amount(amount) for amount in amounts],
        [format_time(time) for time in times],
        [format_duration(each) for each in durations],
    ]
