// The list of flagged transactions: connects live rows, held rows, filters and the drawer.

import { isEmpty, matches, readFilter, toQuery } from "./filter.js";
import { Hold } from "./hold.js";
import { subscribe } from "./stream.js";
import { FlagTable } from "./table.js";
import { View, formatTime } from "./view.js";

const POLL_MS = 5000;
const TRIES_BEFORE_POLLING = 3;
const ANNOUNCE_MS = 10_000;

const filter = readFilter(location.search);
const view = new View();
const table = new FlagTable();
const isPinned = table.body.dataset.pinned === "yes";
const pill = document.getElementById("pill");
const pause = document.getElementById("pause");
const live = document.getElementById("v-live");
const hold = new Hold(table, refresh);
let connection = { state: "lost", tries: 0 };
let feed = null;
let announced = 0;
let polling = 0;

if (isPinned) hold.set("pinned", true);
showVitals(JSON.parse(table.body.dataset.vitals));
pause.hidden = isPinned;
refresh();
subscribe(table.body.dataset.asOf, onEvent, onState);

function showVitals(vitals) {
  const before = feed?.state;
  feed = vitals.feed;
  view.update(vitals);
  if (feed.state !== before) refresh();
}

function onEvent({ type, data }) {
  showVitals(data);
  const rows = data.rows.filter((row) => matches(row, filter));
  if (type === "reset") reload();
  else if (hold.isActive) holdBack(rows, data.more);
  else if (data.more > 0) reload();
  else if (rows.length > 0) table.insert(rows);
}

function holdBack(rows, more) {
  const missed = isEmpty(filter) ? more : 0;
  if (rows.length > 0 || missed > 0) hold.add(rows, missed);
}

/** Fetch the newest page again, because new rows do not continue the list shown. */
async function reload() {
  if (hold.isActive) {
    if (!isPinned) hold.markStale();
    return;
  }
  const items = await fetchNewest();
  if (items && !hold.isActive) table.replace(items);
}

async function fetchNewest() {
  try {
    const response = await fetch(`/api/v1/flags?${toQuery(filter, { limit: 50 })}`);
    if (response.status === 401) location.reload();
    return response.ok ? (await response.json()).items : null;
  } catch {
    return null; // the connection state already shows the failure
  }
}

function onState(state) {
  connection = state;
  if (state.state === "live") {
    clearInterval(polling);
    polling = 0;
  } else if (state.tries >= TRIES_BEFORE_POLLING && !polling) {
    polling = setInterval(reload, POLL_MS);
  }
  refresh();
}

function refresh() {
  const isPaused = hold.has("paused");
  if (!hold.isActive && hold.isPending) return show();
  pill.hidden = !hold.isPending;
  if (hold.isPending) {
    pill.textContent = isPinned ? `${hold.label} — go to newest` : `${hold.label} — show`;
    announce(`Flagged transactions: ${hold.label}`);
  }
  pause.textContent = isPaused ? "Resume" : "Pause";
  pause.setAttribute("aria-pressed", String(isPaused));
  const lost = connection.tries >= TRIES_BEFORE_POLLING
    ? "Polling every 5 s"
    : `Reconnecting (try ${connection.tries})`;
  const [state, text] = connection.state !== "live"
    ? connection.tries === 0 ? ["off", "Connecting"] : ["lost", lost]
    : feed?.state === "waiting" ? ["lost", `As of ${formatTime(feed.read_at ?? feed.since)} UTC`]
    : isPaused ? ["paused", "Paused"] : ["live", hold.isActive ? "Held while you read" : "Live"];
  live.dataset.state = state;
  live.textContent = text;
}

/** Show the held rows, newest first. */
async function show() {
  const { rows, isComplete } = hold.release();
  if (isComplete) table.insert(rows);
  else {
    const items = await fetchNewest();
    if (items) table.replace(items);
    else table.insert(rows);
  }
  refresh();
}

function announce(text) {
  if (Date.now() - announced < ANNOUNCE_MS) return;
  announced = Date.now();
  document.getElementById("announce").textContent = text;
}

async function openDrawer(id) {
  await import("./drawer.js");
  tell("flag:open", { id });
}

function tell(name, detail) {
  document.dispatchEvent(new CustomEvent(name, { detail }));
}

document.addEventListener("drawer:state", ({ detail }) => hold.set("drawer", detail.isOpen));
document.addEventListener("flag:moved", ({ detail }) => {
  for (const row of table.body.querySelectorAll("[aria-selected]")) row.removeAttribute("aria-selected");
  table.row(detail.id)?.setAttribute("aria-selected", "true");
});

pill.addEventListener("click", () => {
  if (isPinned) location.assign(`/?${toQuery(filter)}`);
  else {
    scrollTo({ top: 0 });
    show();
  }
});
pause.addEventListener("click", () => hold.set("paused", !hold.has("paused")));

table.body.addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey;
  if (!row || !isPlain || !document.getSelection().isCollapsed) return;
  event.preventDefault();
  openDrawer(row.dataset.id);
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") tell("flag:close", {});
  if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey) return;
  if (event.key === "p" && !isPinned) hold.set("paused", !hold.has("paused"));
  if (event.key === "." && hold.isPending) pill.click();
});

const form = document.getElementById("filters");
form.addEventListener("formdata", ({ formData }) => {
  for (const [name, value] of [...formData]) if (value === "") formData.delete(name);
});
form.elements.product.addEventListener("change", () => form.requestSubmit());

const copy = document.getElementById("copy");
if (copy && navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById("commands").textContent);
    copy.textContent = "Copied";
  });
}

const selected = new URLSearchParams(location.search).get("sel");
if (selected) openDrawer(selected);
