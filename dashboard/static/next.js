// Transactions one after another: n claims the next by expected loss, a decision brings the one
// after it, and its details are fetched while this one is read.

import { desk } from "./decide.js";
import { prefetchPanel } from "./panel.js";
import { request } from "./request.js";
import { toast } from "./toast.js";

const NOT_FILTERS = ["sel", "cursor", "after", "limit", "sort", "status", "columns", "view"];
const LONGEST_MS = 10 * 60_000; // a break is not time spent on a transaction
const MOST_TIMES = 2000;

class NextLoop {
  #claiming = null;
  #current = null; // what the loop claimed and shows
  #undone = null;
  #shown = null; // {id, at} of the transaction that is shown
  #spent = new Map(); // id → milliseconds from its first sight to its decision

  /** Claim the next transaction of the list's filter, and show it. */
  async next() {
    if (this.#claiming) return;
    const selection = Object.fromEntries(readFilter());
    this.#claiming = request("/api/v1/flags/claim-next", { method: "POST", body: { selection } });
    try {
      const found = await this.#claiming;
      if (!found) {
        this.#current = null;
        toast("No open transaction is left that matches the filter.");
        return;
      }
      desk.know(found.id, found.case);
      tell("case:changed", { id: found.id, case: found.case });
      this.#current = found.id;
      tell("flag:open", { id: found.id });
    } catch (error) {
      const retry = error.isTemporary ? { action: "Retry", seconds: 0, onAction: () => this.next() } : {};
      toast(`The next transaction could not be claimed. ${error.message}`, retry);
    } finally {
      this.#claiming = null;
    }
  }

  onShown({ isOpen, id }) {
    if (!isOpen) {
      if (id === null) this.#current = null; // the drawer was closed, which ends the loop
      return;
    }
    if (this.#shown?.id !== id) this.#shown = { id, at: Date.now() };
    if (id === this.#current) this.#prefetch(id);
  }

  onDeciding({ id }) {
    if (this.#shown?.id === id) this.#spent.set(id, Date.now() - this.#shown.at);
    if (id === this.#current) this.next();
    else if (id === this.#undone && this.#current) tell("flag:open", { id: this.#current });
    this.#undone = null;
  }

  /** A withdrawn decision is made again, and then the loop goes on where it was. */
  onWithdrawn({ id }) {
    this.#undone = id;
  }

  /** Fetch the details of the likely next one. Whoever claims it first gets it. */
  async #prefetch(id) {
    try {
      const query = readFilter();
      for (const [name, value] of [["status", "open"], ["sort", "expected_loss"], ["limit", "20"]]) {
        query.set(name, value);
      }
      const { items } = await request(`/api/v1/flags?${query}`);
      const isOpen = (found) => (found?.status ?? "open") === "open";
      const next = items.find((item) => item.id !== id && isOpen(item.case) && isOpen(desk.caseOf(item.id)));
      if (next) prefetchPanel(next.id);
    } catch {
      // Only speed is lost.
    }
  }

  /** How long a decided transaction was shown. Null if it was decided from the list. */
  takeTime(id) {
    const spent = this.#spent.get(id) ?? null;
    this.#spent.delete(id);
    return spent;
  }
}

/** The filter of the list, which the next transaction has to match. */
function readFilter() {
  const query = new URLSearchParams(location.pathname === "/" ? location.search : "");
  for (const [name, value] of [...query]) {
    if (NOT_FILTERS.includes(name) || value.trim() === "") query.delete(name);
  }
  return query;
}

/** The user's own decisions of today, kept in this browser. */
class Tally {
  #served = 0; // decided before this page was loaded, by the audit log
  #added = new Set(); // decided since then

  add(id, millis) {
    this.#added.add(id);
    const today = this.#read();
    today.times[id] = millis === null ? null : Math.min(millis, LONGEST_MS);
    if (Object.keys(today.times).length <= MOST_TIMES) this.#write(today);
    this.show();
  }

  remove(id) {
    this.#added.delete(id);
    const today = this.#read();
    delete today.times[id];
    this.#write(today);
    this.show();
  }

  show() {
    const place = document.querySelector(".tally");
    if (!place) return;
    const decided = Object.values(this.#read().times);
    const times = decided.filter((millis) => millis !== null).sort((a, b) => a - b);
    // What the user decided in another browser counts too: the server knows of it.
    this.#served ||= Number(place.dataset.decided ?? 0);
    const count = Math.max(decided.length, this.#served + this.#added.size);
    place.hidden = count === 0;
    const median = times.length ? (times[(times.length - 1) >> 1] + times[times.length >> 1]) / 2 : null;
    const speed = median === null ? "" : ` · median ${Math.max(1, Math.round(median / 1000))} s`;
    place.textContent = `You decided ${count} today${speed}`;
  }

  #read() {
    const day = new Date().toISOString().slice(0, 10);
    try {
      const kept = JSON.parse(localStorage.getItem("decided"));
      if (kept?.day === day && typeof kept.times === "object") return kept;
    } catch {
      // Not readable: counting starts again.
    }
    return { day, times: {} };
  }

  #write(today) {
    try {
      localStorage.setItem("decided", JSON.stringify(today));
    } catch {
      // Storage is full or not allowed: the figure is a convenience.
    }
  }
}

function tell(name, detail) {
  document.dispatchEvent(new CustomEvent(name, { detail }));
}

const loop = new NextLoop();
const tally = new Tally();
document.addEventListener("flag:next", () => loop.next());
document.addEventListener("drawer:state", ({ detail }) => {
  loop.onShown(detail);
  if (detail.isOpen) tally.show();
});
document.addEventListener("case:deciding", ({ detail }) => loop.onDeciding(detail));
document.addEventListener("case:decided", ({ detail }) => tally.add(detail.id, loop.takeTime(detail.id)));
document.addEventListener("case:withdrawn", ({ detail }) => {
  loop.onWithdrawn(detail);
  tally.remove(detail.id);
});

tally.show();
