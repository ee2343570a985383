"""The threshold page: its control drives the numbers, which are those that the server gives."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from dashboard.web.threshold.texts import (
    MEASURES,
    Measure,
    format_change,
    format_rate,
    format_share,
)
from tests.browser import axe
from tests.browser.conftest import Board
from tests.support.desk.desk_kit import MemoryLog
from tests.support.listing.scored_month import BLOCK, DAY_MS, REVIEW, make_month
from tests.support.waiting import wait_until

NewPage = Callable[..., Page]
Start = Callable[..., Board]


@pytest.fixture
def scored(start: Start) -> Board:
    """A month of scores. Analysts decided about those with odd offsets."""
    log = MemoryLog()
    board = start(desk_log=log)
    rows = make_month(int(time.time() * 1000) // DAY_MS)
    for row in rows:
        board.score(**row.record())
    flagged = [row for row in rows if row.score >= REVIEW]
    for row in flagged[1::2]:
        source = {"topic": "transactions", "partition": 0, "offset": row.offset}
        label = "FRAUD" if row.offset % 3 == 0 else "LEGITIMATE"
        log.put_label(row.transaction, label, "ANALYST", source=source)
    board.wait_flagged(len(flagged))
    desk = board.app.state.parts.desk
    wait_until(lambda: len(desk.standing_labels()) == len(flagged) // 2, what="the labels")
    return board


def api(board: Board, page: Page, query: str) -> dict[str, Any]:
    answer = page.request.get(f"{board.address}/api/v1/threshold?{query}")
    assert answer.ok, answer.text()
    found: dict[str, Any] = answer.json()
    return found


def change(measure: Measure, before: float, after: float) -> str:
    def at(value: float) -> dict[str, Any]:
        return {measure.key: {"value": value} if measure.kind == "share" else value}

    return format_change(measure, at(before), at(after), 4.0)


def texts(page: Page) -> list[str]:
    return page.locator("#compare tbody tr").all_inner_texts()


def distance(page: Page, token: str) -> float:
    """How far the nearest pixel of the chart is from a colour of the page, 0 to 441."""
    return float(
        page.locator("#alerts canvas").evaluate(
            """(canvas, token) => {
              const probe = document.body.appendChild(document.createElement("i"));
              probe.style.color = `var(${token})`;
              const wanted = getComputedStyle(probe).color.match(/[0-9.]+/g).map(Number);
              const { width, height } = canvas;
              const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
              let least = 441;
              for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 230) {
                const [r, g, b] = [0, 1, 2].map((c) => data[i + c] - wanted[c]);
                least = Math.min(least, Math.hypot(r, g, b));
              }
              return least;
            }""",
            token,
        )
    )


def test_control_drives_the_numbers_that_the_server_gives(new_page: NewPage, scored: Board) -> None:
    question = "window=7d&labels=reviewed&model=v7"
    page = new_page(color_scheme="light")
    page.goto(f"{scored.address}/threshold?{question}&threshold=0.7", wait_until="load")
    slider = page.get_by_role("slider", name="Proposed review threshold")
    expect(slider).to_have_value("0.7")
    # What JavaScript shows is what the server rendered.
    plain = new_page(java_script_enabled=False)
    plain.goto(f"{scored.address}/threshold?{question}&threshold=0.7", wait_until="load")
    assert texts(page) == texts(plain)

    rates = [0, 0.005, 0.125, 0.41, 2.5, 9.995, 9.996, 12.25, 99.95, 100.5, 1240.4, 123456.5]
    shown = page.evaluate(
        """async (rates) => {
          const path = "/static/threshold-text.js";
          const { formatRate, formatShare, formatChange } = await import(path);
          return rates.map((v) => [formatRate(v), formatShare(v / 2e5), formatChange("rate", 7, v),
            formatChange("share", 0.5, v / 2e5)]);
        }""",
        rates,
    )
    by_key = {measure.key: measure for measure in MEASURES}
    assert shown == [
        [
            format_rate(rate),
            format_share(rate / 2e5),
            change(by_key["alerts_per_day"], 7, rate),
            change(by_key["precision"], 0.5, rate / 2e5),
        ]
        for rate in rates
    ]

    slider.focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowRight")
    proposed = api(scored, page, f"{question}&threshold=0.711")["proposed"]
    expect(page.locator("#chosen")).to_have_text("0.7110")
    cell = page.locator("tr[data-key=alerts_per_day] .proposed")
    expect(cell).to_have_text(format_rate(proposed["alerts_per_day"]))
    precision = page.locator("tr[data-key=precision] .proposed")
    expect(precision).to_contain_text(format_share(proposed["precision"]["value"]))
    expect(precision).to_contain_text(f"n = {proposed['precision']['n']}, too few")
    expect(page.locator("tr[data-key=recall] .proposed")).to_have_text("Not estimable")
    expect(page).to_have_url(re.compile("threshold=0.711"))
    expect(page.locator("#config")).to_contain_text("0.7110 proposed")

    page.get_by_label("Minutes per alert").fill("60")
    hours = page.locator("tr[data-key=hours] .proposed")
    expect(hours).to_have_text(format_rate(proposed["alerts_per_day"]))
    page.get_by_label("Proposed threshold", exact=True).fill("0.65")
    expect(page.locator("#chosen")).to_have_text("0.6500")
    page.get_by_role("button", name="Back to 0.6237").click()
    expect(page.locator("tr[data-key=alerts_per_day] .change")).to_have_text("0 %")
    expect(page).to_have_url(re.compile(r"\?(?!.*threshold=).*minutes=60"))


def test_charts_follow_the_theme_and_can_be_read_as_tables(
    new_page: NewPage, scored: Board
) -> None:
    page = new_page(color_scheme="light")
    page.goto(f"{scored.address}/threshold?window=7d&labels=reviewed", wait_until="load")
    expect(page.locator("#alerts canvas")).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for token in ("--dim", "--chart-3", "--mark-live"):  # axis labels, the line, the mark
            # The charts are drawn again in a later frame than the page.
            drawn = partial(lambda name: distance(page, name) < 25, token)
            wait_until(drawn, what=f"{token} in the {scheme} chart")
    page.locator("#alerts summary").click()
    expect(page.locator("#alerts .as-table tbody tr")).to_have_count(101)
    axe.check(page)
    page.locator("#alerts .u-over").click(position={"x": 100, "y": 60})
    expect(page.locator("tr[data-key=alerts_per_day] .change")).not_to_have_text("0 %")
    phone = new_page(viewport={"width": 390, "height": 800}, has_touch=True)
    phone.goto(f"{scored.address}/threshold", wait_until="load")
    expect(phone.locator("#alerts canvas")).to_be_visible()
    assert phone.locator(".threshold").evaluate("e => e.scrollWidth - e.clientWidth") <= 0


def test_page_works_without_javascript(new_page: NewPage, scored: Board) -> None:
    page = new_page(java_script_enabled=False)
    page.goto(f"{scored.address}/threshold", wait_until="load")
    page.get_by_label("Window").select_option("14d")
    page.get_by_role("radio", name="Reviewed").check()
    page.get_by_label("Proposed threshold").fill("0.9")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#compare thead")).to_contain_text("Proposed ≥ 0.9000")
    at = api(scored, page, "window=14d&labels=reviewed&threshold=0.9")["proposed"]
    cell = page.locator("tr[data-key=alerts_per_day] .proposed")
    expect(cell).to_have_text(format_rate(at["alerts_per_day"]))
    assert at["threshold"] == BLOCK
    expect(page.locator(".slide")).to_be_hidden()
