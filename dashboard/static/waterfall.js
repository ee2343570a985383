// Draws how a score came about, as templates/_waterfall.html does: a table with a bar in each row.

import { formatScore, formatSigned } from "./view.js";

const SVG = "http://www.w3.org/2000/svg";

/** The waterfall as an element. `data` is the JSON of dashboard/explain.py. */
export function drawWaterfall(data) {
  loadStyle();
  if (data.reason) return element("p", { className: "dim", textContent: data.reason });
  const figure = element("figure", { className: "waterfall" });
  const table = element("table");
  table.append(element("caption", {
    className: "sr",
    textContent: "How the score came about: each row adds its contribution to the raw score",
  }));
  table.append(drawHead());
  const body = table.createTBody();
  for (const step of data.steps) body.append(drawStep(step, data));
  const foot = table.createTFoot();
  foot.append(drawRow(data, {
    text: "Score", left: data.end, width: null, contribution: data.raw_score, score: data.score,
  }));
  figure.append(table, drawCaption(data));
  return figure;
}

function drawHead() {
  const head = element("thead");
  const row = head.insertRow();
  for (const [text, className] of [["Feature", ""], ["Value", ""], ["Bar", "hidden"],
    ["Contribution", "num"], ["Score so far", "num"]]) {
    const cell = element("th", { scope: "col" });
    if (className === "num") cell.className = "num";
    cell.append(className === "hidden" ? element("span", { className: "sr", textContent: text }) : text);
    row.append(cell);
  }
  return head;
}

function drawStep(step, data) {
  const isBase = step.kind === "base";
  const row = drawRow(data, {
    text: step.text.charAt(0).toUpperCase() + step.text.slice(1),
    title: step.sentence,
    note: step.percentile,
    value: step.kind === "push" ? step.value ?? missing() : "",
    left: step.left,
    width: isBase ? null : step.width,
    contribution: step.contribution,
    isChange: !isBase,
    score: step.score,
  });
  row.className = step.kind;
  return row;
}

function drawRow(data, { text, title, note, value = "", left, width, contribution, isChange, score }) {
  const row = element("tr");
  const name = element("th", { scope: "row", textContent: text });
  if (title) name.title = title;
  if (note) name.append(element("small", { textContent: note }));
  const shown = element("td", { className: "val" });
  shown.append(value);
  const plot = element("td", { className: "plot" });
  plot.append(drawBar(data, left, width, contribution));
  const change = element("td", { className: "num" });
  if (isChange) {
    change.append(element("span", {
      className: "sr", textContent: contribution >= 0 ? "raises by " : "lowers by ",
    }));
  }
  change.append(formatSigned(contribution));
  const after = formatScore(score, data.review_threshold, data.block_threshold);
  row.append(name, shown, plot, change, element("td", { className: "num", textContent: after }));
  return row;
}

function drawBar(data, left, width, contribution) {
  const svg = shape("svg", { viewBox: "0 0 100 16", preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const name of ["review", "block"]) {
    if (data[name] !== null) svg.append(line(name, data[name], 0, 16));
  }
  if (width === null) svg.append(line("mark", left, 1, 15));
  else {
    svg.append(shape("rect", {
      class: contribution >= 0 ? "up" : "down", x: left, y: 3, width: Math.max(width, 0.4), height: 10,
    }));
  }
  return svg;
}

function drawCaption(data) {
  const caption = element("figcaption", { className: "dim" });
  caption.append("Contributions add up to the raw score (log-odds). They are not causes. Lines: ",
    element("span", { className: "key review", textContent: "review" }));
  if (data.block !== null) {
    caption.append(" and ", element("span", { className: "key block", textContent: "block" }));
  }
  caption.append(" threshold.");
  return caption;
}

/** The styles are loaded with the first waterfall, so that the list need not wait for them. */
function loadStyle() {
  if (document.querySelector('link[href="/static/waterfall.css"]')) return;
  document.head.append(element("link", { rel: "stylesheet", href: "/static/waterfall.css" }));
}

const missing = () => element("i", { textContent: "missing" });
const line = (name, x, y1, y2) => shape("line", { class: name, x1: x, x2: x, y1, y2 });

function element(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
