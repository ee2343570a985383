// The rows on the page: newest first, at most 200. All text is set through textContent, because
// any field may contain text from an attacker.

import {
  capitalize, describeFeature, fillBadge, formatAmount, formatArrow, formatScore, formatTime,
  formatValue, titleOf,
} from "./view.js";

const MAX_ROWS = 200;
const SHOWN_REASONS = 3;

export class FlagTable {
  constructor() {
    this.table = document.getElementById("flags");
    this.body = document.getElementById("rows");
    this.template = document.getElementById("row").content.firstElementChild;
    this.empty = document.getElementById("empty");
  }

  /** Insert rows in list order. Rows that are already shown do not change. */
  insert(rows, isFresh = true) {
    for (const row of [...rows].sort(compare).reverse()) {
      if (this.body.querySelector(`[data-id="${CSS.escape(row.id)}"]`)) continue;
      let before = this.body.firstElementChild;
      while (before && compare(keyOf(before), keyOf(row)) < 0) before = before.nextElementSibling;
      this.body.insertBefore(this.#build(row, isFresh), before);
    }
    while (this.body.childElementCount > MAX_ROWS) this.body.lastElementChild.remove();
    this.#showOrHide();
  }

  replace(rows) {
    this.body.replaceChildren();
    this.insert(rows, false);
  }

  row(id) {
    return this.body.querySelector(`[data-id="${CSS.escape(id)}"]`);
  }

  #showOrHide() {
    const isEmpty = this.body.childElementCount === 0;
    this.table.hidden = isEmpty;
    this.empty.hidden = !isEmpty;
  }

  #build(row, isFresh) {
    const tr = this.template.cloneNode(true);
    const cell = (name) => tr.querySelector(`.c-${name}`);
    tr.dataset.id = row.id;
    tr.dataset.key = keyOf(row).join(",");
    if (isFresh) tr.classList.add("fresh");
    fillBadge(cell("risk").firstElementChild, row.risk);
    cell("score").textContent = formatScore(row.score, row.review_threshold, row.block_threshold);
    const time = cell("time").firstElementChild;
    time.dateTime = `${formatTime(row.scored_at).replace(" ", "T")}Z`;
    const zone = document.createElement("span");
    zone.className = "zone";
    zone.textContent = " UTC";
    time.append(formatTime(row.scored_at), zone);
    const link = cell("txn").firstElementChild;
    link.textContent = row.transaction_id;
    link.href = `/t/${encodeURIComponent(row.id)}`;
    cell("amount").textContent = formatAmount(row.amount);
    cell("product").textContent = formatValue(row.product);
    cell("card").textContent = formatValue(row.card);
    const reasons = document.createElement("div");
    for (const reason of row.reasons.slice(0, SHOWN_REASONS)) reasons.append(buildReason(reason), " ");
    cell("reasons").append(reasons);
    cell("model").textContent = row.model_version;
    const decision = cell("decision").firstElementChild;
    decision.textContent = capitalize(row.decision);
    decision.classList.add(row.decision.toLowerCase().replace(/[^a-z]/g, ""));
    return tr;
  }
}

function buildReason(reason) {
  const span = document.createElement("span");
  span.className = "reason";
  const name = document.createElement("b");
  name.textContent = describeFeature(reason.feature);
  name.title = titleOf(reason.feature);
  const contribution = document.createElement("span");
  contribution.className = "contribution";
  contribution.textContent = Math.abs(reason.contribution).toFixed(2);
  span.append(name, ` ${formatArrow(reason.contribution)}`, contribution);
  return span;
}

/** The sort key of the list: scored at, partition, offset. */
function keyOf(row) {
  if (row instanceof Element) return row.dataset.key.split(",").map(Number);
  return [row.scored_at, row.source.partition, row.source.offset];
}

function compare(a, b) {
  const left = Array.isArray(a) ? a : keyOf(a);
  const right = Array.isArray(b) ? b : keyOf(b);
  for (let i = 0; i < 3; i += 1) {
    if (left[i] !== right[i]) return right[i] - left[i];
  }
  return 0;
}
