// The threshold page: a slider over the curve that the server calculated. The numbers are its own;
// here they are only looked up and formatted, as web/threshold/texts.py does.

import { drawChart } from "./charts.js";

const NOT_ESTIMABLE = "Not estimable";
const MISSING = "—";
const FEW = 50;
const URL_MS = 300; // browsers limit how often a page may change its address

const form = document.getElementById("question");
const proposal = document.getElementById("proposal");

if (form) watchForm();
if (proposal) start();

/** Without this, the form's button does the same. */
function watchForm() {
  for (const name of ["model", "window", "labels", "maturity"]) {
    for (const field of form.querySelectorAll(`[name=${name}]`)) {
      field.addEventListener("change", () => form.requestSubmit());
    }
  }
  form.addEventListener("submit", () => {
    for (const field of form.querySelectorAll("input")) field.disabled ||= field.value === "";
  });
  // Back from the next page, the fields must work again.
  addEventListener("pageshow", () => {
    for (const field of form.querySelectorAll("input")) field.disabled = false;
  });
}

async function start() {
  showCopy();
  try {
    const query = new URLSearchParams(proposal.dataset.question);
    query.delete("minutes");
    const response = await fetch(`/api/v1/threshold?${query}`);
    const body = await response.json();
    if (!response.ok) throw new Error(body.detail);
    if (body.curve) new Desk(body);
  } catch (error) {
    const failed = document.getElementById("failed");
    failed.hidden = false;
    failed.textContent = `The curve could not be loaded: ${error.message ?? error}. Reload the page to try again.`;
  }
}

class Desk {
  constructor(answer) {
    this.answer = answer;
    this.curve = answer.curve;
    this.live = answer.thresholds.review;
    this.liveAt = this.curve.threshold.indexOf(this.live);
    this.slider = document.getElementById("slider");
    this.field = document.getElementById("threshold");
    this.minutes = document.getElementById("minutes");
    const asked = new URLSearchParams(location.search).get("threshold");
    this.at = asked ? this.#nearest(Number(asked)) : this.liveAt;
    this.#listen();
    this.#draw();
    document.querySelector(".slide").hidden = false;
    document.getElementById("charts").hidden = false;
    this.show();
  }

