// The queue: connects live rows, held rows, the filter, the keys and the drawer.

import { Status, subscribe } from "./states.js";
import { FlagTable, Hold } from "./table.js";
import { formatCount, send } from "./view.js";

const POLL_MS = 5000;
const RELOAD_MS = 1000; // between two fetches of a list that rows outrun
const COUNT_MS = 15_000;
const ANNOUNCE_MS = 10_000;
const OPEN_MS = 15_000; // for a drawer that says nothing
const PAGE_ROWS = 50;

const body = document.getElementById("rows");
const query = new URLSearchParams(body.dataset.query); // of the API, for this view
const view = new URLSearchParams(location.search); // of this page
for (const name of ["sel", "after"]) view.delete(name);
const { asOf, pinned, sort, older } = body.dataset;
const isPinned = pinned === "yes";
const { user } = document.body.dataset;
const table = new FlagTable({ sort, user, hasOlder: older === "yes" });
const status = new Status(JSON.parse(body.dataset.vitals), { isPinned });
const pill = document.getElementById("pill");
const pause = document.getElementById("pause");
const live = document.getElementById("v-live");
const split = document.getElementById("split");
// Most pages have no filter, and need none of its code.
const filter = await loadFilter();
const open = { element: document.getElementById("v-open"), count: 0 };
open.count = Number(open.element.dataset.count);
const hold = new Hold(table, refresh);
let announced = 0;
let polling = 0;
let reloading = null;
let reloadAt = 0;
let requests = 0; // for the first page, numbered
let shown = 0; // the request whose response is on the page
let fetching = 0; // requests under way
let arrived = []; // rows that ticks brought meanwhile: a response may be older than they are
let opening = 0;

if (isPinned) hold.set("pinned", true, "older transactions");
pause.hidden = isPinned;
status.show();
refresh();
setInterval(() => {
  status.show();
  table.refreshCases(status.now);
  refresh();
}, 1000);
subscribe(asOf, onEvent, onState);

async function loadFilter() {
  const isNeeded = [...view.keys()].some((name) => !["sort", "columns"].includes(name));
  if (!isNeeded) return { matches: () => true, isEmpty: true };
  const { isEmpty, matches, readFilter } = await import("./filter.js");
  const read = readFilter(`?${query}`);
  return { matches: (row) => matches(row, read, status.now, user), isEmpty: isEmpty(read) };
}

function onEvent({ type, data }) {
  status.update(data);
  status.show();
  for (const { id, ...state } of data.cases ?? []) table.patch(id, state);
  open.count += data.flagged;
  put(open.element, formatCount(open.count));
  if (data.cases?.length || data.cases_more) countSoon();
  const rows = data.rows.filter(filter.matches);
  if (type === "reset" || data.cases_more) reload();
  else if (hold.isActive) holdBack(rows, data.more);
  else {
    const missing = filter.isEmpty ? data.more : 0;
    if (rows.length > 0 || missing > 0) table.insert(rows, { missing });
    if (fetching > 0) arrived.push(...rows);
    if (data.more > 0) reload();
  }
  refresh();
}

function holdBack(rows, more) {
  const missed = filter.isEmpty ? more : 0;
  if (rows.length > 0 || missed > 0) hold.add(rows, missed);
}

/** Fetch the first page again, because new rows do not continue the list shown. */
function reload() {
  if (hold.isActive) {
    if (!isPinned) hold.markStale();
    return;
  }
  reloading ??= setTimeout(async () => {
    reloading = null; // a tick may ask for the page again while this request is under way
    reloadAt = Date.now() + RELOAD_MS;
    const found = await fetchFirst();
    if (found && !hold.isActive) replace(found);
    else if (found) hold.markStale();
  }, Math.max(0, reloadAt - Date.now()));
}

function replace({ items, next_cursor: next, number }) {
  if (number < shown) return; // the response to a later request is on the page already
  shown = number;
  const marked = table.current?.dataset.id;
  table.replace(items, next !== null);
  if (arrived.length > 0) table.insert(arrived);
  if (marked) table.mark(table.row(marked), { isFocused: false });
  refresh();
}

