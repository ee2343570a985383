// What a row of the list knows of its transaction, shown as its details until the server has sent
// them: the same header, and the buttons. The rest is added in place.

import { html, render } from "./vendor/htm/standalone.module.js";
import { buildRisk, buildTime, capitalize, formatAmount, formatScore4, formatThreshold } from "./view.js";

const blank = document.getElementById("blank"); // which the server rendered for no transaction

/** The first details of a row, or null on a page without a list. */
export function buildEarly(row) {
  if (!blank || !row) return null;
  const node = document.importNode(blank.content.firstElementChild, true);
  const title = `Transaction ${row.transaction_id}`;
  Object.assign(node.dataset, { id: row.id, title, case: JSON.stringify(row.case ?? null) });
  render(html`<${Header} row=${row} title=${title} />`, node.querySelector("header"));
  fillForm(node.querySelector("form.decide"), row.case);
  return node;
}

/** Add what the server sent to the first details. What a person does in the form goes on. */
export function complete(early, node) {
  Object.assign(early.dataset, node.dataset);
  early.querySelector("header").replaceWith(node.querySelector("header"));
  early.append(...[...node.children].filter((part) => !part.matches("header, .work")));
}

function Header({ row, title }) {
  const { amount, product, score, review_threshold: review, block_threshold: block } = row;
  const [at, ...marks] = [score, review, block].map((each) => (100 * each).toFixed(2));
  const currency = document.body.dataset.currency;
  return html`<div class="head"><h2>${title}</h2>${" "}<p class="amount">${amount == null
    ? html`<span class="dim">${row.hidden?.includes("TransactionAmt") ? "Amount hidden" : "No amount"}</span>` : html`${formatAmount(amount)}${currency && html` <span class="unit">${currency}</span>`}`}${product != null && html` <span class="dim">Product ${product}</span>`}</p></div>
    <p class="verdict">${buildRisk(html, row.risk)} <b class="big">${formatScore4(score, review, block)}</b> <span class="decision ${row.decision.toLowerCase()}">${capitalize(row.decision)}</span></p>
    <div class="scale">
      <svg viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true"><rect class="track" x="0" y="5" width="100" height="4" /><rect class="reached ${row.risk}" x="0" y="5" width=${at} height="4" />${marks.map((x) => html`<line class="threshold" x1=${x} x2=${x} y1="1" y2="13" />`)}<line class="at" x1=${at} x2=${at} y1="0" y2="14" /></svg>
      <p><span>Review ≥ ${formatThreshold(review, block)} <b>(${formatDistance(score, review)})</b></span> <span>Block ≥ ${formatThreshold(block, review)} <b>(${formatDistance(score, block)})</b></span></p>
    </div>
    <p class="dim">Model ${row.model_version} · Scored ${buildTime(html, row.scored_at)}${row.event_time != null && html` · Event time ${buildTime(html, row.event_time)}`}</p>`;
}

/** The reasons and the note of the decision that stands. */
function fillForm(form, found) {
  if (!form || !found) return;
  for (const box of form.querySelectorAll("[name=reason]")) box.checked = found.reasons?.includes(box.value) ?? false;
  form.elements.note.value = found.note ?? "";
  form.querySelector(".remarks").open = Boolean(found.note);
}

/** How far a score is from a threshold, as the server writes it. */
function formatDistance(score, threshold) {
  if (score === threshold) return "reached exactly";
  const distance = Math.abs(score - threshold);
  const digits = Number(distance.toFixed(4)) === 0 ? Number(distance.toPrecision(1)) : distance.toFixed(4);
  return `${score > threshold ? "+" : "−"}${digits}`;
}
