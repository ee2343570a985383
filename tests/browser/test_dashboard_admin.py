"""The pages for leads and people on call: live figures, a promotion by keyboard, accessibility."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from dashboard.operations.backlog import PartitionBacklog
from dashboard.operations.dead_letters import DeadLetters
from stream_scorer.errors import RetryableError
from stream_scorer.model.store.memory_store import MemoryStore
from tests.browser import axe
from tests.browser.conftest import Board
from tests.support.factories import publish_only
from tests.support.operations.brokers import MemoryBacklog, MemoryDeadLetters, make_monitor
from tests.support.waiting import wait_until

NewPage = Callable[..., Page]
Start = Callable[..., Board]
PHONE = {"viewport": {"width": 390, "height": 844}}
QUALITY = {
    "metrics": {"test": {"average_precision": 0.5, "review": {"precision": 0.25}}},
    "plots": {"precision_recall": [[0.1, 0.9], [0.9, 0.1]]},
}
LETTER = {"place": "3-7", "time": 1_795_000_000_000, "stage": "decode", "value_bytes": 12,
          "reason": "<img src=x onerror=alert(1)>", "input": "transactions 3-99"}  # fmt: skip


def is_narrow(page: Page) -> bool:
    """Whether the page needs no scrolling to the side."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_operations_update_in_place_and_say_when_they_cannot(
    new_page: NewPage, start: Start
) -> None:
    backlog = MemoryBacklog([PartitionBacklog(0, 5, 0, 12), PartitionBacklog(1, None, 3, 1003)])
    monitor = make_monitor(backlog, MemoryDeadLetters(DeadLetters(1, [LETTER])))
    board = start(monitor=monitor)
    now = int(time.time() * 1000)
    board.score(0.9, scored_at=now, event_time=now - 250)
    board.wait_flagged(1)
    wait_until(lambda: monitor.state.backlog.at, what="the backlog")
    page = new_page()
    page.clock.install()
    page.goto(f"{board.address}/ops", wait_until="domcontentloaded")
    expect(page.locator("#f-waiting")).to_have_text("1,007")
    expect(page.locator("#dead")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.locator("#charts canvas")).to_have_count(2)
    throughput = page.locator("#chart-throughput")
    throughput.locator("summary").click()
    # Also the minutes without a score.
    expect(throughput.locator(".as-table tbody tr")).to_have_count(60)
    throughput.locator("summary").click()
    expect(page.locator("#versions")).to_contain_text("v7")
    backlog.partitions = [PartitionBacklog(0, 12, 0, 12)]
    monitor.poll()
    page.clock.run_for(5_000)
    expect(page.locator("#f-waiting")).to_have_text("0")
    expect(page.locator("#backlog tr")).to_have_count(1)
    axe.check(page)
    backlog.error = RetryableError("no broker answers")
    monitor.poll()
    page.clock.run_for(5_000)
    expect(page.locator("#checks .bad").first).to_contain_text("no broker answers")
    page.route("**/api/v1/operations", lambda route: route.abort())
    page.clock.run_for(30_000)
    expect(page.locator("#ops-problem")).to_contain_text("No newer figures for")
    axe.check(page)
    page.set_viewport_size({"width": 390, "height": 844})
    wait_until(lambda: is_narrow(page), what="charts of the new width")


def test_lead_promotes_with_a_reason_and_reads_it_in_the_audit_log(
    new_page: NewPage, start: Start
) -> None:
    store = MemoryStore()
    publish_only(store, {**QUALITY, "gate": {"passed": True}})
    publish_only(store, {**QUALITY, "gate": {"passed": False, "refusals": ["too few frauds"]}})
    board = start(store=store)
    page = new_page()
    page.goto(f"{board.address}/model?version=v2&against=v1", wait_until="domcontentloaded")
    expect(page.locator(".refusals")).to_have_text("Too few frauds.")
    expect(page.locator("#curves canvas")).to_have_count(2)
    axe.check(page)
    page.get_by_text("Promote v2…").press("Enter")
    page.get_by_label("Reason, which is recorded with your name", exact=True).fill(
        "an <b>exception</b>"
    )
    page.get_by_role("button", name="Promote v2").press("Enter")  # the box must be ticked first
    expect(page).to_have_url(re.compile("against=v1"))
    page.get_by_label("Promote although its gate refused it").check()
    page.get_by_role("button", name="Promote v2").press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("v2 is promoted.")
    expect(page.get_by_text("Promoted by force")).to_be_visible()
    desk = board.app.state.parts.desk
    wait_until(lambda: desk.status().events_waiting == 0, what="the event")

    def listed() -> bool:
        page.goto(f"{board.address}/audit", wait_until="domcontentloaded")
        return page.get_by_text("an <b>exception</b>").count() == 1

    wait_until(listed, what="the promotion in the audit log")
    axe.check(page)


@pytest.mark.parametrize(
    "path", ["/model?version=v2&against=v1", "/audit", "/api#get-api-v1-models"]
)
def test_page_fits_a_phone_and_is_accessible(new_page: NewPage, start: Start, path: str) -> None:
    store = MemoryStore()
    for _ in range(2):
        publish_only(store, {**QUALITY, "gate": {"passed": True}})
    board = start(store=store)
    page = new_page(**PHONE)
    page.goto(f"{board.address}{path}", wait_until="domcontentloaded")
    assert is_narrow(page)
    if path.startswith("/api"):
        expect(page.locator("#get-api-v1-models")).to_be_in_viewport()
        expect(page.get_by_role("button", name="Copy: Command for GET /livez")).to_be_visible()
        # All routes look alike, and axe needs long for hundreds of them.
        for kind in (".route", ".toc li"):
            script = f"[...document.querySelectorAll('{kind}')].slice(3).forEach(e => e.remove())"
            page.evaluate(script)
    axe.check(page)