async function fetchFirst() {
  const number = ++requests;
  if (fetching === 0) arrived = [];
  fetching += 1;
  try {
    const wanted = new URLSearchParams(query);
    wanted.set("limit", PAGE_ROWS);
    const response = await fetch(`/api/v1/flags?${wanted}`);
    if (response.status === 401) location.reload(); // leads to the login, and back here
    return response.ok ? { ...(await response.json()), number } : null;
  } catch {
    return null; // the caller says so
  } finally {
    fetching -= 1;
  }
}

let counting = 0;

/** Count the open cases and those of the user again, but not with each tick. */
function countSoon() {
  counting ||= setTimeout(async () => {
    counting = 0;
    try {
      const response = await fetch("/api/v1/work");
      if (!response.ok) return;
      const work = await response.json();
      open.count = work.open;
      put(open.element, formatCount(work.open));
      put(document.getElementById("v-mine"), formatCount(work.mine));
      document.getElementById("v-oldest").dataset.ms = work.oldest ?? "";
    } catch {
      // The numbers stay as they are. The connection says that something is wrong.
    }
  }, COUNT_MS);
}

async function poll() {
  const found = await fetchFirst();
  status.notePoll(found !== null);
  if (found && !hold.isActive) replace(found);
  else if (found && !isPinned) holdBack(found.items.filter(({ id }) => !table.row(id)), 0);
  status.show();
  refresh();
}

function onState(state) {
  status.connect(state);
  if (status.isPolling && !polling) {
    polling = setInterval(poll, POLL_MS);
    poll();
  } else if (!status.isPolling && polling) {
    clearInterval(polling);
    polling = 0;
  }
  refresh();
}

function refresh() {
  if (!hold.isActive && hold.isPending) {
    show();
    return;
  }
  pill.hidden = !hold.isPending;
  if (hold.isPending) {
    put(pill, isPinned ? `${hold.label} — go to the first page` : `${hold.label} — show`);
    announce(`Flagged transactions: ${hold.label}`);
  }
  const isPaused = hold.has("paused");
  put(pause, isPaused ? "Resume" : "Pause");
  pause.setAttribute("aria-pressed", String(isPaused));
  const [state, text] = status.describeLive(hold);
  live.dataset.state = state;
  put(live, text);
  pointToOlder();
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The older page continues after the last row that is shown now. */
function pointToOlder() {
  const more = document.getElementById("more");
  const last = table.last;
  more.hidden = !table.hasOlder || last === null;
  if (more.hidden) return;
  const wanted = new URLSearchParams(view);
  wanted.set("after", last.dataset.id);
  const link = more.firstElementChild;
  const href = `/?${wanted}`;
  if (link.getAttribute("href") !== href) link.setAttribute("href", href);
}

/** Show the held rows. */
async function show() {
  const { rows, isComplete } = hold.release();
  if (isComplete) table.insert(rows);
  else {
    const found = await fetchFirst();
    if (found) replace(found);
    else table.insert(rows);
  }
  refresh();
}

function announce(text) {
  if (Date.now() - announced < ANNOUNCE_MS) return;
  announced = Date.now();
  document.getElementById("announce").textContent = text;
}

// Transactions. The drawer acts on these events, and says what became of them.

async function act(name, detail) {
  if (name === "flag:open") {
    hold.set("drawer", true, "a transaction is open");
    clearTimeout(opening);
    opening = setTimeout(() => hold.set("drawer", false), OPEN_MS);
  }
  try {
    await send(name, detail);
  } catch {
    clearTimeout(opening);
    hold.set("drawer", false);
    const { toast } = await import("./toast.js");
    toast("The transaction could not be loaded: the dashboard does not answer.", {
      action: "Retry",
      onAction: () => act(name, detail),
    });
  }
}

function openRow(row) {
  table.mark(row, { isFocused: false });
  act("flag:open", { id: row.dataset.id, row });
}

document.addEventListener("drawer:state", ({ detail: { isOpen, id } }) => {
  clearTimeout(opening);
  hold.set("drawer", isOpen, "a transaction is open");
  if (isOpen) split.dataset.flag = id;
  else delete split.dataset.flag;
});
document.addEventListener("case:changed", ({ detail }) => {
  table.patch(detail.id, detail.case);
  countSoon();
});
document.addEventListener("flag:moved", ({ detail: { id } }) => {
  const isInDrawer = document.getElementById("drawer").contains(document.activeElement);
  table.mark(table.row(id), { isFocused: !isInDrawer });
});

// Pointer and keys.

pill.addEventListener("click", () => {
  if (isPinned) location.assign(view.size ? `/?${view}` : "/");
  else {
    scrollTo({ top: 0 });
    show();
  }
});
pause.addEventListener("click", () => hold.set("paused", !hold.has("paused"), "paused"));
body.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-id]");
  const isOther = event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0;
  if (!row || isOther || event.target.closest(".c-select") || !getSelection().isCollapsed) return;
  event.preventDefault();
  openRow(row);
});

