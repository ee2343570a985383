// The queue: components draw its state (queue-state.js) into the places that the page has for them.
// Live rows, the pointer and what the user does (queue-actions.js) change it. Preact escapes all
// text: any field may contain text from an attacker.

import {
  begin, describeLive, describeNumbers, describeStates, isComplete, isHeld, isPending, isPolling,
  labelOf, measureBars, reduce, sparkLine, sparkX,
} from "./queue-state.js";
import { Component, h, html, render } from "./vendor/htm/standalone.module.js";
import {
  MISSING, buildReasons, buildRisk, buildTime, capitalize, describeStatus, formatAmount, formatCount,
  formatScore, formatValue, loadTexts, noteServerTime, zone,
} from "./view.js";

const POLL_MS = 5000;
const RELOAD_MS = 1000; // between two fetches of a list that rows outrun
const COUNT_MS = 15_000; // between two counts
const COUNT_SOON_MS = 500;
const PAGE_ROWS = 50;

const $ = (id) => document.getElementById(id);
const [body, list] = [$("rows"), $("flags")];
const { user, role, currency } = document.body.dataset;
const { labels } = body.dataset; // the topic
const query = new URLSearchParams(body.dataset.query); // of the API, for this view
export const canDecide = ["analyst", "lead"].includes(role);
export const isPinned = body.dataset.pinned === "yes";
export const view = new URLSearchParams(location.search); // of this page
for (const name of ["sel", "after"]) view.delete(name);
const columns = [...new Set((view.get("columns") ?? "").split(","))].filter(Boolean);
// Most pages have no filter, and need none of its code.
const filter = await loadFilter();

async function loadFilter() {
  if ([...view.keys()].every((name) => ["sort", "columns"].includes(name))) return { matches: () => true, isEmpty: true };
  const { isEmpty, matches, readFilter } = await import("./filter.js");
  const read = readFilter(`?${query}`);
  return { matches: (row) => matches(row, read, state.now, user), isEmpty: isEmpty(read) };
}

/** Draws itself again only if what it is given changes. */
class Steady extends Component {
  shouldComponentUpdate(next) {
    return Object.keys(next).some((name) => next[name] !== this.props[name]);
  }
}

const steady = (draw) => class extends Steady { render = draw; };

class Row extends Steady {
  render({ row, kind, status, title, isCurrent, isStop, isChosen }) {
    const classes = [row.isFresh && "fresh", isChosen && "chosen"].filter(Boolean).join(" ");
    const proof = `Input ${placeOf(row.source)}\nScore ${placeOf(row.delivery)}`;
    // decide.js reads the case of a row that is not open, and drawer.js shows what the row has.
    const keepFlag = (tr) => tr && Object.assign(tr, { flag: row });
    return html`<tr ref=${keepFlag} class=${classes || null} tabindex=${isStop ? 0 : -1} data-id=${row.id} data-status=${kind} aria-current=${isCurrent ? "true" : null}>
      ${canDecide && html`<td class="c-select"><label><input type="checkbox" checked=${isChosen} /><span class="sr">Select transaction ${row.transaction_id}</span></label></td>`}
      <td class="c-risk">${buildRisk(html, row.risk)}</td>
      <td class="c-score num">${formatScore(row.score, row.review_threshold, row.block_threshold)}</td>
      <td class="c-decision"><span class="decision ${row.decision.toLowerCase().replace(/[^a-z]/g, "")}">${capitalize(row.decision)}</span></td>
      <td class="c-loss num">${money(row, row.expected_loss)}</td>
      <td class="c-time">${buildTime(html, row.scored_at)}</td>
      <td class="c-txn"><a href="/t/${encodeURIComponent(row.id)}" title=${proof}>${row.transaction_id}</a></td>
      <td class="c-amount num" data-unit=${row.amount == null ? null : currency}>${money(row, row.amount)}</td>
      <td class="c-product">${dash(formatValue(row.product))}</td>
      <td class="c-card" title=${row.card ?? ""}>${dash(formatValue(row.card))}</td>
      <td class="c-reasons">${h("div", null, ...buildReasons(html, row.reasons))}</td>
      ${columns.map((name) => {
        if (name === "proof") return html`<td class="c-proof mono" title=${proof}>${placeOf(row.source)}</td>`;
        return name === "model" ? html`<td class="c-model">${row.model_version}</td>` : html`<td class="c-field">${dash(formatValue(row.context[name] ?? null))}</td>`;
      })}
      <td class="c-status"><span class="status-text ${kind}" title=${title}>${status}</span></td>
    </tr>`;
  }
}

