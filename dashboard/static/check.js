// The check page: sends the pasted transactions to /predict and shows the response.

import {
  capitalize, describeFeature, fillBadge, formatArrow, formatScore, formatSigned, formatValue,
  loadTexts, titleOf,
} from "./view.js";

const area = document.getElementById("body");
const answer = document.getElementById("answer");

document.getElementById("sample").addEventListener("click", () => {
  area.value = area.dataset.sample;
});

document.getElementById("check").addEventListener("submit", async (event) => {
  event.preventDefault();
  answer.replaceChildren(element("p", "Scoring…", "dim"));
  try {
    const response = await fetch("/predict", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: request(area.value),
    });
    const body = await response.json();
    await loadTexts(body.model_version);
    answer.replaceChildren(response.ok ? showResults(body) : showProblem(body));
  } catch (error) {
    answer.replaceChildren(element("p", String(error.message ?? error), "banner red"));
  }
});

/** The request body. A list or a single transaction is wrapped, anything else is sent unchanged. */
function request(text) {
  const isShap = document.getElementById("shap").checked;
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return text; // the server's error names the fault
  }
  if (Array.isArray(value)) value = { transactions: value };
  else if (value && typeof value === "object" && !("transactions" in value)) {
    value = { transactions: [value] };
  }
  if (isShap && value && typeof value === "object") value.explain = "shap";
  return JSON.stringify(value);
}

function showResults(body) {
  const section = element("div", "", "result");
  section.append(element("p", `Model ${body.model_version}`, "dim"));
  const table = element("table", "", "plain");
  const head = table.createTHead().insertRow();
  const titles = ["Risk", "Score", "Decision", "Transaction", "Reasons"];
  if (body.results.some((result) => result.history)) titles.push("Card history");
  for (const title of titles) head.append(element("th", title));
  const rows = table.createTBody();
  for (const result of body.results) rows.append(showResult(result));
  section.append(table, raw(body));
  return section;
}

function showResult(result) {
  const row = document.createElement("tr");
  const badge = element("span", "");
  fillBadge(badge, riskOf(result));
  const reasons = result.reasons.map((reason) => {
    const line = element("div", `${describeFeature(reason.feature)} = ${formatValue(reason.value)} `
      + `${formatArrow(reason.contribution)} ${formatSigned(reason.contribution)}`);
    line.title = titleOf(reason.feature);
    return line;
  });
  const decision = element("span", capitalize(result.decision), "decision");
  decision.classList.add(result.decision.toLowerCase());
  const score = formatScore(result.score, result.review_threshold, result.block_threshold);
  for (const content of [[badge], [score], [decision], [String(result.transaction_id)],
    reasons.length ? reasons : ["—"]]) {
    const cell = row.insertCell();
    cell.append(...content);
  }
  if (result.history) row.insertCell().append(describeHistory(result.history));
  return row;
}

function describeHistory({ used, as_of: asOf, reason }) {
  return used ? `as of ${asOf.replace("T", " ").replace("Z", " UTC")}` : `not used: ${reason}`;
}

/** The risk bands of the list: the range from the review threshold to 1, in thirds. */
function riskOf({ score, review_threshold: review }) {
  if (score < review) return "low";
  const third = (1 - review) / 3;
  if (score < review + third) return "elevated";
  return score < review + 2 * third ? "high" : "critical";
}

function showProblem(problem) {
  const section = element("div", "", "banner red");
  section.append(element("b", `${problem.status} ${problem.title}`), element("p", sentence(problem.detail)));
  if (problem.errors?.length > 1) { // a single fault is all of the detail
    const list = document.createElement("ul");
    for (const { row, reason } of problem.errors) { // the reason names the field
      list.append(element("li", `${row === null ? "Request" : `Row ${row}`}: ${reason}`));
    }
    section.append(list);
  }
  return section;
}

function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}

function raw(body) {
  const details = document.createElement("details");
  details.append(element("summary", "JSON"), element("pre", JSON.stringify(body, null, 2)));
  return details;
}

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}