  #listen() {
    this.slider.addEventListener("input", () => this.choose(this.#nearLive(Number(this.slider.value))));
    this.slider.addEventListener("keydown", (event) => this.#onKey(event));
    this.field.addEventListener("input", () => {
      if (this.field.value === "") this.choose(this.live, true);
      else if (this.field.checkValidity()) this.choose(Number(this.field.value), true);
    });
    this.field.addEventListener("keydown", (event) => this.#onKey(event));
    this.minutes.addEventListener("input", () => this.minutes.checkValidity() && this.#showAndKeep());
    for (const button of document.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => this.#move(Number(button.dataset.step)));
    }
    document.getElementById("reset").addEventListener("click", () => this.choose(this.live));
  }

  #onKey(event) {
    const sign = { ArrowUp: 1, ArrowDown: -1, ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const isText = event.target === this.field && !event.key.match(/Up|Down/);
    if (!sign || isText || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.#move(sign * (event.shiftKey ? 0.01 : 0.001));
  }

  /** One or ten thousandths on; from the threshold in use to the next multiple of 0.001. */
  #move(step) {
    const now = this.curve.threshold[this.at] * 1000;
    const next = step > 0 ? Math.floor(now + 1e-9) : Math.ceil(now - 1e-9);
    this.choose((next + Math.round(step * 1000)) / 1000);
  }

  /** The slider has no position between two multiples of 0.001: the nearest is the one in use. */
  #nearLive(value) {
    return Math.abs(value - this.live) <= 0.0005 ? this.live : value;
  }

  #nearest(value) {
    if (value === this.live) return this.liveAt;
    const wanted = Math.min(999, Math.max(0, Math.round(value * 1000))) / 1000;
    return this.curve.threshold.indexOf(wanted);
  }

  choose(threshold, isTyped = false) {
    this.at = this.#nearest(threshold);
    if (!isTyped) this.field.value = this.at === this.liveAt ? "" : this.curve.threshold[this.at];
    this.#showAndKeep();
  }

  #showAndKeep() {
    this.show();
    clearTimeout(this.later);
    this.later = setTimeout(() => this.#keepInUrl(), URL_MS);
  }

  #keepInUrl() {
    const url = new URL(location.href);
    if (this.at === this.liveAt) url.searchParams.delete("threshold");
    else url.searchParams.set("threshold", this.curve.threshold[this.at]);
    if (this.minutes.checkValidity() && this.minutes.value) url.searchParams.set("minutes", this.minutes.value);
    history.replaceState(null, "", url);
  }

  /** Show the numbers of the chosen threshold everywhere. */
  show() {
    const text = this.#format(this.curve.threshold[this.at]);
    this.slider.value = this.curve.threshold[this.at];
    this.slider.setAttribute("aria-valuetext", text);
    document.getElementById("chosen").textContent = text;
    for (const place of document.querySelectorAll("[data-proposed]")) place[place.value === undefined ? "textContent" : "value"] = text;
    for (const row of document.querySelectorAll("#compare tbody tr")) this.#showRow(row);
    const share = this.answer.scores ? this.curve.alerts[this.at] / this.answer.scores : 0;
    document.querySelector("[data-share]").textContent = (share * 100).toFixed(2);
    document.querySelector("[data-budget]").textContent = String(Number(share.toPrecision(4)));
    this.#mark(text);
  }

  #showRow(row) {
    const { key, kind } = row.dataset;
    for (const [name, at] of [["in-use", this.liveAt], ["proposed", this.at]]) {
      const cell = row.querySelector(`.${name}`);
      const { main, ends, n, isFew } = this.#cell(key, kind, at);
      cell.classList.toggle("few", Boolean(isFew));
      const parts = [element("b", main)];
      if (ends) parts.push(element("span", ends, "ends"));
      if (n) parts.push(element("span", isFew ? `${n}, too few` : n, "n"));
      cell.replaceChildren(...parts);
    }
    row.querySelector(".change").textContent =
      formatChange(kind, this.#value(key, this.liveAt), this.#value(key, this.at));
  }

  #value(key, at) {
    if (key === "hours") return (this.curve.alerts_per_day[at] * Number(this.minutes.value || 0)) / 60;
    return this.curve[key][at];
  }

