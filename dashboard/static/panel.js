// What a person can do with the details of one transaction, in the drawer and on its own page.

import { describeCase } from "./case-text.js";
import { desk } from "./decide.js";
import { buildNotice, request } from "./request.js";
import { showTimes } from "./view.js";

const PREFETCH_MS = 60_000; // older details are fetched again
const MOST_PREFETCHED = 4;
const REFRESH_MS = 2_000; // while a decision waits to be recorded
const RENEW_MS = 60_000;
const LEASE_LEFT_MS = 10 * 60_000; // renew a lease of 15 minutes when this is left
const ACTIVE_MS = 5 * 60_000; // a person who has left keeps nothing from others

const prefetched = new Map(); // id → {at, text}
let lastActive = Date.now();
for (const type of ["pointerdown", "pointermove", "keydown", "wheel"]) {
  addEventListener(type, () => { lastActive = Date.now(); }, { passive: true });
}

// The first details of a page load also say how many the user decided today.
let query = "?tally=yes";

function pathOf(id) {
  const path = `/t/${encodeURIComponent(id)}/panel${query}`;
  query = "";
  return path;
}

/** The details of a transaction as an element. */
export async function fetchPanel(id, signal) {
  const ready = prefetched.get(id);
  prefetched.delete(id);
  const isFresh = ready && Date.now() - ready.at < PREFETCH_MS;
  const text = (isFresh && (await ready.text)) || (await request(pathOf(id), { signal, as: "text" }));
  signal?.throwIfAborted();
  // The server escaped every value, and a parsed document runs no scripts.
  const detail = new DOMParser().parseFromString(text, "text/html").getElementById("detail");
  if (!detail) throw new Error("The dashboard's answer has no details.");
  return document.adoptNode(detail);
}

/** Fetch the details of a transaction that is likely to be opened next. It is not claimed. */
export function prefetchPanel(id) {
  if (prefetched.has(id)) return;
  const text = request(pathOf(id), { as: "text" }).catch(() => null);
  prefetched.set(id, { at: Date.now(), text });
  if (prefetched.size > MOST_PREFETCHED) prefetched.delete(prefetched.keys().next().value);
}

/** Connects the details with the desk until it is closed. */
export class Panel {
  #ended = new AbortController();
  #timers = [];

  constructor(detail, { onReload }) {
    this.detail = detail;
    this.id = detail.dataset.id;
    this.onReload = onReload;
    this.form = detail.querySelector("form.decide");
    desk.know(this.id, JSON.parse(detail.dataset.case));
    const signal = this.#ended.signal;
    const on = (name, act) => document.addEventListener(name, (event) => {
      if (event.detail.id === this.id) act(event.detail);
    }, { signal });
    showTimes(detail);
    document.addEventListener("zone:changed", () => this.#showCase(), { signal });
    on("case:changed", () => this.#showCase());
    on("case:state", (state) => this.#showState(state));
    this.#connectForm(signal);
    this.#connectParts(signal);
    this.#every(RENEW_MS, () => this.#renew());
    this.#every(REFRESH_MS, () => this.#refreshPending());
    this.#every(15_000, () => this.#showCase());
    this.#showCase();
    this.#showState(desk.stateOf(this.id));
  }

  close() {
    this.#ended.abort();
    this.#timers.forEach(clearInterval);
  }

  /** The reason codes and the note that the form has now. */
  get remarks() {
    const data = this.form ? new FormData(this.form) : new FormData();
    return { reasons: data.getAll("reason"), note: (data.get("note") ?? "").trim() };
  }

  #every(millis, act) {
    this.#timers.push(setInterval(act, millis));
  }

  #connectForm(signal) {
    if (!this.form) return;
    desk.remarks.set(this.id, () => this.remarks);
    signal.addEventListener("abort", () => desk.remarks.delete(this.id));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const button = event.submitter;
      if (button?.name === "label") desk.decide(this.id, button.value);
      else if (button?.name === "hours") desk.snooze(this.id, Number(button.value));
      else if (button?.name === "claim") desk.toggleClaim(this.id);
      else if (button?.name === "withdraw") desk.withdraw(this.id);
    }, { signal });
    document.addEventListener("flag:snooze", ({ detail }) => {
      if (detail.id !== this.id) return;
      const menu = this.form.querySelector("details.snooze");
      menu.open = true;
      menu.querySelector("button").focus();
    }, { signal });
  }

  #connectParts(signal) {
    const raw = this.detail.querySelector("details.raw");
    raw?.addEventListener("toggle", async () => {
      if (!raw.open || raw.dataset.loaded) return;
      const { showRaw } = await import("./raw.js");
      showRaw(raw, this.id, signal);
    }, { signal });
    const related = this.detail.querySelector(".related");
    if (related) {
      import("./related.js").then(({ connectRelated }) => {
        if (!signal.aborted) connectRelated(related, signal);
      });
    }
    const copy = this.detail.querySelector("button.copy-link");
    if (copy && navigator.clipboard) {
      copy.hidden = false;
      copy.addEventListener("click", async () => {
        await navigator.clipboard.writeText(new URL(`/t/${encodeURIComponent(this.id)}`, location));
        copy.textContent = "Copied";
      }, { signal });
    }
  }

  #showCase() {
    const line = this.detail.querySelector(".case");
    if (!line) return;
    const { me, labelsTopic } = this.detail.dataset;
    const found = desk.caseOf(this.id);
    const { state, text, proof, external } = describeCase(found, me, Date.now(), labelsTopic);
    line.dataset.state = state;
    put(line.querySelector(".who"), text);
    put(line.querySelector(".proof"), proof);
    put(line.querySelector(".external"), external);
    for (const button of this.form?.querySelectorAll("[name=label]") ?? []) {
      button.setAttribute("aria-pressed", String(found?.label === button.value));
    }
    if (!this.form) return;
    put(this.form.querySelector("[name=claim] b"), state === "mine" ? "Release" : "Claim");
    for (const part of this.form.querySelectorAll("[name=claim], .snooze")) {
      part.hidden = state === "decided";
    }
    this.form.querySelector("[name=withdraw]").hidden = state !== "decided";
  }

  /** What is being done with the case, or why it failed and the ways on. */
  #showState(state) {
    const area = this.detail.querySelector(".doing");
    if (!area) return;
    this.form?.setAttribute("aria-busy", String(state?.name === "sending"));
    if (!state || state.name === "idle") area.replaceChildren();
    else if (state.name === "sending") area.textContent = state.text;
    else area.replaceChildren(buildNotice(state.text, this.#waysOn(state)));
  }

  #waysOn({ ways }) {
    const show = { name: "Show the current state", act: () => { desk.forget(this.id); this.onReload(); } };
    return ways.map((way) => (way === "reload" ? show : way));
  }

  #renew() {
    const found = desk.caseOf(this.id);
    const isMine = found?.status === "claimed" && found.by === this.detail.dataset.me;
    if (!isMine || document.hidden || Date.now() - lastActive > ACTIVE_MS) return;
    if (found.until - Date.now() < LEASE_LEFT_MS) desk.renew(this.id);
  }

  #refreshPending() {
    if (desk.caseOf(this.id)?.pending && !document.hidden) desk.refresh(this.id);
  }
}

function put(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}
