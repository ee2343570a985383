"""The states of the queue, each entered on a page whose stream the test controls.

The accessibility test and the screenshots walk through the same states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from playwright.sync_api import Page, expect

from dashboard.feed.board import Progress
from dashboard.feed.mixture import Mixed, Scoring
from dashboard.live.notices import describe_mixed, describe_progress

MINUTE: Final = 60_000

# In place of the stream: `emit(vitals, more)` sends a tick, `lose()` breaks the connection, after
# which the next one breaks too, or with `lose("waits")` is neither opened nor refused. As from a
# dashboard, a tick without news comes every second, unless `isSilent`: else the page would say so.
_FAKE_STREAM: Final = """
delete globalThis.SharedWorker;
let current = null;
let seq = 0;
let last = null;
globalThis.EventSource = class extends EventTarget {
    constructor() {
        super();
        current = this;
        const [isLost, waits] = [globalThis.isLost, globalThis.isLost === "waits"];
        if (!waits) setTimeout(() => isLost ? this.onerror() : this.onopen(), 0);
    }
    close() {}
};
globalThis.lose = (how = true) => { globalThis.isLost = how; current.onerror(); };
globalThis.emit = (patch, more) => {
    const vitals = JSON.parse(document.getElementById("rows").dataset.vitals);
    const merge = (into, from) => {
        for (const [name, value] of Object.entries(from)) {
            const isObject = value && typeof value === "object" && !Array.isArray(value);
            if (isObject && into[name]) merge(into[name], value);
            else into[name] = value;
        }
        return into;
    };
    vitals.now = Date.now();
    last = { ...merge(vitals, patch), ...more };
    last.skew = last.now - Date.now();
    send(last);
};
const send = (news) => {
    const data = { n: 0, flagged: 0, rows: [], more: 0, ...news };
    seq += 1;
    const event = new MessageEvent("tick", { data: JSON.stringify(data), lastEventId: `x-${seq}` });
    current.dispatchEvent(event);
};
setInterval(() => {
    if (!last || globalThis.isSilent || globalThis.isLost) return;
    send({ ...last, now: Date.now() + last.skew, n: 0, flagged: 0, rows: [], more: 0, cases: [] });
}, 1000);
"""


def control(page: Page) -> None:
    """Let the test send the ticks of the pages that are opened from now on."""
    page.add_init_script(_FAKE_STREAM)


def open_queue(page: Page, address: str, path: str = "/") -> None:
    """Open the queue of a page that the test controls, and wait until it is live."""
    page.goto(address + path, wait_until="domcontentloaded")
    expect(page.locator("#v-live")).not_to_have_attribute("data-state", "off")
    emit(page)


def emit(page: Page, patch: Mapping[str, Any] | None = None, **more: Any) -> None:
    """Send a tick: the state that the page was rendered with, and what is different now."""
    wanted = {"lag": 0, **(patch or {})}
    feed = {"state": "live", "read_at": now(page), **wanted.get("feed", {})}
    page.evaluate("([patch, more]) => emit(patch, more)", [{**wanted, "feed": feed}, more])


def now(page: Page) -> int:
    """The page's clock."""
    return int(page.evaluate("Date.now()"))


def _banner(page: Page, text: str) -> None:
    expect(page.locator("#banners")).to_contain_text(text)


def rebuilding(page: Page) -> None:
    """The dashboard reads the scores topic from its start."""
    progress = describe_progress(Progress(412_000, 1_083_000, 125.0))
    feed = {"state": "rebuilding", "done": 0.38, "progress": progress}
    emit(page, {"feed": feed, "lag": 671_000})
    _banner(page, "Rebuilding 38 % \u2013 412,000 of 1,083,000, about 2 minutes. Counts are prov")


def disconnected(page: Page) -> None:
    """Kafka does not answer."""
    since = now(page) - 2 * MINUTE
    feed = {"state": "waiting", "since": since, "read_at": since - 1000, "detail": "no broker"}
    emit(page, {"feed": feed})
    _banner(page, "Disconnected from Kafka")


def behind(page: Page) -> None:
    """The dashboard reads more slowly than scores arrive."""
    emit(page, {"lag": 12_400, "lag_ms": 45_000})
    _banner(page, "This dashboard is behind")


def scorer_silent(page: Page) -> None:
    """Transactions wait, and none is scored."""
    emit(page, {"feed": {"read_at": now(page) - MINUTE + 20_000}, "backlog": 4812})
    expect(page.locator("#banners .amber")).to_contain_text("The scorer is silent")
    emit(page, {"feed": {"read_at": now(page) - MINUTE - 1000}, "backlog": 4812})
    expect(page.locator("#banners .red")).to_contain_text("The scorer is silent")


def scorers_differ(page: Page) -> None:
    """Scorers use different models and thresholds, and one writes what cannot be read."""
    found = [("v7", 0.4), ("v8", 0.4), ("v8", 0.5)]
    scorings = [Scoring(version, review, 0.8) for version, review in found]
    notices = [describe_mixed(Mixed(0, tuple(some)))._asdict() for some in (scorings, scorings[1:])]
    emit(page, {"notices": notices, "totals": {"unreadable": 1204}})
    _banner(page, "Scorers use different models since 1970-01-01 00:00:00 UTC: v7 and v8.")
    _banner(
        page, "Scorers use different thresholds since 1970-01-01 00:00:00 UTC: model v8 scores with"
    )
    unreadable = page.locator("#unreadable")
    expect(unreadable).to_have_text("Unreadable1,204")
    expect(unreadable.locator("a")).to_have_attribute("href", "/ops#unreadable")


