"""Themes, page sizes, the other pages, and that Python and JavaScript format and filter alike."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest
from playwright.sync_api import Page, expect

from dashboard.web.texts import format_amount, format_score, format_signed, format_time
from dashboard.web.tokens import make_token
from tests.browser.conftest import Board
from tests.support.dashboard_kit import StaticModel, tiny_bundle
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


def test_first_load_is_small_and_requests_only_this_server(
    new_page: NewPage, page: Page, start: Start
) -> None:
    board = start(StaticModel(tiny_bundle()))
    for _ in range(60):
        board.score()
    board.wait_flagged(60)
    # A first visitor waits for the tick with these rows, so that the measured page gets none.
    earlier = new_page()
    earlier.goto(board.address, wait_until="domcontentloaded")
    expect(earlier.locator("#v-live")).to_have_text("Live")
    expect(earlier.locator("#v-flagged")).to_have_text("60")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(board.address, wait_until="domcontentloaded")
    expect(page.locator("#v-live")).to_have_text("Live")
    assert all(url.startswith((board.address, "data:")) for url in requests)
    bytes_sent = page.evaluate(
        "[...performance.getEntriesByType('navigation'), "
        "...performance.getEntriesByType('resource')].map(e => e.transferSize)"
    )
    names = page.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
    assert len(bytes_sent) <= 8, "\n".join(names)
    assert sum(bytes_sent) <= 60_000


@pytest.mark.parametrize("path", ["/", "/t/0-1", "/check", "/?min_score=0.99"])
def test_phone_layout_has_no_horizontal_scrolling(
    new_page: NewPage, board: Board, path: str
) -> None:
    board.score(transaction_id=2**60, model_version="v" + "1" * 60)
    board.wait_flagged(1)
    page = new_page(viewport={"width": 360, "height": 700}, has_touch=True)
    page.goto(board.address + path, wait_until="load")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


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
    contributions = [1.214, 0.0, -0.456, 12.3]
    amounts = [None, 0.0, 12.5, 1234.567, 1e6]
    times = [0, 1_795_000_000_123]
    found = page.evaluate(
        """async ([scores, contributions, amounts, times]) => {
            const view = await import("/static/view.js");
            return [scores.map((s) => view.formatScore(s, 0.4, 0.8)),
                    contributions.map(view.formatSigned), amounts.map(view.formatAmount),
                    times.map((t) => view.formatTime(t) + " UTC")];
        }""",
        [scores, contributions, amounts, times],
    )
    assert found == [
        [format_score(score, 0.4, 0.8) for score in scores],
        [format_signed(contribution) for contribution in contributions],
        [format_amount(amount) for amount in amounts],
        [format_time(time) for time in times],
    ]
