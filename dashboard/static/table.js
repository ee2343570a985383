// The rows on the page: at most 200, in the order of the page, and held back while somebody reads
// them. All text is set through textContent, because any field may contain text from an attacker.

import {
  MISSING, buildTime, capitalize, describeFeature, fillBadge, formatAmount, formatArrow,
  formatCount, formatDuration, formatScore, formatValue, titleOf,
} from "./view.js";

const MAX_ROWS = 200;
const MAX_HELD = 2000;
const SHOWN_REASONS = 3;
const CASE_WORDS = { FRAUD: "Fraud", LEGITIMATE: "Legitimate", UNSURE: "Unsure" };

export class FlagTable {
  /** `hasOlder`: rows follow the last one on another page. */
  constructor({ sort, user, hasOlder }) {
    this.table = document.getElementById("flags");
    this.body = document.getElementById("rows");
    this.template = document.getElementById("row").content.firstElementChild;
    this.empty = document.getElementById("empty");
    this.sort = sort;
    this.user = user;
    this.hasOlder = hasOlder;
    for (const row of this.rows) row.flagKey = JSON.parse(row.dataset.key);
    for (const row of this.rows) this.#showCase(row, JSON.parse(row.dataset.case ?? "null"));
  }

  get rows() {
    return [...this.body.querySelectorAll("tr[data-id]")];
  }

  get last() {
    return this.rows.at(-1) ?? null;
  }

  /**
   * Insert rows in the order of the list. Rows that are already shown do not change. A row that
   * belongs after the last one is left to the older pages, if there are any. `missing`: how many
   * rows of the same time were not sent.
   */
  insert(rows, { isFresh = true, missing = 0 } = {}) {
    let lowest = null;
    for (const row of rows) {
      if (this.row(row.id)) continue;
      const key = keyOf(row);
      const shown = this.rows;
      const at = shown.find((other) => this.#compare(key, other.flagKey) < 0) ?? null;
      if (at === null && this.hasOlder && shown.length > 0) continue;
      const built = this.#build(row, key, isFresh);
      this.body.insertBefore(built, at);
      if (lowest === null || this.#compare(lowest.flagKey, key) < 0) lowest = built;
    }
    if (missing > 0) this.#markGap(lowest, missing);
    const all = this.rows;
    for (const row of all.slice(MAX_ROWS)) row.remove();
    if (all.length > MAX_ROWS) this.hasOlder = true;
    this.#tidy();
  }

  replace(rows, hasOlder) {
    this.body.replaceChildren();
    this.hasOlder = false;
    this.insert(rows, { isFresh: false });
    this.hasOlder = hasOlder;
  }

  row(id) {
    return this.body.querySelector(`tr[data-id="${CSS.escape(id)}"]`);
  }

  /** Show what happened to a case in its row. The row does not move. */
  patch(id, state) {
    const row = this.row(id);
    if (row) this.#showCase(row, state);
  }

  /** Ages in the status cells, counted on. */
  refreshCases(now) {
    for (const row of this.body.querySelectorAll("tr[data-until]")) this.#showCase(row, row.flagCase, now);
  }

  /** Make this the row that keys are about, and that Tab reaches. */
  mark(row, { isFocused = true } = {}) {
    for (const other of this.body.querySelectorAll("[aria-current], tr[tabindex='0']")) {
      other.removeAttribute("aria-current");
      other.tabIndex = -1;
    }
    if (!row) {
      this.#tidy();
      return;
    }
    row.setAttribute("aria-current", "true");
    row.tabIndex = 0;
    if (!isFocused) return;
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }

  get current() {
    return this.body.querySelector("tr[aria-current]");
  }

  #compare(left, right) {
    const from = this.sort === "expected_loss" ? 0 : 1;
    const sign = this.sort === "oldest" ? -1 : 1;
    for (let i = from; i < left.length; i += 1) {
      if (left[i] !== right[i]) return left[i] > right[i] ? -sign : sign;
    }
    return 0;
  }

  /** Rows that a tick left out are counted where they are missing. */
  #markGap(after, count) {
    const old = this.body.querySelector("tr.gap");
    const total = count + Number(old?.dataset.count ?? 0);
    old?.remove();
    const gap = document.createElement("tr");
    gap.className = "gap";
    gap.dataset.count = total;
    const cell = gap.insertCell();
    cell.colSpan = this.table.tHead.rows[0].cells.length;
    cell.textContent = `${formatCount(total)} not shown here — loading`;
    if (after) after.after(gap);
    else this.body.prepend(gap);
  }

