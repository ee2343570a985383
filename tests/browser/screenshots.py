"""Takes a picture of each state of the queue: ``python -m tests.browser.screenshots OUT``.

With ``--address`` of a dashboard that runs, such as that of ``make demo``, it takes the two
pictures of the README instead: their reasons are those of a model.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, expect, sync_playwright

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

_DESKTOP: Final = {"viewport": {"width": 1440, "height": 900}}
_PHONE: Final = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
_DARK: Final = {"color_scheme": "dark"}
_ROWS: Final = 40


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the pictures, made if it is not there")
    parser.add_argument("--address", help="of a dashboard with open transactions, for the README")
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=30_000)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        if options.address:
            _take_for_readme(browser, options.address, out)
        else:
            _take_all(browser, Path(folder), out)
        browser.close()


def _take_for_readme(browser: Browser, address: str, out: Path) -> None:
    page = browser.new_page(**_DESKTOP, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto(address, wait_until="domcontentloaded")
    expect(page.locator("#v-live")).to_have_text("Live")
    page.screenshot(path=str(out / "queue.png"))
    page.get_by_role("button", name="Take the next one").click()
    expect(page.locator("#drawer .case")).to_contain_text("Held by you")
    expect(page.locator("#drawer .waterfall")).to_be_visible()
    _save(page, out, "transaction")


def _take_all(browser: Browser, folder: Path, out: Path) -> None:
    topic = MemoryTopic(1)
    app = make_app(folder, topic, StaticModel(tiny_bundle()))
    with serve(app) as address:
        board = Board(address, topic, app)
        page = browser.new_page(**_DESKTOP)  # type: ignore[arg-type]
        page.goto(address, wait_until="domcontentloaded")
        expect(page.locator("#v-live")).to_have_text("Live")
        _save(page, out, "first-run")
        _fill(board)
        for name, enter in scenes.SCENES.items():
            _save(_open(browser, address, "/", _DESKTOP), out, name, enter)
        for name, path in scenes.PATHS.items():
            _save(_open(browser, address, path, _DESKTOP), out, name)
        for name, options in (("dark", _DESKTOP | _DARK), ("phone", _PHONE)):
            _save(_open(browser, address, "/", options), out, name)
            _save(_open(browser, address, "/", options), out, f"transaction-{name}", _open_first)
        _save(_open(browser, address, "/", _DESKTOP), out, "transaction", _open_first)


def _fill(board: Board) -> None:
    """Rows that are the same with each run."""
    pick = random.Random(7)
    for _ in range(_ROWS):
        amount = round(pick.lognormvariate(4.5, 1), 2)
        board.score(pick.uniform(0.4, 0.99), context=make_context(TransactionAmt=amount))
    for _ in range(8 * _ROWS):
        board.score(pick.betavariate(1, 12) * 0.39)
    board.wait_flagged(_ROWS)


def _open(browser: Browser, address: str, path: str, options: dict[str, Any]) -> Page:
    page = browser.new_page(**options, reduced_motion="reduce")
    page.clock.install()
    scenes.control(page)
    scenes.open_queue(page, address, path)
    scenes.emit(page, {"delay_ms": 380, "rate": {"scored": 1003.2, "flagged": 35.1}}, backlog=0)
    return page


def _open_first(page: Page) -> None:
    page.locator("#rows tr .c-score").first.click()
    expect(page.locator("#drawer h2").first).to_be_visible()


def _save(page: Page, out: Path, name: str, enter: Any = None) -> None:
    if enter is not None:
        enter(page)
    page.screenshot(path=str(out / f"{name}.png"))
    page.close()


if __name__ == "__main__":
    main()
