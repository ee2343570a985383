// One decision for several transactions. It is asked for once more before it is sent.

import { dispatch, state } from "./queue.js";
import { newKey, request } from "./request.js";
import { toast, toastFailure } from "./toast.js";
import { html, render, useLayoutEffect, useRef, useState } from "./vendor/htm/standalone.module.js";
import { LABELS, formatAmount, formatCount } from "./view.js";

const MAX_AT_ONCE = 100; // the server's limit
const bar = document.getElementById("bulk");

/** Show the bar for the chosen rows. */
export function drawBulk() {
  const rows = state.rows.filter(({ id }) => state.chosen.has(id));
  bar.hidden = rows.length === 0;
  render(rows.length > 0 && html`<${Bulk} rows=${rows} />`, bar);
}

function Bulk({ rows }) {
  const [label, setLabel] = useState(null); // that is asked for
  const ask = (wanted) => {
    if (rows.length <= MAX_AT_ONCE) setLabel(wanted);
    else toast(`At most ${MAX_AT_ONCE} transactions can be decided at once, and ${formatCount(rows.length)} are selected.`);
  };
  const answer = (note) => {
    setLabel(null);
    if (note !== null) decide(rows, label, note);
  };
  return html`<b>${formatCount(rows.length)} selected</b>
    ${Object.entries(LABELS).map(([each, text]) => html`<button type="button" onClick=${() => ask(each)}>${text}…</button>`)}
    <button type="button" class="quiet" onClick=${() => unchoose(rows)}>Clear</button>
    ${label && html`<${Confirm} rows=${rows} label=${LABELS[label]} onAnswer=${answer} />`}`;
}

/** Asks whether to decide. The answer is a note, or null. */
function Confirm({ rows, label, onAnswer }) {
  const dialog = useRef();
  const note = useRef();
  const cancel = useRef();
  useLayoutEffect(() => {
    dialog.current.showModal();
    cancel.current.focus();
  }, []);
  const what = rows.length === 1 ? "1 transaction" : `${formatCount(rows.length)} transactions`;
  const sum = rows.reduce((total, { amount }) => total + (amount ?? 0), 0);
  const total = sum > 0 ? ` Their amounts add up to ${formatAmount(sum)} ${document.body.dataset.currency}.` : "";
  const onClose = () => onAnswer(dialog.current.returnValue === "yes" ? note.current.value : null);
  return html`<dialog ref=${dialog} aria-labelledby="bulk-title" onClose=${onClose}>
    <h2 id="bulk-title">${label}: ${what}?</h2>
    <p>Each of them gets its own record on the labels topic.${total}</p>
    <form method="dialog"><label>Note (optional)<input ref=${note} maxlength="500" /></label>
      <p class="row"><button class="primary" value="yes">Decide ${what} as ${label.toLowerCase()}</button><button ref=${cancel}>Cancel</button></p>
    </form>
  </dialog>`;
}

async function decide(rows, label, note, key = newKey()) {
  // With the version that is shown, so that no later decision is replaced without being seen.
  const decisions = rows.map(({ id, case: found }) => (
    { id, label, reasons: [], note: note || null, version: found?.version ?? 0 }
  ));
  let answer;
  try {
    answer = await request("/api/v1/decisions:batch", { method: "POST", body: { decisions }, key });
  } catch (error) {
    const again = () => decide(rows, label, note, key); // the same decisions, once
    toastFailure("Nothing is known to be decided, and the rows are still selected.", error, again);
    return;
  }
  for (const { id, case: found } of answer.items) {
    if (found) document.dispatchEvent(new CustomEvent("case:changed", { detail: { id, case: found } }));
  }
  const failed = answer.items.filter(({ problem }) => problem);
  unchoose(answer.items.filter(({ problem }) => !problem));
  const done = `${formatCount(rows.length - failed.length)} decided`;
  if (failed.length === 0) toast(`${done}.`);
  else {
    const why = failed.slice(0, 3).map(({ id, problem }) => `${id}: ${problem.detail}`);
    toast(`${done}, ${formatCount(failed.length)} not. ${why.join("; ")}`, { seconds: 0 });
  }
}

const unchoose = (rows) => dispatch({ type: "unchoose", ids: rows.map(({ id }) => id) });
