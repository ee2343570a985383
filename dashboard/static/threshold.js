// The threshold page: a slider over the curve that the server calculated.

import { drawChart } from "./charts.js";
import { Notice } from "./parts.js";
import { request, waysOf } from "./request.js";
import { Curve } from "./threshold-curve.js";
import { formatChange, formatRate } from "./threshold-text.js";
import { html, render } from "./vendor/htm/standalone.module.js";

const URL_MS = 300; // browsers limit how often a page may change its address

const $ = (id) => document.getElementById(id);
const form = $("question");
const proposal = $("proposal");
const [slider, field, minutes] = ["slider", "threshold", "minutes"].map($);
let curve = null;
let at = 0; // the index of the proposed threshold
let charts = null;
let later = 0;

if (form) watchForm();
if (proposal) start();

/** Without this, the form's button does the same. */
function watchForm() {
  for (const name of ["model", "window", "labels", "maturity"]) {
    for (const choice of form.querySelectorAll(`[name=${name}]`)) {
      choice.addEventListener("change", () => form.requestSubmit());
    }
  }
  const inputs = form.querySelectorAll("input");
  form.addEventListener("submit", () => {
    for (const input of inputs) input.disabled ||= input.value === "";
  });
  // Back from the next page, the fields must work again.
  addEventListener("pageshow", () => {
    for (const input of inputs) input.disabled = false;
  });
}

async function start() {
  showCopy();
  try {
    const query = new URLSearchParams(proposal.dataset.question);
    query.delete("minutes");
    const body = await request(`/api/v1/threshold?${query}`, { seconds: 30 });
    if (!body.curve) return;
    curve = new Curve(body);
    const asked = new URLSearchParams(location.search).get("threshold");
    at = asked ? curve.nearest(Number(asked)) : curve.liveAt;
    listen();
    charts = draw();
    document.querySelector(".slide").hidden = false;
    $("charts").hidden = false;
    show();
  } catch (error) {
    $("failed").hidden = false;
    render(html`<${Notice} text=${`The curve could not be loaded. ${error.message}`} ways=${waysOf(error, () => location.reload())} />`, $("failed"));
  }
}

function listen() {
  slider.addEventListener("input", () => choose(curve.nearest(curve.nearLive(Number(slider.value)))));
  field.addEventListener("input", () => {
    if (field.value === "") choose(curve.liveAt, true);
    else if (field.checkValidity()) choose(curve.nearest(Number(field.value)), true);
  });
  for (const control of [slider, field]) control.addEventListener("keydown", onKey);
  minutes.addEventListener("input", () => minutes.checkValidity() && choose(at, true));
  for (const button of document.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => choose(curve.move(at, Number(button.dataset.step))));
  }
  $("reset").addEventListener("click", () => choose(curve.liveAt));
}

