// The keys of the desk: one table, what each key does, and the dialog that lists them. Loaded at
// the first key. Keys of a transaction only dispatch an event: the drawer acts on it.

import { html, render } from "./vendor/htm/standalone.module.js";
import { preference, send, setPreference, showKeys } from "./view.js";

// Keys of the list are its own to act on.
if (document.getElementById("rows")) await import("./queue-actions.js");

const PREFIX_MS = 1500; // how long `g` waits for the second key
const TEXT_FIELDS = "input:not([type=checkbox], [type=radio]), select, textarea, [contenteditable]";
const CONTROLS = "a, button, summary, label, input";

/** [keys, what they do, action]. The dialog shows the first two. */
export const KEYS = [
  ["List", [
    [["j", "ArrowDown"], "Next row", "row-next"],
    [["k", "ArrowUp"], "Previous row", "row-previous"],
    [["Enter"], "Open the transaction", "open"],
    [["Escape"], "Close the transaction", "close"],
    [["/"], "Search", "search"],
    [["."], "Show the new rows", "show-new"],
    [["p"], "Pause or resume live updates", "pause"],
    [["x"], "Select the row", "select"],
    [["X"], "Select all rows up to this one", "select-range"],
  ]],
  ["Transaction", [
    [["n"], "Take the next one: claim and open it", "flag:next"],
    [["f"], "Decide: fraud", "flag:decide", "FRAUD"],
    [["l"], "Decide: legitimate", "flag:decide", "LEGITIMATE"],
    [["u"], "Decide: unsure", "flag:decide", "UNSURE"],
    [["a"], "Claim or release", "flag:claim"],
    [["s"], "Snooze", "flag:snooze"],
    [["z"], "Undo the last decision", "flag:undo"],
    [["c"], "Copy a link to the transaction or to this list", "copy"],
  ]],
  ["Pages", [
    [["g q"], "Queue", "go", "/"],
    [["g t"], "Threshold", "go", "/threshold"],
    [["g h"], "Operations (health)", "go", "/ops"],
    [["?"], "This help", "help"],
  ]],
];
const LABELS = { ArrowDown: "↓", ArrowUp: "↑", Escape: "Esc", X: "Shift + x" };
const NEED_NO_FLAG = ["flag:next", "flag:undo"];
// These are no characters, so they stay when single keys are switched off.
const ALWAYS = new Set(["ArrowDown", "ArrowUp", "Enter", "Escape"]);

const actions = new Map(
  KEYS.flatMap(([, rows]) => rows).flatMap(([keys, , action, value]) =>
    keys.map((key) => [key, { action, value }]),
  ),
);
let prefixUntil = 0;

/** Act on a key press. `isLate`: it came before this module, so its default was prevented or not. */
export function handle(event, { isLate = false } = {}) {
  const found = find(event, isLate);
  if (!found) return;
  const { action, value } = found;
  if (action === "help") showHelp();
  else if (action === "go") location.assign(value);
  else if (action.startsWith("flag:")) decide(action, value);
  else if (action === "copy") copyLink();
  // The list of the page, or the drawer, says whether the key was of use to it.
  else if (document.dispatchEvent(new CustomEvent("list:key", { detail: { action }, cancelable: true }))) return;
  event.preventDefault();
}

/** The action of a key press, if it is one of ours here and now. */
function find(event, isLate) {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return null;
  if ((event.defaultPrevented && !isLate) || document.querySelector("dialog[open]")) return null;
  const at = target instanceof Element ? target : document.body;
  if (at.closest(TEXT_FIELDS)) {
    if (key === "Escape") at.blur();
    return null;
  }
  if (key === "Enter" && at.closest(CONTROLS)) return null; // the control's own key
  if (!ALWAYS.has(key) && preference("keys") === "off") return null;
  const isSecond = performance.now() < prefixUntil;
  prefixUntil = 0;
  if (isSecond && actions.has(`g ${key}`)) return actions.get(`g ${key}`);
  if (key === "g") prefixUntil = performance.now() + PREFIX_MS;
  return actions.get(key) ?? null;
}

/** The transaction that keys are about: that of the page or the drawer, or the marked row. */
function currentFlag() {
  const found = document.querySelector("[data-flag], #rows tr[aria-current=true]");
  return found?.dataset.flag ?? found?.dataset.id ?? null;
}

function decide(name, label) {
  const { role } = document.body.dataset;
  const id = currentFlag();
  if (!["analyst", "lead"].includes(role)) {
    return say(`Your role (${role}) can read the queue, but not decide.`);
  }
  if (id === null && !NEED_NO_FLAG.includes(name)) {
    return say("No row is chosen. Choose one with j or ↓.");
  }
  const detail = id === null ? {} : { id };
  if (label) detail.label = label;
  // How long to snooze is asked in the details.
  if (name === "flag:snooze" && !document.querySelector("[data-flag]")) return openFirst(name, detail);
  send(name, detail);
}

/** Act on a transaction once it is open, unless another one is opened meanwhile. */
function openFirst(name, detail) {
  document.addEventListener("drawer:state", function act({ detail: { isOpen, isWhole, id } }) {
    if (isOpen && id === detail.id && !isWhole) return;
    document.removeEventListener("drawer:state", act);
    if (isOpen && id === detail.id) send(name, detail);
  });
  send("flag:open", detail);
}

async function copyLink() {
  const id = currentFlag();
  const url = id === null ? location.href : `${location.origin}/t/${encodeURIComponent(id)}`;
  try {
    await navigator.clipboard.writeText(url);
    await say(id === null ? "Copied the link to this list." : "Copied the link to this transaction.");
  } catch {
    await say(`Copying is not allowed here. The link is ${url}`);
  }
}

async function say(text) {
  const { toast } = await import("./toast.js");
  toast(text);
}

/** The dialog that lists the keys and has the switch for single keys. */
export function showHelp() {
  const dialog = document.getElementById("help");
  dialog.setAttribute("aria-labelledby", "help-title");
  render(html`<${Help} onClose=${() => dialog.close()} />`, dialog);
  dialog.showModal();
}

function Help({ onClose }) {
  const onSwitch = ({ target }) => {
    setPreference("keys", target.checked ? "on" : "off");
    showKeys();
  };
  return html`<h2 id="help-title">Keyboard shortcuts</h2>
    <div class="keys">${KEYS.map(([name, rows]) => html`<section><h3>${name}</h3><dl>
      ${rows.map(([keys, text]) => html`<div><dt>${keys.map((key, i) => html`${i > 0 && " or "}<${Key} name=${key} />`)}</dt><dd>${text}</dd></div>`)}
    </dl></section>`)}</div>
    <p class="row"><label><input type="checkbox" checked=${preference("keys") !== "off"} onChange=${onSwitch} /> Single-key shortcuts (arrows, Enter and Esc always work)</label><span class="grow"></span><button class="primary" autofocus onClick=${onClose}>Close</button></p>`;
}

const Key = ({ name }) => name.split(" ").map((part, i) => html`${i > 0 && " then "}<kbd>${LABELS[part] ?? part}</kbd>`);
