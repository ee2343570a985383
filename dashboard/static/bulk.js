// One decision for several transactions. It is asked for once more before it is sent.

import { toast } from "./toast.js";
import { formatAmount, formatCount } from "./view.js";

const bar = document.getElementById("bulk");
const LABELS = [["FRAUD", "Fraud"], ["LEGITIMATE", "Legitimate"], ["UNSURE", "Unsure"]];
const MAX_AT_ONCE = 100; // the server's limit

/** Show the bar for the chosen rows. `onChange` is called when they are no longer chosen. */
export function showBulk(rows, table, onChange) {
  bar.hidden = rows.length === 0;
  if (rows.length === 0) return;
  const count = make("b", `${formatCount(rows.length)} selected`);
  const buttons = LABELS.map(([label, text]) => button(`${text}…`, "", () => ask(rows, label, text, table, onChange)));
  const clear = button("Clear", "quiet", () => {
    uncheck(rows);
    onChange();
  });
  bar.replaceChildren(count, ...buttons, clear);
}

function ask(rows, label, text, table, onChange) {
  if (rows.length > MAX_AT_ONCE) {
    toast(`At most ${MAX_AT_ONCE} transactions can be decided at once, and ${formatCount(rows.length)} are selected.`);
    return;
  }
  const dialog = document.createElement("dialog");
  const what = rows.length === 1 ? "1 transaction" : `${formatCount(rows.length)} transactions`;
  const title = make("h2", `${text}: ${what}?`);
  title.id = "bulk-title";
  dialog.setAttribute("aria-labelledby", title.id);
  const sum = rows.reduce((total, row) => total + Number(row.dataset.amount || 0), 0);
  const form = document.createElement("form");
  form.method = "dialog";
  const note = document.createElement("input");
  note.maxLength = 500;
  const label_ = make("label", "Note (optional)");
  label_.append(note);
  const confirm = button(`Decide ${what} as ${text.toLowerCase()}`, "primary");
  confirm.value = "yes";
  confirm.type = "submit";
  const cancel = button("Cancel", "");
  cancel.type = "submit";
  const buttons = make("p", "", "row");
  buttons.append(confirm, cancel);
  form.append(label_, buttons);
  const total = sum > 0 ? ` Their amounts add up to ${formatAmount(sum)} ${document.body.dataset.currency}.` : "";
  dialog.append(title, make("p", `Each of them gets its own record on the labels topic.${total}`), form);
  document.body.append(dialog);
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (dialog.returnValue === "yes") decide(rows, label, note.value, table, onChange);
  });
  dialog.showModal();
  cancel.focus();
}

async function decide(rows, label, note, table, onChange) {
  const key = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  // With the version that is shown, so that no later decision is replaced without being seen.
  const decisions = rows.map((row) => (
    { id: row.dataset.id, label, reasons: [], note: note || null, version: row.flagCase?.version ?? 0 }
  ));
  let answer;
  try {
    const response = await fetch("/api/v1/decisions:batch", {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": key },
      body: JSON.stringify({ decisions }),
    });
    answer = await response.json();
    if (!response.ok) throw new Error(answer.detail ?? answer.title);
  } catch (error) {
    toast(`Nothing is known to be decided: ${error.message}. The rows are still selected.`, { seconds: 0 });
    return;
  }
  const failed = [];
  for (const [i, { id, case: found, problem }] of answer.items.entries()) {
    if (found) document.dispatchEvent(new CustomEvent("case:changed", { detail: { id, case: found } }));
    if (problem) failed.push(`${id}: ${problem.detail}`);
    else uncheck([rows[i]]);
  }
  const done = rows.length - failed.length;
  const text = failed.length
    ? `${formatCount(done)} decided, ${formatCount(failed.length)} not. ${failed.slice(0, 3).join("; ")}`
    : `${formatCount(done)} decided.`;
  toast(text, failed.length ? { seconds: 0 } : {});
  onChange();
}

function uncheck(rows) {
  for (const row of rows) row.querySelector(".c-select input").checked = false;
}

function button(text, className, onClick) {
  const made = make("button", text, className);
  made.type = "button";
  if (onClick) made.addEventListener("click", onClick);
  return made;
}

function make(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}