const KEYS = {
  "row-next": () => move(1),
  "row-previous": () => move(-1),
  open: () => table.current && openRow(table.current),
  close,
  search: () => {
    const field = document.querySelector("#filters [name=q]");
    field?.closest("details")?.setAttribute("open", "");
    field?.focus();
    field?.select();
  },
  "show-new": () => hold.isPending && pill.click(),
  pause: () => !isPinned && pause.click(),
  select: () => tick(table.current),
  "select-range": () => tick(table.current, true),
};
document.addEventListener("list:key", (event) => {
  const isUsed = KEYS[event.detail.action]?.() ?? true;
  if (isUsed !== false) event.preventDefault();
});

function move(step) {
  const { rows, current } = table;
  const next = current ? rows[rows.indexOf(current) + step] : rows[0];
  if (!next) return;
  table.mark(next);
  if (split.dataset.flag) openRow(next);
}

/** Esc closes what is open: a menu, the transaction, the choice of a row. */
function close() {
  const menu = document.querySelector("details.menu[open]");
  if (menu) {
    menu.open = false;
    menu.firstElementChild.focus();
  } else if (split.dataset.flag) act("flag:close", {});
  else if (table.current) {
    table.current.blur();
    table.mark(null);
  } else return false;
  return true;
}

function tick(row, isRange = false) {
  const box = row?.querySelector(".c-select input");
  if (!box) return;
  chooseRows(row, !box.checked, isRange);
}

// Rows that are chosen for one decision on all of them.

let lastChosen = null;

async function chooseRows(row, isOn, isRange) {
  const { rows } = table;
  const [from, to] = [rows.indexOf(lastChosen), rows.indexOf(row)].sort((a, b) => a - b);
  const range = isRange && from >= 0 ? rows.slice(from, to + 1) : [row];
  for (const each of range) each.querySelector(".c-select input").checked = isRange || isOn;
  lastChosen = row;
  await showChoice();
}

async function showChoice() {
  const chosen = table.rows.filter((row) => row.querySelector(".c-select input")?.checked);
  hold.set("chosen", chosen.length > 0, `${formatCount(chosen.length)} selected`);
  for (const row of table.rows) row.classList.toggle("chosen", chosen.includes(row));
  const { showBulk } = await import("./bulk.js");
  showBulk(chosen, table, showChoice);
}

document.getElementById("flags").addEventListener("click", (event) => {
  const box = event.target.closest(".c-select input");
  if (!box) return;
  const row = box.closest("tr[data-id]");
  if (row) chooseRows(row, box.checked, event.shiftKey);
  else {
    for (const each of table.rows) each.querySelector(".c-select input").checked = box.checked;
    showChoice();
  }
});

// The filter bar.

const form = document.getElementById("filters");
form.addEventListener("formdata", ({ formData }) => {
  for (const [name, value] of [...formData]) {
    if (value === "" || (name === "status" && value === "open")) formData.delete(name); // defaults
  }
});
for (const choice of form.querySelectorAll("select")) {
  choice.addEventListener("change", () => form.requestSubmit());
}
if (matchMedia("(max-width: 700px)").matches) document.getElementById("sheet").open = false;
for (const menu of document.querySelectorAll("details.menu")) {
  menu.addEventListener("toggle", async () => {
    if (!menu.open) return;
    for (const other of document.querySelectorAll("details.menu[open]")) other.open = other === menu;
    if (menu.id === "views") await import("./views.js");
  });
}
document.addEventListener("click", ({ target }) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(target)) menu.open = false;
  }
});

const copy = document.getElementById("copy");
if (copy && navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById("commands").textContent);
    copy.textContent = "Copied";
  });
}

const selected = new URLSearchParams(location.search).get("sel");
if (selected) act("flag:open", { id: selected, row: table.row(selected) });
