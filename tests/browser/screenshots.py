"""Takes pictures of all states and pages: ``python -m tests.browser.screenshots OUT``.

Each look has its folder: ``light``, ``dark``, ``phone``, ``print``, ``contrast`` (forced colours)
and ``zoom`` (1280 pixels at 400 %). ``--look`` and ``--only`` take some of them.

With ``--address`` of a dashboard that runs, such as that of ``make demo``, it takes the two
pictures of the README instead: their reasons are those of a model.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from playwright.sync_api import Browser, Page, expect, sync_playwright

from dashboard.operations.backlog import PartitionBacklog
from dashboard.operations.dead_letters import DeadLetters
from dashboard.web.auth import COOKIE
from dashboard.web.tokens import make_token
from stream_scorer.model.store.memory_store import MemoryStore
from tests.browser import scenes
from tests.browser.conftest import CHROMIUM, Board
from tests.support.dashboard_kit import (
    MemoryTopic,
    StaticModel,
    make_app,
    make_context,
    serve,
    tiny_bundle,
)
from tests.support.desk.desk_kit import MemoryLog
from tests.support.drift.report import put_report
from tests.support.factories import publish_only
from tests.support.listing.scored_month import DAY_MS, REVIEW, make_month
from tests.support.operations.brokers import MemoryBacklog, MemoryDeadLetters, make_monitor
from tests.support.waiting import wait_until

_DESKTOP: Final = {"viewport": {"width": 1440, "height": 900}}
LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": _DESKTOP | {"color_scheme": "light"},
    "dark": _DESKTOP | {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True},
    "print": {"viewport": {"width": 1000, "height": 1414}},
    "contrast": _DESKTOP | {"forced_colors": "active"},
    "zoom": {"viewport": {"width": 320, "height": 256}},
}
_ROWS: Final = 40
_LETTER: Final = {
    "place": "3-7", "time": 1_795_000_000_000, "stage": "decode", "value_bytes": 12,
    "reason": "the record has no TransactionAmt", "input": "transactions 3-99",
}  # fmt: skip
_CURVE: Final = {"precision_recall": [[0.1, 0.9], [0.9, 0.1]]}
_PAGES: Final = {
    "transaction-page": "/t/0-1",
    "entity": "/entity/email/gmail.com",
    "threshold": "/threshold?window=7d&labels=reviewed&threshold=0.7",
    "threshold-matured": "/threshold",
    "operations": "/ops",
    "model": "/model?version=v2&against=v1",
    "drift": "/drift",
    "audit": "/audit",
    "check": "/check?sample=usual",
    "reference": "/api",
    "not-found": "/nowhere",
}

Enter = Callable[[Page], None]


class Camera:
    """Saves pictures of pages, as they look in each of the looks.

    Args:
        browser: opens the pages.
        out: a folder for each look is made in it.
        looks: the looks to take.
        only: parts of names: the pictures whose name has one of them. Empty takes all.
    """

    def __init__(self, browser: Browser, out: Path, looks: list[str], only: list[str]) -> None:
        self._browser = browser
        self._out = out
        self._looks = looks
        self._only = only

    def take(self, name: str, open_page: Enter, cookies: list[Any] | None = None) -> None:
        """Save one picture for each look. ``open_page`` leads a new page to what is shown."""
        if self._only and not any(part in name for part in self._only):
            return
        for look in self._looks:
            context = self._browser.new_context(**LOOKS[look], reduced_motion="reduce")
            context.add_cookies(cookies or [])
            page = context.new_page()
            open_page(page)
            if look == "print":
                page.emulate_media(media="print")
            path = self._out / look / f"{name}.png"
            page.screenshot(path=str(path), full_page=look in ("print", "zoom"))
            context.close()


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the pictures, made if it is not there")
    parser.add_argument("--address", help="of a dashboard with open transactions, for the README")
    parser.add_argument("--look", choices=LOOKS, action="append", help="default: all")
    parser.add_argument("--only", action="append", metavar="TEXT", help="in the name; default: all")
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=30_000)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        if options.address:
            _take_for_readme(browser, options.address, out)
        else:
            camera = Camera(browser, out, options.look or list(LOOKS), options.only or [])
            _take_first_states(camera, Path(folder) / "first")
            _take_all(camera, Path(folder) / "desk")
        browser.close()


def _take_for_readme(browser: Browser, address: str, out: Path) -> None:
    page = browser.new_page(**_DESKTOP, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto(address, wait_until="domcontentloaded")
    expect(page.locator("#v-live")).to_have_text("Live")
    page.screenshot(path=str(out / "queue.png"))
    page.get_by_role("button", name="Take the next one").click()
    expect(page.locator("#drawer .case")).to_contain_text("Held by you")
    expect(page.locator("#drawer .waterfall")).to_be_visible()
    page.screenshot(path=str(out / "transaction.png"))


def _take_first_states(camera: Camera, folder: Path) -> None:
    """What people see before the login, before the first score, without a model, and as viewers."""
    folder.mkdir()
    token, line = make_token("vic", "viewer")
    (folder / "tokens").write_text(line)
    rights = {"dashboard_auth": "token", "dashboard_tokens_file": folder / "tokens"}
    with _serve(folder, StaticModel(), **rights) as board:
        camera.take("login", _goto(f"{board.address}/?min_score=0.6"))
        session = board.app.state.parts.authenticator.log_in(
            Request({"type": "http", "headers": []}), token
        )
        cookies = [{"name": COOKIE, "value": session, "url": board.address}]
        camera.take("first-run", _goto_live(board.address), cookies)
        camera.take("check-no-model", _goto(f"{board.address}/check"), cookies)
        _fill(board)
        camera.take("read-only", _goto_live(board.address), cookies)
        camera.take("forbidden", _goto(f"{board.address}/audit"), cookies)


def _take_all(camera: Camera, folder: Path) -> None:
    """All states of the queue with rows, the transaction, and all other pages."""
    folder.mkdir()
    store, log = MemoryStore(), MemoryLog()
    for average_precision in (0.5, 0.53):
        test = {"average_precision": average_precision, "review": {"precision": 0.25}}
        publish_only(store, {"metrics": {"test": test}, "plots": _CURVE, "gate": {"passed": True}})
    backlog = MemoryBacklog([PartitionBacklog(0, 5, 0, 12), PartitionBacklog(1, None, 3, 1003)])
    monitor = make_monitor(backlog, MemoryDeadLetters(DeadLetters(1, [_LETTER])))
    parts = {"store": store, "monitor": monitor, "desk_log": log}
    with _serve(
        folder, StaticModel(tiny_bundle()), **parts, model_store_uri=put_report(folder)
    ) as b:
        _fill(b)
        for name, enter in scenes.SCENES.items():
            camera.take(name, _enter(b.address, "/", enter))
        for name, path in scenes.PATHS.items():
            camera.take(name, _enter(b.address, path))
        for name, enter in scenes.DRAWERS.items():
            camera.take(name, _enter(b.address, "/", enter))
        _fill_month(b, log)
        for name, path in _PAGES.items():
            camera.take(name, _goto(b.address + path))


@contextmanager
def _serve(folder: Path, model: StaticModel, **more: Any) -> Iterator[Board]:
    topic = MemoryTopic(1)
    app = make_app(folder, topic, model, **more)
    with serve(app) as address:
        yield Board(address, topic, app)


def _fill(board: Board) -> None:
    """Rows that are the same with each run."""
    pick = random.Random(7)
    for _ in range(_ROWS):
        amount = round(pick.lognormvariate(4.5, 1), 2)
        board.score(pick.uniform(0.4, 0.99), context=make_context(TransactionAmt=amount))
    for _ in range(8 * _ROWS):
        board.score(pick.betavariate(1, 12) * 0.39)
    board.wait_flagged(_ROWS)


def _fill_month(board: Board, log: MemoryLog) -> None:
    """A month of scores, with labels for every second one that was flagged."""
    first = board.offset
    rows = make_month(int(time.time() * 1000) // DAY_MS, per_day=60)
    for row in rows:
        source = {"topic": "transactions", "partition": 0, "offset": first + row.offset}
        version = "v8" if row.version == "v7" else "v6"  # the other rows have other thresholds
        board.score(**row.record() | {"source": source, "model_version": version})
    flagged = [row for row in rows if row.score >= REVIEW]
    for row in flagged[1::2]:
        source = {"topic": "transactions", "partition": 0, "offset": first + row.offset}
        label = "FRAUD" if row.score > 0.6 + row.offset % 5 / 10 else "LEGITIMATE"
        log.put_label(row.transaction, label, "ANALYST", source=source)
    board.wait_flagged(_ROWS + len(flagged))
    desk = board.app.state.parts.desk
    wait_until(lambda: len(desk.standing_labels()) >= len(flagged) // 2, what="the labels")


def _goto(address: str) -> Enter:
    def open_page(page: Page) -> None:
        page.goto(address, wait_until="load")
        expect(page.locator("#charts[hidden], #curves[hidden]")).to_have_count(0)  # drawn later

    return open_page


def _goto_live(address: str) -> Enter:
    def open_page(page: Page) -> None:
        page.goto(address, wait_until="domcontentloaded")
        expect(page.locator("#v-live")).to_have_text("Live")

    return open_page


def _enter(address: str, path: str, enter: Enter | None = None) -> Enter:
    def open_page(page: Page) -> None:
        page.clock.install()
        scenes.control(page)
        scenes.open_queue(page, address, path)
        scenes.emit(page, {"delay_ms": 380, "rate": {"scored": 1003.2, "flagged": 35.1}}, backlog=0)
        if enter is not None:
            enter(page)

    return open_page


if __name__ == "__main__":
    main()