const dash = (text) => (text === MISSING ? html`<span title="missing">—<span class="sr"> missing</span></span>` : text);
const money = (row, value) => (row.hidden?.includes("TransactionAmt") ? "hidden" : dash(formatAmount(row.amount == null ? null : value)));
const placeOf = ({ topic, partition, offset }) => `${topic}[${partition}]@${offset}`;
const columnCount = () => list.tHead.rows[0].cells.length;

class Rows extends Steady {
  render({ rows, gap, current, chosen, zone: at, now }) {
    const stop = current ?? rows[0]?.id;
    const built = rows.map((row) => {
      const [kind, status, title] = describeStatus(row.case, user, now, labels);
      const is = { isCurrent: row.id === current, isStop: row.id === stop, isChosen: chosen.has(row.id) };
      return h(Row, { key: row.id, row, kind, status, title, zone: at, ...is });
    });
    if (!gap) return built;
    const line = html`<tr key="gap" class="gap"><td colspan=${columnCount()}>${formatCount(gap.count)} not shown here — loading</td></tr>`;
    return built.toSpliced(rows.findIndex(({ id }) => id === gap.after) + 1, 0, line); // or at the top
  }
}

/** Scores that cannot be decoded have no place in any order: they are named after the last row. */
const Unreadable = steady(({ places }) => places.split(" ").filter(Boolean).map((place) => html`<tr key=${place}><td colspan=${columnCount()}><b>Unreadable</b> <span class="mono">${place}</span> <a href=${`/ops#${encodeURIComponent(place)}`}>Show in Operations</a></td></tr>`));

const Banners = ({ shown }) => shown.map(([kind, title, text]) => html`<p key=${title} class="banner ${kind}"><b>${title}</b>${/^[:.]/.test(text) ? text : ` ${text}`}</p>`);

function Updates({ state: now }) {
  const [kind, text] = describeLive(now);
  const isPaused = "paused" in now.reasons;
  return html`<span class="live" id="v-live" data-state=${kind}>${text}</span>
    <button type="button" id="pause" aria-pressed=${String(isPaused)} title="Pause or resume live updates (p)" hidden=${isPinned} onClick=${pause}>${isPaused ? "Resume" : "Pause"}</button>
    <button type="button" class="pill" id="pill" title="Show them (.)" hidden=${!isPending(now)} onClick=${showNew}>${labelOf(now)} — ${isPinned ? "go to the first page" : "show"}</button>`;
}

/** How scores are distributed, with both thresholds. */
const Distribution = steady(({ vitals, review, block }) => {
  const bars = measureBars(vitals).map((bar) => html`<rect ...${bar} />`);
  return [bars, [review, block].map((x) => x != null && html`<line x1=${x * 200} x2=${x * 200} y1="0" y2="40" />`)];
});

/** Flagged transactions per second over the last 15 minutes. */
const Spark = steady(({ points, marks }) => {
  const shown = marks.map((at) => sparkX({ points }, at)).filter((x) => x > 0);
  return html`<polyline points=${sparkLine({ points })} />${shown.map((x) => html`<line x1=${x} x2=${x} y1="0" y2="32" />`)}`;
});

// Drawing the state, and changing it.

let bulk = null;
let [counted, countedAt] = [null, -Infinity]; // what the distribution shows: once a second is enough

function draw() {
  drawNumbers();
  drawRows();
}

function drawNumbers() {
  const { vitals, points } = state;
  const { review_threshold: review, block_threshold: block } = vitals.stream ?? vitals.model;
  for (const [id, text] of Object.entries(describeNumbers(state))) render(text, $(`v-${id}`));
  render(html`<${Banners} shown=${describeStates(state)} />`, $("banners"));
  render(html`<${Updates} state=${state} />`, document.querySelector(".updates"));
  render(state.announced.text, $("announce"));
  const [dist, spark] = [$("dist"), $("spark")];
  dist.hidden = !vitals.hist.some((count) => count > 0);
  spark.hidden = points.length < 2;
  if (state.up - countedAt >= 1000) [counted, countedAt] = [vitals, state.up];
  render(html`<${Distribution} vitals=${counted} review=${review} block=${block} />`, dist.querySelector("svg"));
  if (dist.querySelector("details").open) import("./counts.js").then(({ drawCounts }) => drawCounts(vitals));
  render(html`<${Spark} points=${points} marks=${state.marks} />`, spark.querySelector("svg"));
  if (spark.querySelector("details").open) import("./counts.js").then(({ drawPoints }) => drawPoints(points));
  $("unreadable").hidden = vitals.totals.unreadable === 0;
  render(html`<${Unreadable} places=${(vitals.unreadable ?? []).join(" ")} />`, $("unreadable-rows"));
  document.body.classList.toggle("stale", vitals.feed.state === "waiting" || state.pollFailedAt !== null);
}

function drawRows() {
  const { rows, gap, current, chosen, hasOlder } = state;
  const now = Math.floor(state.now / 1000) * 1000; // for ages, which no one reads more often
  render(h(Rows, { rows, gap, current, chosen, now, zone: zone() }), body);
  const [more, older] = [$("more"), `?${new URLSearchParams([...view, ["after", rows.at(-1)?.id]])}`];
  more.hidden = !hasOlder || rows.length === 0;
  if (!more.hidden && more.firstElementChild.search !== older) more.firstElementChild.search = older;
  [list.hidden, $("empty").hidden] = [rows.length === 0, rows.length > 0];
  if (chosen.size > 0 || bulk) (bulk ??= import("./bulk.js")).then(({ drawBulk }) => drawBulk());
}

const readClock = () => ({ wall: Date.now(), up: performance.now() });
const { flags, older, sort, asOf, vitals, work } = body.dataset;

export let state = begin({
  rows: JSON.parse(flags), hasOlder: older === "yes", sort, isOps: ["ops", "lead"].includes(role),
  reasons: isPinned ? { pinned: "older transactions" } : {}, work: JSON.parse(work),
  points: JSON.parse($("spark").dataset.series), // what the server counted before, by minute
}, JSON.parse(vitals), readClock());

export function dispatch(action) {
  state = reduce(state, action, readClock());
  draw();
  if (!isHeld(state) && isPending(state)) showHeld();
}

/** Hold new rows back for a reason, or no longer. */
export function hold(reason, isOn, why) {
  if (isOn !== reason in state.reasons) dispatch({ type: "hold", reason, isOn, why });
}

export const pause = () => hold("paused", !("paused" in state.reasons), "paused");

/** Show the rows that are held back. */
export function showNew() {
  if (isPinned) return location.assign(view.size ? `/?${view}` : "/");
  scrollTo({ top: 0 });
  return showHeld();
}

// What the server has.

let reloading = null;
let reloadAt = 0;
let requests = 0; // for the first page, numbered
let shown = 0; // the request whose response is on the page
let fetching = 0; // requests under way
let arrived = []; // rows that ticks brought meanwhile: a response may be older than they are
let counting = 0;
let countedWorkAt = -Infinity;
let polling = 0;

function onEvent({ type, data }) {
  const isWhole = type !== "reset" && !data.cases_more; // or the list must be fetched again
  const rows = isWhole ? data.rows.filter(filter.matches) : [];
  loadTexts(data.model.version);
  noteServerTime(data.now, 0);
  dispatch({ type: "tick", data, rows, left: isWhole && filter.isEmpty ? data.more : 0 });
  if (data.cases?.length || data.cases_more || type === "reset") countSoon();
  if (data.cases?.length) document.dispatchEvent(new CustomEvent("cases:moved", { detail: { ids: data.cases.map(({ id }) => id) } }));
  if (fetching > 0 && !isHeld(state)) arrived.push(...rows);
  if (!isWhole || (data.more > 0 && !isHeld(state))) reload();
}

function onState(connection) {
  dispatch({ type: "connect", connection });
  if (isPolling(state) === polling > 0) return;
  clearInterval(polling);
  polling = isPolling(state) ? setInterval(poll, POLL_MS) : 0;
  if (polling) poll();
}

/** Fetch the first page again, because new rows do not continue the list shown. */
function reload() {
  if (isHeld(state) && !isPinned) dispatch({ type: "stale" });
  if (isHeld(state)) return;
  reloading ??= setTimeout(async () => {
    reloading = null; // a tick may ask for the page again while this request is under way
    reloadAt = performance.now() + RELOAD_MS;
    const found = await fetchFirst();
    if (found && isHeld(state)) dispatch({ type: "stale" });
    else if (found) replace(found);
  }, Math.max(0, reloadAt - performance.now()));
}

function replace(found) {
  if (found.number < shown) return; // the response to a later request is on the page already
  shown = found.number;
  dispatch({ type: "replace", ...found, arrived });
}

$("filters").elements.reason.addEventListener("focus", () => import("./counts.js").then(({ fillReasons }) => fillReasons()));

/** Its code is not needed for the first load. */
const ask = async (path) => (await import("./request.js")).request(path);

async function fetchFirst() {
  const number = ++requests;
  if (fetching === 0) arrived = [];
  fetching += 1;
  try {
    return { ...(await ask(`/api/v1/flags?${new URLSearchParams([...query, ["limit", PAGE_ROWS]])}`)), number };
  } catch ({ kind }) {
    if (kind === "login") location.reload(); // leads to the login, and back here
    return null; // the caller says so
  } finally {
    fetching -= 1;
  }
}

async function poll() {
  const found = await fetchFirst();
  dispatch({ type: "poll", isOk: found !== null });
  if (found && !isHeld(state)) replace(found);
  else if (found && !isPinned) dispatch({ type: "found", rows: found.items });
}

async function showHeld() {
  const { held } = state;
  const wasComplete = isComplete(state);
  dispatch({ type: "release" });
  if (wasComplete) return;
  const found = await fetchFirst();
  if (found) replace(found);
  else dispatch({ type: "insert", rows: held });
}

/** Count the open cases and those of the user again, but not with each tick. */
function countSoon() {
  counting ||= setTimeout(() => {
    [counting, countedWorkAt] = [0, performance.now()];
    // After a failure the numbers stay as they are. The connection says that something is wrong.
    ask("/api/v1/work").then((work) => dispatch({ type: "work", work }), () => {});
  }, Math.max(COUNT_SOON_MS, countedWorkAt + COUNT_MS - performance.now()));
}

/**
 * Subscribe to ticks, through the worker that all tabs share. Without SharedWorker the page opens a
 * stream for itself, and closes it while the page is hidden.
 */
async function subscribe(after) {
  let last = after;
  const note = (event) => {
    last = event.id;
    onEvent(event);
  };
  const { openStream } = globalThis.SharedWorker ? {} : await import("./stream-worker.js");
  const { open, close } = (openStream ?? shareStream)(note, onState);
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open(last));
  open(last);
}

function shareStream(note) {
  const { port } = new SharedWorker("/static/stream-worker.js", { type: "module", name: "stream" });
  port.onmessage = ({ data }) => (data.event ? note(data.event) : onState(data.state));
  const post = (message) => port.postMessage(message);
  return { open: (after) => post({ open: true, after }), close: () => post({ open: false }) };
}

// Holding rows back, and loading what acts on the list when it is first needed.

list.addEventListener("pointerenter", (event) => hold("pointer", event.pointerType === "mouse", "pointer over the list"));
list.addEventListener("pointerleave", () => hold("pointer", false));
list.addEventListener("focusin", (event) => hold("focus", event.target.matches(":focus-visible"), "a row has the focus"));
// Later, because the focus moves to another row, or its row is just being removed.
list.addEventListener("focusout", () => queueMicrotask(() => list.matches(":focus-within") || hold("focus", false)));
document.addEventListener("selectionchange", () => {
  const { isCollapsed, anchorNode } = getSelection();
  hold("selection", !isCollapsed && list.contains(anchorNode), "text is selected");
});
const onScroll = () => hold("scrolled", list.getBoundingClientRect().top < -40, "scrolled down");
addEventListener("scroll", onScroll, { passive: true });
document.addEventListener("zone:changed", draw);
for (const id of ["dist", "spark"]) $(id).addEventListener("toggle", draw, { capture: true });

const form = $("filters");
form.addEventListener("formdata", ({ formData }) => {
  for (const [name, value] of [...formData]) {
    if (value === "" || (name === "status" && value === "open")) formData.delete(name); // defaults
  }
});
form.addEventListener("change", ({ target }) => target.matches("select") && form.requestSubmit());
if (matchMedia("(max-width: 700px)").matches) $("sheet").open = false;

const loadActions = () => import("./queue-actions.js");

// Whoever moves the pointer or presses a key may open a transaction soon. What cannot be loaded now
// is asked for again, and says so then.
const loadDesk = () => Promise.all(["keyboard", "drawer"].map((name) => import(`./${name}.js`))).catch(() => {});
for (const sign of ["pointermove", "keydown"]) addEventListener(sign, loadDesk, { once: true });
list.addEventListener("click", async (event) => {
  const id = event.target.closest("tr[data-id]")?.dataset.id;
  const box = event.target.closest(".c-select input");
  if (box && id) dispatch({ type: "choose", id, isOn: box.checked, isRange: event.shiftKey });
  else if (box) dispatch({ type: "chooseAll", isOn: box.checked });
  const isOther = event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0;
  if (!id || isOther || event.target.closest(".c-select") || !getSelection().isCollapsed) return;
  event.preventDefault();
  (await loadActions()).openRow(id);
});
document.addEventListener("case:changed", ({ detail }) => {
  dispatch({ type: "case", id: detail.id, case: detail.case });
  countSoon();
});
for (const type of ["pointerdown", "focusin"]) addEventListener(type, loadActions, { once: true });

// In tasks of their own, so that none is long: the server rendered what they show.
drawNumbers();
await new Promise((resolve) => setTimeout(resolve));
drawRows();
requestAnimationFrame(() => setTimeout(onScroll)); // when the place of the list is known
setInterval(() => dispatch({ type: "second" }), 1000);
subscribe(asOf);
const selected = new URLSearchParams(location.search).get("sel");
if (selected) loadActions().then(({ openRow }) => openRow(selected));
