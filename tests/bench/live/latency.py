"""How long a person waits: the first paint, a key and its drawer, a decision and its record.

Times are those of the page: from the key event to the frame after the change is in the document.
``drawer`` and ``next`` end when the transaction's score and its buttons are there, ``reasons`` and
``next_reasons`` when the rest is, which the server renders.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Final

from playwright.sync_api import Browser, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

LIMITS: Final = {
    "drawer_p95_ms": 100.0,
    "next_p95_ms": 100.0,
    "recorded_p95_ms": 500.0,
    "throttled_first_paint_ms": 1000.0,
    "load_longest_task_ms": 100.0,
}
"""The largest figure that is acceptable."""

ROUNDS: Final = 25
_LOADS: Final = 5
_THROTTLE: Final = 4
_WAIT_MS: Final = 30_000
# `pressed` is the key that is being timed. A change counts once it was painted.
_WATCH: Final = """() => {
  const times = window.latency = {
    drawer: [], reasons: [], next: [], next_reasons: [], recorded: [],
  };
  let pressed = null;
  addEventListener("keydown", ({ key, timeStamp }) => {
    if (!["Enter", "f", "l"].includes(key)) return;
    const before = document.querySelector("#drawer #detail")?.dataset.id;
    pressed = { key, at: timeStamp, before, isUsable: false };
  }, { capture: true });
  const note = (name, { at } = pressed) =>
    requestAnimationFrame(() => setTimeout(() => times[name].push(performance.now() - at)));
  const look = () => {
    const drawer = document.getElementById("drawer");
    const detail = drawer.querySelector("#detail");
    if (!pressed || drawer.hidden || detail?.dataset.id !== drawer.dataset.flag) return;
    if (pressed.key === "f") {
      if (!detail.querySelector(".proof").textContent.startsWith("Recorded at")) return;
      note("recorded");
      pressed = null;
      return;
    }
    if (detail.dataset.id === pressed.before) return;
    const isFirst = pressed.key === "Enter";
    const [name, whole] = isFirst ? ["drawer", "reasons"] : ["next", "next_reasons"];
    const isUsable = detail.querySelector(".big")?.textContent && detail.querySelector(".label");
    if (!pressed.isUsable && isUsable) {
      pressed.isUsable = true;
      note(name);
    }
    if (!detail.querySelector(".why")) return;
    note(whole);
    pressed = null;
  };
  const watched = { subtree: true, childList: true, characterData: true, attributes: true };
  new MutationObserver(look).observe(document.getElementById("drawer"), watched);
}"""
_OBSERVE: Final = """
globalThis.longTasks = [];
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) globalThis.longTasks.push(duration);
}).observe({ type: "longtask", buffered: true });
"""


def measure_keys(page: Page) -> dict[str, float]:
    """Open, decide and go on by keyboard, on a queue that has enough open transactions."""
    page.evaluate(_WATCH)
    page.mouse.move(5, 5)
    page.wait_for_timeout(500)  # nobody finds the keys sooner, and the drawer's code is loaded
    for done in range(ROUNDS):
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        _wait(page, "reasons", done + 1)
        page.keyboard.press("f")
        _wait(page, "recorded", done + 1)
        page.keyboard.press("Escape")
    page.keyboard.press("n")
    held = "() => document.querySelector('#drawer .case')?.dataset.state === 'mine'"
    for done in range(ROUNDS):
        _until(page, held, None)
        page.wait_for_timeout(300)  # nobody reads faster, and the next one is fetched meanwhile
        page.keyboard.press("l")
        _wait(page, "next_reasons", done + 1)
    found: dict[str, list[float]] = page.evaluate("window.latency")
    return {
        f"{name}_{part}_ms": value
        for name, times in found.items()
        for part, value in _percentiles(times).items()
    }


def _wait(page: Page, name: str, count: int) -> None:
    wanted = "([name, count]) => window.latency[name].length >= count"
    _until(page, wanted, [name, count])


def _until(page: Page, wanted: str, given: Any) -> None:
    try:
        page.wait_for_function(wanted, arg=given, timeout=_WAIT_MS)
    except PlaywrightTimeout:
        said = page.evaluate("document.getElementById('toasts').textContent")
        shown = page.evaluate("document.getElementById('drawer').innerText.slice(0, 300)")
        raise RuntimeError(f"no answer to a key: {said!r}, {shown!r}") from None


def _percentiles(times: Sequence[float]) -> dict[str, float]:
    return {"p50": statistics.median(times), "p95": statistics.quantiles(times, n=20)[18]}


def measure_loads(browser: Browser, address: str) -> dict[str, float]:
    """First loads with an empty cache: medians of the first paint and of the longest task."""
    found = {}
    for rate, prefix in ((1, ""), (_THROTTLE, "throttled_")):
        loads = [_load(browser, address, rate) for _ in range(_LOADS)]
        found[f"{prefix}first_paint_ms"] = statistics.median(paint for paint, _ in loads)
        name = f"{prefix}load_longest_task_ms"
        found[name] = statistics.median(task for _, task in loads)
    return found


def _load(browser: Browser, address: str, rate: int) -> tuple[float, float]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.add_init_script(_OBSERVE)
    cdp = context.new_cdp_session(page)
    cdp.send("Emulation.setCPUThrottlingRate", {"rate": rate})
    page.goto(address, wait_until="load")
    page.locator("#v-live[data-state=live]").wait_for(timeout=_WAIT_MS)
    paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    result = float(page.evaluate(paint)), float(page.evaluate("Math.max(0, ...longTasks)"))
    context.close()
    return result