  #cell(key, kind, at) {
    const format = kind === "share" ? formatShare : formatRate;
    const value = this.#value(key, at);
    const low = this.curve[`${key}_low`];
    if (!low) {
      if (value === null) return { main: NOT_ESTIMABLE };
      return { main: (this.answer.at_least.includes(key) ? "≥ " : "") + formatRate(value) };
    }
    if (low[at] === null) return { main: NOT_ESTIMABLE };
    const count = this.curve[`${key}_n`][at];
    const ends = formatRange(format(low[at]), format(this.curve[`${key}_high`][at]));
    const more = { n: `n = ${count.toLocaleString("en-US")}`, isFew: count < FEW };
    return value === null ? { main: ends, ...more } : { main: format(value), ends, ...more };
  }

  #format(threshold) {
    const digits = (this.live.toFixed(6).replace(/0+$/, "").split(".")[1] ?? "").length;
    return threshold.toFixed(Math.max(3, digits));
  }

  #draw() {
    const { curve } = this;
    const xs = curve.threshold;
    const x = { label: "Threshold", format: (v) => String(Number(v.toFixed(4))), range: [0, 1] };
    const share = { format: (v) => `${Math.round(v * 1000) / 10} %`, range: [0, 1] };
    const onPick = (value) => this.choose(this.#nearLive(Math.round(value * 1000) / 1000));
    // Every hundredth, and the two thresholds that the page is about.
    const inTable = (i) => Number.isInteger(Math.round(xs[i] * 1e6) / 1e4) || i === this.liveAt || i === this.at;
    const band = (name) => ({ low: curve[`${name}_low`], high: curve[`${name}_high`] });
    const hasRecall = curve.recall_low.some((v) => v !== null);
    this.quality = drawChart(document.getElementById("quality"), {
      x,
      y: share,
      series: [
        { label: "Precision", token: "--chart-1", ...band("precision") },
        ...(hasRecall ? [{ label: "Recall", token: "--chart-2", isDashed: true, ...band("recall") }] : []),
      ],
      data: [xs, curve.precision, ...(hasRecall ? [curve.recall] : [])],
      shades: this.#shades(),
      onPick,
      inTable,
      describe: () => this.#describe(),
    });
    this.alerts = drawChart(document.getElementById("alerts"), {
      x,
      y: { format: (v) => v.toLocaleString("en-US"), isLog: true },
      series: [{ label: "Alerts a day", token: "--chart-3", format: formatRate }],
      data: [xs, curve.alerts_per_day.map((v) => (v > 0 ? v : null))], // 0 has no logarithm
      onPick,
      inTable,
      describe: () => `${formatRate(curve.alerts_per_day[this.at])} at the proposed threshold`,
    });
    if (curve.recall.some((v) => v !== null)) this.#drawTrade(share, inTable);
  }

  #shades() {
    const { threshold, precision_n: n } = this.curve;
    const from = n.findIndex((count, i) => i >= this.liveAt && count < FEW);
    const shades = from < 0 ? [] : [{ from: threshold[from], to: 1, text: "few labels" }];
    const isBlind = this.curve.precision_low.slice(0, this.liveAt).every((low) => low === null);
    if (isBlind) shades.push({ from: 0, to: this.live, text: "no labels here" });
    return shades;
  }

  #drawTrade(share, inTable) {
    const { curve } = this;
    const figure = document.getElementById("trade");
    figure.hidden = false;
    // From the highest threshold down, so that recall rises along the axis.
    this.down = curve.threshold.map((_, i) => i).reverse()
      .filter((i) => curve.recall[i] !== null && curve.precision[i] !== null);
    const { down } = this;
    this.trade = drawChart(figure, {
      x: { label: "Recall", ...share },
      y: { ...share, label: "Precision" },
      series: [{ label: "Precision", token: "--chart-1" }],
      inTable: (row) => inTable(down[row]),
      data: [down.map((i) => curve.recall[i]), down.map((i) => curve.precision[i])],
      describe: () => this.#describe(),
    });
  }

  #describe() {
    const of = (key, name) => {
      const { main, ends } = this.#cell(key, "share", this.at);
      return `${name} ${main}${ends ? ` (${ends})` : ""}`;
    };
    return `at the proposed threshold, ${of("precision", "precision")} and ${of("recall", "recall")}`;
  }

  #mark(text) {
    const live = { x: this.live, label: "In use", token: "--mark-live", isDashed: true };
    const proposed = { x: this.curve.threshold[this.at], label: `Proposed ${text}`, token: "--mark-proposed" };
    const marks = this.at === this.liveAt ? [live] : [live, proposed];
    this.quality.update({ marks, rest: this.at });
    this.alerts.update({ marks, rest: this.at });
    this.trade?.update({
      rest: this.down.indexOf(this.at),
      points: [
        { x: this.curve.recall[this.liveAt], y: this.curve.precision[this.liveAt], token: "--mark-live" },
        { x: this.curve.recall[this.at], y: this.curve.precision[this.at], token: "--mark-proposed", isHollow: true },
      ],
    });
  }
}

export function formatRate(value) {
  if (value === null || value === undefined) return MISSING;
  const size = Math.abs(value);
  return rounded(value, size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : 2);
}

export function formatShare(value) {
  return value === null ? MISSING : `${rounded(value * 100, 1)} %`;
}

export function formatChange(kind, before, after) {
  if (before === null || after === null) return MISSING;
  if (kind === "share") return `${signed(rounded((after - before) * 100, 1))} points`;
  if (before === after) return "0 %";
  if (before === 0) return MISSING;
  const change = ((after - before) / before) * 100;
  return `${signed(rounded(change, Math.abs(change) >= 10 ? 0 : 1))} %`;
}

function formatRange(low, high) {
  const unit = low.endsWith(" %") ? " %" : "";
  return `${low.replace(/ %$/, "")}–${high.replace(/ %$/, "")}${unit}`;
}

function rounded(value, digits) {
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value.toLocaleString("en-US", options).replace("-", "−");
}

function signed(text) {
  if (!/[1-9]/.test(text)) return text.replace("−", "");
  return text.startsWith("−") ? text : `+${text}`;
}

function showCopy() {
  const button = document.getElementById("copy");
  if (!navigator.clipboard) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(document.getElementById("config").textContent);
      document.getElementById("copied").textContent = "Copied";
    } catch {
      document.getElementById("copied").textContent = "The browser does not allow copying";
    }
  });
}

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}