def labels_waiting(page: Page) -> None:
    """Decisions cannot be written to the labels topic."""
    emit(page, {"waiting": 3})
    _banner(page, "3 decisions waiting to be recorded")


def no_model(page: Page) -> None:
    """The dashboard has no model."""
    emit(page, {"model": {"version": None, "detail": "the store is empty"}})
    _banner(page, "No model loaded")


def model_changed(page: Page) -> None:
    """The scorers switched to another version with other thresholds."""
    stream = {"model_version": "v7", "review_threshold": 0.4, "block_threshold": 0.8}
    emit(page, {"stream": stream})
    emit(page, {"stream": {"model_version": "v8", "review_threshold": 0.42}})
    _banner(page, "Model changed")
    _banner(page, "Review threshold changed")


def clock_skew(page: Page) -> None:
    """The clock of the computer is wrong."""
    emit(page, {}, now=now(page) + 12_000)
    _banner(page, "Clock difference")


def no_answer(page: Page) -> None:
    """The connection is open, and nothing arrives."""
    page.evaluate("isSilent = true")
    page.clock.run_for(7000)
    expect(page.locator("#v-live")).to_contain_text("No answer for")
    _banner(page, "No answer from the dashboard")


def reconnecting(page: Page) -> None:
    """The connection broke."""
    page.evaluate("lose('waits')")
    expect(page.locator("#v-live")).to_have_text("Reconnecting (try 1)")


def polling(page: Page) -> None:
    """The stream cannot be opened, and the list is fetched every few seconds."""
    page.evaluate("lose()")
    page.clock.run_for(8000)
    expect(page.locator("#v-live")).to_have_text("Polling every 5 s")
    _banner(page, "Live updates lost")


def polling_fails(page: Page) -> None:
    """Neither the stream nor the list can be fetched."""
    page.route("**/api/v1/flags?*", lambda route: route.abort())
    page.evaluate("lose()")
    page.clock.run_for(8000)
    expect(page.locator("#v-live")).to_have_text("Not updating: polling fails")
    _banner(page, "The dashboard does not answer")
    page.unroute("**/api/v1/flags?*")


def held(page: Page) -> None:
    """New rows are held back while a row has the focus."""
    page.keyboard.press("j")
    expect(page.locator("#v-live")).to_have_text("Held: a row has the focus")


def selected(page: Page) -> None:
    """Rows are selected for one decision."""
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("#bulk")).to_contain_text("1 selected")


def confirming(page: Page) -> None:
    """The decision about several rows is asked for once more."""
    selected(page)
    page.get_by_role("button", name="Fraud…").click()
    expect(page.get_by_role("dialog")).to_contain_text("Fraud: 1 transaction?")


def shortcuts(page: Page) -> None:
    """The list of keys."""
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Next row")


def menus(page: Page) -> None:
    """A menu: that of columns, which phones do not have, or that of views."""
    shown = page.locator("#columns > summary, #views > summary").locator("visible=true").last
    shown.click()
    expect(page.locator("details.menu[open] > div")).to_be_visible()


def live(page: Page) -> None:
    """Rows appear as they are scored."""
    expect(page.locator("#v-live")).to_have_text("Live")


def transaction(page: Page) -> None:
    """A transaction is open beside the list."""
    _open_first(page)
    expect(page.locator("#drawer h2").first).to_be_visible()


def loading(page: Page) -> None:
    """The details of a transaction take long."""
    # A function as the value of an expression would be called, and waited for.
    page.evaluate("() => { globalThis.fetch = () => new Promise(() => {}); }")  # never answers
    _open_first(page)
    expect(page.locator("#drawer").get_by_text("Loading…")).to_be_visible()


def not_loaded(page: Page) -> None:
    """The details of a transaction cannot be loaded."""
    page.keyboard.press("Escape")  # what is open, if anything is
    page.evaluate("() => { globalThis.fetch = () => Promise.reject(new TypeError()); }")
    _open_first(page)
    expect(page.locator("#drawer .failed")).to_contain_text("No connection to the dashboard.")


def _open_first(page: Page) -> None:
    page.locator("#rows tr .c-score").first.click()


def _by_name(*scenes: Callable[[Page], None]) -> dict[str, Callable[[Page], None]]:
    return {scene.__name__.replace("_", "-"): scene for scene in scenes}


FOLLOWING: Final = _by_name(
    live, rebuilding, disconnected, behind, scorer_silent, scorers_differ, labels_waiting, no_model,
    clock_skew, model_changed,
)  # fmt: skip
"""States that a tick leads to: one page can go through all of them."""

SCENES: Final = FOLLOWING | _by_name(
    held, selected, confirming, shortcuts, menus, no_answer, reconnecting, polling, polling_fails
)
"""Each enters a state on an open queue with rows."""

DRAWERS: Final = _by_name(transaction, loading, not_loaded)
"""The drawer's states, each on an open queue with rows."""

PATHS: Final = {
    "no-match": "/?min_score=0.99&q=nobody.example",
    "filtered": "/?min_score=0.5&columns=P_emaildomain,proof",
}
"""States that an address leads to."""