function onKey(event) {
  const sign = { ArrowUp: 1, ArrowDown: -1, ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const isText = event.target === field && !event.key.match(/Up|Down/);
  if (!sign || isText || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  choose(curve.move(at, sign * (event.shiftKey ? 0.01 : 0.001)));
}

/** Propose another threshold. A field in which it is typed is left as it is. */
function choose(index, isTyped = false) {
  at = index;
  if (!isTyped) field.value = at === curve.liveAt ? "" : curve.threshold[at];
  show();
  clearTimeout(later);
  later = setTimeout(keepInUrl, URL_MS);
}

function keepInUrl() {
  const url = new URL(location.href);
  if (at === curve.liveAt) url.searchParams.delete("threshold");
  else url.searchParams.set("threshold", curve.threshold[at]);
  if (minutes.checkValidity() && minutes.value) url.searchParams.set("minutes", minutes.value);
  history.replaceState(null, "", url);
}

/** Show the numbers of the chosen threshold everywhere. */
function show() {
  const text = curve.text(at);
  slider.value = curve.threshold[at];
  slider.setAttribute("aria-valuetext", text);
  for (const place of [$("chosen"), ...document.querySelectorAll("[data-proposed]")]) {
    if (place instanceof HTMLInputElement) place.value = text;
    else place.textContent = text;
  }
  for (const row of document.querySelectorAll("#compare tbody tr")) showRow(row);
  const share = curve.share(at);
  document.querySelector("[data-share]").textContent = (share * 100).toFixed(2);
  document.querySelector("[data-budget]").textContent = String(Number(share.toPrecision(4)));
  mark(text);
}

function showRow(row) {
  const { key, kind } = row.dataset;
  const each = Number(minutes.value || 0);
  for (const [name, index] of [["in-use", curve.liveAt], ["proposed", at]]) {
    const place = row.querySelector(`.${name}`);
    const { main, ends, n, isFew = false } = curve.cell(key, kind, index, each);
    place.classList.toggle("few", isFew);
    render(html`<b>${main}</b>${ends && html`<span class="ends">${ends}</span>`}${n && html`<span class="n">${n}</span>`}`, place);
  }
  const [before, after] = [curve.liveAt, at].map((index) => curve.value(key, index, each));
  row.querySelector(".change").textContent = formatChange(kind, before, after);
}

function draw() {
  const xs = curve.threshold;
  const x = { label: "Threshold", format: (v) => String(Number(v.toFixed(4))), range: [0, 1] };
  const share = { format: (v) => `${Math.round(v * 1000) / 10} %`, range: [0, 1] };
  const onPick = (value) => choose(curve.nearest(curve.nearLive(Math.round(value * 1000) / 1000)));
  // Every hundredth, and the two thresholds that the page is about.
  const inTable = (i) => Number.isInteger(Math.round(xs[i] * 1e6) / 1e4) || i === curve.liveAt || i === at;
  const band = (name) => ({ low: curve[`${name}_low`], high: curve[`${name}_high`] });
  const hasRecall = curve.recall_low.some((v) => v !== null);
  const recall = { label: "Recall", token: "--chart-2", isDashed: true, ...band("recall") };
  const quality = drawChart($("quality"), {
    x, onPick, inTable, describe,
    y: share,
    series: [{ label: "Precision", token: "--chart-1", ...band("precision") }, ...(hasRecall ? [recall] : [])],
    data: [xs, curve.precision, ...(hasRecall ? [curve.recall] : [])],
    shades: curve.shades,
  });
  const alerts = drawChart($("alerts"), {
    x, onPick, inTable,
    y: { format: (v) => v.toLocaleString("en-US"), isLog: true },
    series: [{ label: "Alerts a day", token: "--chart-3", format: formatRate }],
    data: [xs, curve.alerts_per_day.map((v) => (v > 0 ? v : null))], // 0 has no logarithm
    describe: () => `${formatRate(curve.alerts_per_day[at])} at the proposed threshold`,
  });
  const { down } = curve;
  if (curve.recall.every((v) => v === null)) return { quality, alerts, down };
  $("trade").hidden = false;
  const trade = drawChart($("trade"), {
    describe,
    x: { label: "Recall", ...share },
    y: { ...share, label: "Precision" },
    series: [{ label: "Precision", token: "--chart-1" }],
    inTable: (row) => inTable(down[row]),
    data: [down.map((i) => curve.recall[i]), down.map((i) => curve.precision[i])],
  });
  return { quality, alerts, trade, down };
}

function describe() {
  const [precision, recall] = ["precision", "recall"].map((key) => {
    const { main, ends } = curve.cell(key, "share", at);
    return `${key} ${main}${ends ? ` (${ends})` : ""}`;
  });
  return `at the proposed threshold, ${precision} and ${recall}`;
}

function mark(text) {
  const live = { x: curve.live, label: "In use", token: "--mark-live", isDashed: true };
  const proposed = { x: curve.threshold[at], label: `Proposed ${text}`, token: "--mark-proposed" };
  const marks = at === curve.liveAt ? [live] : [live, proposed];
  for (const chart of [charts.quality, charts.alerts]) chart.update({ marks, rest: at });
  const point = (index) => ({ x: curve.recall[index], y: curve.precision[index] });
  charts.trade?.update({
    rest: charts.down.indexOf(at),
    points: [
      { ...point(curve.liveAt), token: "--mark-live" },
      { ...point(at), token: "--mark-proposed", isHollow: true },
    ],
  });
}

function showCopy() {
  const button = $("copy");
  if (!navigator.clipboard) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($("config").textContent);
      $("copied").textContent = "Copied";
    } catch {
      $("copied").textContent = "The browser does not allow copying";
    }
  });
}
