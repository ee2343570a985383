// The drawer: one transaction beside the list. This module is loaded when the first one is opened.
// It listens on document for flag:open and flag:close, and reports drawer:state and flag:moved.

import { Detail } from "./detail.js";
import { CLOSED, reduce } from "./drawer-state.js";
import { buildEarly, complete } from "./early.js";
import "./next.js";
import { announce, fetchPanel, pathOf, takePanel } from "./panel.js";
import { Notice, tell } from "./parts.js";
import { loginWay } from "./request.js";
import { html, render } from "./vendor/htm/standalone.module.js";

const SLOW_MS = 300; // a faster answer needs no "Loading"
const BACK_MS = 5000; // until then it goes back: a busy browser needs long, and nothing else may be opened before
const NARROW = matchMedia("(max-width: 1180px)");

const aside = document.getElementById("drawer");
const split = document.getElementById("split");
let state = CLOSED;
let from = null; // what had the focus before
let pending = null; // the newest request
let hasEntry = false; // whether opening added an entry to the browser's history
let left = null; // settles when the browser has gone back
let isLeaving = false; // and follow() has not heard of it yet

function Drawer({ view, node, error, isNext, isEarly, isSlow }) {
  return html`<button type="button" class="close" aria-label="Close (Esc)" title="Close (Esc)" onClick=${close}>✕</button>
    <div class=${isNext && view === "detail" ? "slide" : ""}>
      ${view === "loading" && html`<p class="dim loading" role="status">Loading…</p>`}
      ${view === "failed" && html`<${Failed} ...${error} />`}
      ${view === "detail" && html`<${Detail} key=${keyOf(node)} node=${node} isEarly=${isEarly} onReload=${reload} />`}
      ${isSlow && html`<p class="dim loading" role="status">Loading…</p>`}
    </div>`;
}

function Failed({ kind = "broken", message }) {
  const [retry, leave] = [{ name: "Retry", act: reload }, { name: "Close", act: close }];
  const ways = { login: [loginWay(), leave], missing: [leave] }[kind] ?? [retry, leave];
  return html`<section class="failed"><h2>This transaction could not be loaded</h2>
    <${Notice} text=${message} ways=${ways} /></section>`;
}

const keys = new WeakMap();
let lastKey = 0;

/** Other details are another component, those of the same transaction too. */
function keyOf(node) {
  if (!keys.has(node)) keys.set(node, ++lastKey);
  return keys.get(node);
}

/** Change what is shown. The focus stays in the drawer if it was there. */
function dispatch(action) {
  const before = state;
  state = reduce(state, action);
  const isOther = state.view !== before.view || state.node !== before.node || state.error !== before.error;
  const hadFocus = aside.contains(document.activeElement);
  render(html`<${Drawer} ...${state} />`, aside);
  if (!isOther || state.id === null) return;
  aside.scrollTop = 0;
  aside.setAttribute("aria-label", state.node?.dataset.title ?? "Transaction");
  if (hadFocus) aside.focus({ preventScroll: true });
}

const isOpen = () => state.id !== null;
const reload = () => show(state.id);
const rowOf = (id) => document.querySelector(`#rows [data-id="${CSS.escape(id)}"]`);

/** Show a transaction, and its address in the browser's history. `flag`: it, as the list knows it. */
async function open(id, flag = rowOf(id)?.flag) {
  if (id === state.id) return;
  if (!isOpen()) from = document.activeElement;
  const isShown = show(id, isStyled ? takePanel(id) : null, isStyled ? flag : null);
  await left; // nobody waits for the browser's history to see a transaction
  if (state.id === id) remember(id);
  await isShown;
}

function remember(id) {
  if (readSelected() === id) hasEntry = history.state?.drawer === true;
  else if (readSelected() !== null) history.replaceState(history.state, "", withSelected(id));
  else {
    history.pushState({ drawer: true }, "", withSelected(id));
    hasEntry = true;
  }
}