  get gap() {
    return Number(this.body.querySelector("tr.gap")?.dataset.count ?? 0);
  }

  #tidy() {
    const rows = this.rows;
    this.table.hidden = rows.length === 0;
    this.empty.hidden = rows.length > 0;
    if (rows.length > 0 && !this.body.querySelector("tr[tabindex='0']")) rows[0].tabIndex = 0;
  }

  #build(row, key, isFresh) {
    const tr = this.template.cloneNode(true);
    const fill = (name, act) => tr.querySelectorAll(`.c-${name}`).forEach(act);
    tr.dataset.id = row.id;
    tr.dataset.amount = row.amount ?? "";
    tr.flagKey = key;
    if (isFresh) tr.classList.add("fresh");
    fill("select", (cell) => {
      cell.querySelector(".sr").textContent = `Select transaction ${row.transaction_id}`;
    });
    fill("risk", (cell) => fillBadge(cell.firstElementChild, row.risk));
    const thresholds = [row.review_threshold, row.block_threshold];
    fill("score", (cell) => {
      cell.textContent = formatScore(row.score, ...thresholds);
    });
    fill("loss", (cell) => {
      cell.textContent = row.amount == null ? MISSING : formatAmount(key[0]);
    });
    fill("time", (cell) => cell.replaceChildren(buildTime(row.scored_at)));
    fill("txn", (cell) => {
      const link = cell.firstElementChild;
      link.textContent = row.transaction_id;
      link.href = `/t/${encodeURIComponent(row.id)}`;
      link.title = describeProof(row);
    });
    fill("amount", (cell) => {
      cell.textContent = formatAmount(row.amount);
    });
    fill("product", (cell) => {
      cell.textContent = formatValue(row.product);
    });
    fill("card", (cell) => {
      cell.textContent = formatValue(row.card);
      cell.title = row.card ?? "";
    });
    fill("reasons", (cell) => fillReasons(cell.firstElementChild, row.reasons));
    fill("model", (cell) => {
      cell.textContent = row.model_version;
    });
    fill("decision", (cell) => {
      cell.firstElementChild.textContent = capitalize(row.decision);
      cell.firstElementChild.classList.add(row.decision.toLowerCase().replace(/[^a-z]/g, ""));
    });
    fill("proof", (cell) => {
      cell.textContent = placeOf(row.source);
      cell.title = describeProof(row);
    });
    for (const cell of tr.querySelectorAll("td[data-field]")) {
      cell.textContent = formatValue(row.context[cell.dataset.field] ?? null);
    }
    this.#showCase(tr, row.case ?? null);
    return tr;
  }

  #showCase(tr, state, now = Date.now()) {
    tr.flagCase = state;
    const cell = tr.querySelector(".c-status");
    const [kind, text, title] = describeCase(state, this.user, now);
    tr.dataset.status = kind;
    if (state?.until || state?.since) tr.dataset.until = state.until ?? "";
    else delete tr.dataset.until;
    if (!cell) return;
    const label = cell.firstElementChild;
    label.className = `status-text ${kind}`;
    if (label.textContent !== text) label.textContent = text;
    label.title = title;
  }
}

/** [kind, text, title] of a case: `Mine · 12 min left`, `ana · 3 min`, `Snoozed · 2 h left`, `Fraud`. */
export function describeCase(state, user, now) {
  const { status = "open", by, until, since, label } = state ?? {};
  const left = until ? ` · ${formatMinutes(until - now)} left` : "";
  const hasEnded = until && until <= now;
  if (status === "decided") {
    const word = CASE_WORDS[label] ?? String(label);
    const title = `Decided by ${state.decided_by}`;
    if (state.pending) return ["pending", `${word} · waiting`, `${title}: waits to be recorded`];
    return ["decided", word, state.recorded ? `${title}, recorded at ${state.recorded}` : title];
  }
  if (state?.external === "FRAUD") {
    return ["reported", "Reported fraud", "A chargeback says that this was fraud"];
  }
  if (status === "claimed" && !hasEnded) {
    if (by === user) return ["mine", `Mine${left}`, "You have claimed this case"];
    const age = since ? ` · ${formatMinutes(now - since)}` : "";
    return ["claimed", `${by}${age}`, `Claimed by ${by}${age ? `${age.replace(" · ", " ")} ago` : ""}`];
  }
  if (status === "snoozed" && !hasEnded) return ["snoozed", `Snoozed${left}`, `Snoozed by ${by}`];
  return ["open", "Open", hasEnded ? `${by}'s ${status === "claimed" ? "claim" : "snooze"} ended` : ""];
}

