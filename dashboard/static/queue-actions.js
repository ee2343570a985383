// What the user does with the list: keys, opening a transaction, menus. Loaded with the first click
// or key. The drawer acts on events about a transaction, and says what became of them.

import { canDecide, dispatch, hold, isPinned, pause, showNew, state } from "./queue.js";
import { isPending } from "./queue-state.js";
import { send } from "./view.js";

const OPEN_MS = 15_000; // for a drawer that says nothing
const REST_MS = 60; // longer than between the repeats of a key that is held
const rows = document.getElementById("rows");
const split = document.getElementById("split");
const drawer = document.getElementById("drawer");
let opening = 0;
let resting = 0;

async function act(name, detail) {
  clearTimeout(opening);
  if (name === "flag:open") {
    hold("drawer", true, "a transaction is open");
    opening = setTimeout(() => hold("drawer", false), OPEN_MS);
  }
  try {
    await send(name, detail);
  } catch {
    clearTimeout(opening);
    hold("drawer", false);
    const { toast } = await import("./toast.js");
    toast("The transaction could not be loaded: the dashboard does not answer.", {
      action: "Retry",
      onAction: () => act(name, detail),
    });
  }
}

document.addEventListener("drawer:state", ({ detail: { isOpen, id } }) => {
  clearTimeout(opening);
  hold("drawer", isOpen, "a transaction is open");
  if (isOpen) split.dataset.flag = id;
  else delete split.dataset.flag;
});
document.addEventListener("flag:moved", ({ detail: { id } }) => {
  mark(id, { isFocused: !drawer.contains(document.activeElement) });
});

/** Make this the row that keys are about, and that Tab reaches. */
function mark(id, { isFocused = true } = {}) {
  dispatch({ type: "mark", id });
  if (!isFocused || state.current === null) return;
  const row = rows.querySelector("[aria-current]");
  row.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

export function openRow(id) {
  mark(id, { isFocused: false });
  act("flag:open", { id });
}

function move(step) {
  const at = state.rows.findIndex(({ id }) => id === state.current);
  const next = state.rows[at < 0 ? 0 : at + step];
  if (!next) return;
  mark(next.id);
  if (split.dataset.flag) openRow(next.id);
  fetchAhead(step);
}

/** Once keys rest, fetch the details of the row that they are about, and of the one after it. */
function fetchAhead(step) {
  clearTimeout(resting);
  resting = setTimeout(async () => {
    const [{ prefetchPanel }] = await Promise.all([import("./panel.js"), import("./drawer.js")]);
    const at = state.rows.findIndex(({ id }) => id === state.current);
    for (const row of at < 0 ? [] : [state.rows[at], state.rows[at + step]]) {
      if (row && row.id !== split.dataset.flag) await prefetchPanel(row.id);
    }
  }, REST_MS);
}

/** Esc closes what is open: a menu, the transaction, the choice of a row. */
function close() {
  const [menu] = openMenus();
  if (menu) {
    menu.open = false;
    menu.firstElementChild.focus();
  } else if (split.dataset.flag) act("flag:close", {});
  else if (rows.querySelector("[aria-current]")) {
    rows.querySelector("[aria-current]").blur();
    mark(null);
  } else return false;
  return true;
}

function search() {
  const field = document.querySelector("#filters [name=q]");
  field.closest("details").open = true;
  field.focus();
  field.select();
}

function choose(isRange) {
  const { current: id, chosen } = state;
  if (canDecide && id !== null) dispatch({ type: "choose", id, isOn: !chosen.has(id), isRange });
}

const KEYS = {
  "row-next": () => move(1),
  "row-previous": () => move(-1),
  open: () => state.current !== null && openRow(state.current),
  close,
  search,
  "show-new": () => isPending(state) && showNew(),
  pause: () => !isPinned && pause(),
  select: () => choose(false),
  "select-range": () => choose(true),
};
document.addEventListener("list:key", (event) => {
  if ((KEYS[event.detail.action]?.() ?? true) !== false) event.preventDefault();
});

const openMenus = () => [...document.querySelectorAll("details:is(.menu, .snooze)[open]")];
for (const menu of document.querySelectorAll("details.menu")) {
  const onToggle = () => {
    if (!menu.open) return;
    for (const other of openMenus()) other.open = other === menu;
    if (menu.id === "views") import("./views.js").then(({ showViews }) => showViews());
  };
  menu.addEventListener("toggle", onToggle);
  onToggle();
}
document.addEventListener("click", ({ target }) => {
  for (const menu of openMenus()) if (!menu.contains(target)) menu.open = false;
});

document.getElementById("copy")?.addEventListener("click", async ({ target }) => {
  const commands = document.getElementById("commands");
  getSelection().selectAllChildren(commands);
  await navigator.clipboard?.writeText(commands.textContent); // which not every page may use
  target.textContent = navigator.clipboard ? "Copied" : "Selected";
});