/** Show a transaction: its details at once if they are `ready`, or else what `flag` has of them. */
async function show(id, ready = null, flag = null) {
  pending?.abort();
  const mine = pending = new AbortController();
  const early = ready ? null : buildEarly(flag);
  const first = ready ?? early;
  dispatch({ type: "opened", id, node: first, isEarly: early !== null });
  const { turn } = state;
  reveal(id, ready !== null);
  if (first) announce(first);
  tell("flag:moved", { id });
  if (ready) return;
  const slow = setTimeout(() => dispatch({ type: "slow", turn }), SLOW_MS);
  try {
    const [node] = await Promise.all([fetchPanel(id, mine.signal), styles]);
    if (turn !== state.turn) return;
    if (early) complete(early, node);
    else announce(node);
    dispatch({ type: "loaded", turn, node: early ?? node });
    tell("drawer:state", { isOpen: true, id, isWhole: true });
  } catch ({ kind, message }) {
    if (turn !== state.turn) return;
    dispatch({ type: "failed", turn, error: { kind, message } });
    tell("drawer:state", { isOpen: false, id }); // which no longer holds the list
  } finally {
    clearTimeout(slow);
  }
}

function reveal(id, isWhole) {
  aside.hidden = false;
  aside.dataset.flag = id;
  split?.classList.add("open");
  document.body.classList.add("drawer-open");
  tell("drawer:state", { isOpen: true, id, isWhole });
  if (!aside.contains(document.activeElement)) aside.focus({ preventScroll: true });
}

/** Close the drawer. Back closes it too, and the focus returns to the row. */
function close() {
  if (!isOpen()) return;
  if (hasEntry) {
    [hasEntry, isLeaving] = [false, true];
    left = new Promise((resolve) => {
      addEventListener("popstate", resolve, { once: true });
      setTimeout(resolve, BACK_MS);
    });
    history.back();
  } else history.replaceState(null, "", withSelected(null));
  hide();
}

function hide() {
  pending?.abort();
  const row = rowOf(state.id);
  aside.hidden = true;
  delete aside.dataset.flag;
  dispatch({ type: "closed" });
  split?.classList.remove("open");
  document.body.classList.remove("drawer-open");
  tell("drawer:state", { isOpen: false, id: null });
  const target = row ?? (from?.isConnected ? from : null);
  target?.focus({ preventScroll: !NARROW.matches });
  from = null;
}

/** Follow Back and Forward. */
function follow() {
  const id = readSelected();
  const isLate = isLeaving; // another transaction may be open by now
  isLeaving = false;
  if (id === null) {
    if (isOpen() && !isLate) hide();
    return;
  }
  hasEntry = history.state?.drawer === true;
  if (!isOpen()) from = document.activeElement;
  show(id);
}

/** Add a style sheet. Settles when it is loaded, or cannot be: text without style is readable. */
function addStyles(href) {
  if (document.querySelector(`link[href="${href}"]`)) return Promise.resolve();
  const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href });
  document.head.append(link);
  return new Promise((resolve) => {
    for (const type of ["load", "error"]) link.addEventListener(type, resolve, { once: true });
  });
}

const readSelected = () => new URLSearchParams(location.search).get("sel");

function withSelected(id) {
  const url = new URL(location.href);
  if (id === null) url.searchParams.delete("sel");
  else url.searchParams.set("sel", id);
  return url;
}

let styles = null;
let isStyled = false;
if (aside) {
  styles = Promise.all(["drawer", "waterfall"].map((name) => addStyles(`/static/${name}.css`)));
  styles.then(() => { isStyled = true; });
  document.addEventListener("flag:open", ({ detail }) => open(detail.id, detail.flag));
  document.addEventListener("flag:close", close);
  addEventListener("popstate", follow);
  // The list counts the drawer as closed after a failed load, and so leaves this key to it.
  aside.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.view === "failed") close();
  });
} else if (!document.querySelector("#sheet, .entity")) {
  // Keys that claim the next transaction work on every page.
  document.addEventListener("flag:open", ({ detail }) => location.assign(pathOf(detail.id)));
}
