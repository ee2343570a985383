"""Chromium, and a running dashboard for each test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sized
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    expect,
    sync_playwright,
)
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import dashboard
from dashboard.cache.reading import read_flag
from dashboard.feed.board import FeedState
from dashboard.history.past import Histories
from tests.support.dashboard_kit import (
    MemoryTopic,
    StaticModel,
    encode_score,
    make_app,
    make_score,
    serve,
)
from tests.support.waiting import wait_until

CHROMIUM = "/usr/bin/chromium"
_EXPECT_MILLISECONDS = 30_000
_ACTION_MILLISECONDS = 60_000
_STATIC = Path(dashboard.__file__).parent / "static"
# A slow machine may need longer for a step than a person: how long a decision can be undone, how
# long a message is shown, and how long an answer is waited for.
_LONGER = {
    "decide.js": ("UNDO_SECONDS = 5;", "UNDO_SECONDS = 300;"),
    "toast.js": ("DEFAULT_SECONDS = 6;", "DEFAULT_SECONDS = 300;"),
    "request.js": ("const SECONDS = 10;", "const SECONDS = 300;"),
}


def attributes(elements: Locator, name: str) -> list[str | None]:
    """An attribute of each element, read at one moment: elements of a live page come and go."""
    read = "(elements, name) => elements.map((element) => element.getAttribute(name))"
    return list(elements.evaluate_all(read, name))


def wait_held(page: Page, held: Sized, count: int = 1) -> None:
    """Wait until a handler has been given ``count`` requests: it runs after their event."""
    wait_until(lambda: page.evaluate("true") and len(held) >= count, what="the held request")


def _wait_longer(app: FastAPI) -> None:
    """Serve modules of the pages with times that a slow machine keeps."""
    for name, (given, longer) in _LONGER.items():
        text = (_STATIC / name).read_text(encoding="utf-8")
        assert given in text
        respond = partial(_respond, text.replace(given, longer))
        # Before the folder with all of them.
        app.router.routes.insert(0, Route(f"/static/{name}", respond))


async def _respond(module: str, _: Request) -> PlainTextResponse:
    return PlainTextResponse(module, media_type="text/javascript")


@dataclass
class Board:
    """A running dashboard and its topic."""

    address: str
    topic: MemoryTopic
    app: Any
    offset: int = field(default=0)

    def score(self, score: float = 0.9, **more: Any) -> str:
        """Publish one score. Returns its id, as the page has it."""
        self.offset += 1
        source = {"topic": "transactions", "partition": 0, "offset": self.offset}
        self.topic.append(encode_score(make_score(score, **{"source": source} | more)))
        return f"0-{self.offset}"

    def find(self, flag_id: str) -> dict[str, Any]:
        """The row of a flagged transaction, as ticks have it."""
        body = read_flag(self.app.state.parts.table, flag_id)
        assert body is not None
        return dict(json.loads(body))

    def wait_flagged(self, count: int) -> None:
        """Wait until all scores are stored, ``count`` of them flagged, and ticks have said so.

        No later tick repeats what a page that is opened now has already.
        """
        board = self.app.state.parts.board

        def is_published() -> bool:
            counts, noted = board.counts, vars(board)
            is_stored = counts.scored >= self.offset and counts.flagged >= count
            is_live = board.status.state is FeedState.LIVE
            return is_stored and is_live and not (noted["_scored"] or noted["_is_reset"])

        wait_until(is_published, what=f"{count} flagged")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=_EXPECT_MILLISECONDS)
    with sync_playwright() as playwright:
        # Chromium's sandbox does not work for root in a container.
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Board]]:
    """``start(model=…, **settings)`` starts a dashboard."""
    with ExitStack() as stack:

        def run(
            model: StaticModel | None = None,
            histories: Histories | None = None,
            **settings: Any,
        ) -> Board:
            topic = MemoryTopic(1)
            app = make_app(tmp_path, topic, model or StaticModel(), histories, **settings)
            _wait_longer(app)
            return Board(stack.enter_context(serve(app)), topic, app)

        yield run


@pytest.fixture
def board(start: Callable[..., Board]) -> Board:
    return start()


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """``new_page(**context options)``. Errors and dialogs of the page fail the test."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def open_page(**options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
        contexts.append(context)
        context.set_default_timeout(_ACTION_MILLISECONDS)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: errors.append(f"dialog: {dialog.message}"))
        page.on(
            "console",
            lambda message: (
                errors.append(message.text)
                if message.type == "error"
                and "Failed to load resource" not in message.text
                and "ERR_" not in message.text
                else None
            ),
        )
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    return new_page()