const formatMinutes = (millis) => formatDuration(Math.max(60_000, millis)).replace(/^\d+ s$/, "1 min");

function fillReasons(area, reasons) {
  for (const reason of reasons.slice(0, SHOWN_REASONS)) area.append(buildReason(reason), " ");
  const more = reasons.length - SHOWN_REASONS;
  if (more <= 0) return;
  const rest = document.createElement("span");
  rest.className = "dim";
  rest.textContent = `+${more}`;
  rest.title = reasons.slice(SHOWN_REASONS).map(({ feature }) => titleOf(feature)).join("\n");
  area.append(rest);
}

function buildReason(reason) {
  const span = document.createElement("span");
  span.className = "reason";
  const name = document.createElement("b");
  name.textContent = describeFeature(reason.feature);
  name.title = titleOf(reason.feature);
  const contribution = document.createElement("span");
  contribution.className = "contribution";
  contribution.textContent = Math.abs(reason.contribution).toFixed(2);
  span.append(name, ` ${formatArrow(reason.contribution)}`, contribution);
  return span;
}

const placeOf = ({ topic, partition, offset }) => `${topic}[${partition}]@${offset}`;

/** Where the input and its score are in Kafka. */
const describeProof = (row) => `Input ${placeOf(row.source)}\nScore ${placeOf(row.delivery)}`;

/** The place of a row in every order of the list. */
function keyOf(row) {
  const { topic, partition, offset } = row.source;
  return [row.expected_loss, row.scored_at, partition, offset, topic];
}

/** Holds new rows back, so that nothing moves under the pointer, the focus or a selection. */
export class Hold {
  #reasons = new Map();
  #rows = [];
  #overflow = 0; // new rows that are not stored here: the list must be fetched again to show them
  #isStale = false; // the list itself changed, so it must be fetched again too

  /** `onChange` is called when rows are held or released, and when a reason starts or ends. */
  constructor(table, onChange) {
    this.onChange = onChange;
    this.table = table;
    const list = table.table;
    const why = { pointer: "pointer over the list", focus: "a row has the focus" };
    list.addEventListener("pointerenter", (e) => this.set("pointer", e.pointerType === "mouse", why.pointer));
    list.addEventListener("pointerleave", () => this.set("pointer", false));
    list.addEventListener("focusin", (e) => this.set("focus", e.target.matches(":focus-visible"), why.focus));
    list.addEventListener("focusout", () => this.set("focus", false));
    document.addEventListener("selectionchange", () => {
      const selection = document.getSelection();
      const isHere = !selection.isCollapsed && list.contains(selection.anchorNode);
      this.set("selection", isHere, "text is selected");
    });
    const onScroll = () => this.set("scrolled", list.getBoundingClientRect().top < -40, "scrolled down");
    addEventListener("scroll", onScroll, { passive: true });
    onScroll();
  }

  get isActive() {
    return this.#reasons.size > 0;
  }

  /** The first reason in words. */
  get why() {
    return this.#reasons.values().next().value ?? "";
  }

  has(reason) {
    return this.#reasons.has(reason);
  }

  set(reason, isOn, why = reason) {
    if (isOn === this.#reasons.has(reason)) return;
    if (isOn) this.#reasons.set(reason, why);
    else this.#reasons.delete(reason);
    this.onChange();
  }

  /** Hold rows back. `more` is the number of rows that the tick left out. */
  add(rows, more) {
    const known = new Set(this.#rows.map((row) => row.id));
    this.#rows.push(...rows.filter((row) => !known.has(row.id) && !this.table.row(row.id)));
    this.#overflow += more + Math.max(0, this.#rows.length - MAX_HELD);
    this.#rows.splice(0, this.#rows.length - MAX_HELD);
    this.onChange();
  }

  /** Note that new rows no longer continue the list shown. */
  markStale() {
    this.#isStale = true;
    this.onChange();
  }

  get isPending() {
    return this.#isStale || this.count > 0;
  }

  get count() {
    return this.#rows.length + this.#overflow;
  }

  /** `27 new` or `2,000+ new`. */
  get label() {
    if (this.count === 0) return "List changed";
    return `${this.count > MAX_HELD ? "2,000+" : formatCount(this.count)} new`;
  }

  /** Release the held rows. `isComplete`: they are all the rows that arrived. */
  release() {
    const released = { rows: this.#rows, isComplete: this.#overflow === 0 && !this.#isStale };
    this.#rows = [];
    this.#isStale = false;
    this.#overflow = 0;
    return released;
  }
}
