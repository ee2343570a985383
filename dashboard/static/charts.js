// Charts: a thin wrapper of uPlot, which a page loads before this module with
//   <link rel="stylesheet" href="/static/charts.css"> (and uPlot.min.css before it)
//   <script defer src="/static/vendor/uplot/uPlot.iife.min.js"></script>
// Colours are those of the page, in every theme; times are in UTC, on a 24-hour clock; and every
// chart can be read as a table.

import { alpha, colour, drawMarks, drawShades } from "./chart-paint.js";
import { html, render } from "./vendor/htm/standalone.module.js";

const DAY = 86_400;
const HEIGHT = 240;
const TABLE_ROWS = 120;
const charts = new Set();

/**
 * Draw a chart into a `<figure>`, after its caption.
 *
 * options:
 *   x: {label, format(value), isTime, range: [from, to]}; times are epoch seconds
 *   y: {label, format(value), range: [from, to], isLog}
 *   series: [{label, low, high, token, kind: "line" | "steps" | "bars" | "points", isDashed, format}]
 *     `token` names a custom property with a colour; with `low` and `high` a band is drawn
 *   data: [xs, values of the first series, …]; null is a gap
 *   marks: [{x, label, token, isDashed}] vertical lines
 *   points: [{x, y, label, token}] single points
 *   shades: [{from, to, text}] hatched areas
 *   inTable(i): whether the table has this row; all rows if it is absent and they are few
 *   rest: index of the values in the legend while no cursor is over the chart
 *   onPick(x): the user clicked at x
 *   describe(): what a screen reader says of the picture
 */
export function drawChart(figure, options) {
  return new Chart(figure, options);
}

class Chart {
  #plot = null;
  #table = document.createElement("div");
  #isOpen = false; // the table

  constructor(figure, options) {
    this.figure = figure;
    this.options = options;
    this.place = document.createElement("div");
    this.place.className = "chart";
    this.place.setAttribute("role", "img");
    figure.append(this.place, this.#table);
    charts.add(this);
    new ResizeObserver(() => this.#fit()).observe(this.place);
    this.rebuild();
  }

  /** Replace any of the options: data, marks, points, shades, rest, series. */
  update(more) {
    Object.assign(this.options, more);
    if (more.series) this.rebuild();
    else if (more.data) this.#plot.setData(this.#columns());
    else this.#plot.redraw(false);
    if ("rest" in more) this.#plot.setLegend({ idx: null });
    this.#describe();
    this.#showTable();
  }

  /** Draw again in the colours that the page has now. */
  rebuild() {
    this.#plot?.destroy();
    this.#plot = new globalThis.uPlot(this.#settings(), this.#columns(), this.place);
    this.#describe();
    this.#showTable();
  }

  #fit() {
    const width = this.place.clientWidth;
    if (width > 0 && width !== this.#plot.width) this.#plot.setSize({ width, height: HEIGHT });
  }

  /** The drawn columns: each series with its low and high ends, if it has a band. */
  #columns() {
    const [xs, ...values] = this.options.data;
    const columns = [xs];
    this.options.series.forEach((series, i) => {
      columns.push(values[i]);
      if (series.low) columns.push(series.low, series.high);
    });
    return columns;
  }

  #settings() {
    const { x, y } = this.options;
    const text = colour("--dim");
    const line = colour("--line");
    const axis = (of, more, filter) => ({
      stroke: text,
      grid: { stroke: line, width: 1, ...(filter && { filter }) },
      ticks: { stroke: line, width: 1, ...(filter && { filter }) },
      label: of.label,
      labelSize: 22,
      font: "12px system-ui, sans-serif",
      labelFont: "12px system-ui, sans-serif",
      ...more,
    });
    const format = (of) => of.format ?? String;
    const series = [{ label: x.label, value: (_, __, ___, i) => this.#atRest(i, (at) => this.#formatX(this.options.data[0][at])) }];
    const bands = [];
    for (const one of this.options.series) this.#addSeries(one, series, bands);
    return {
      width: this.place.clientWidth || 600,
      height: HEIGHT,
      pxAlign: 0,
      legend: { live: true },
      cursor: { drag: { x: false, y: false }, points: { size: 7 } },
      tzDate: (seconds) => globalThis.uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: {
        x: { time: Boolean(x.isTime), ...(x.range && { range: x.range }) },
        y: { ...(y.range && { range: y.range }), ...(y.isLog && { distr: 3 }) },
      },
      axes: [
        axis(x, {
          size: 34,
          ...(x.isTime && { space: 72 }), // a time with seconds and the room around it
          values: (_, splits, __, ___, step) =>
            splits.map((v) => (x.isTime ? formatClock(v, step) : format(x)(v))),
        }),
        axis(y, {
          size: 62,
          values: (_, splits) => splits.map((v) => (v == null ? "" : format(y)(v))),
          ...(y.isLog && { filter: decades }),
        }, y.isLog && decades),
      ],
      series,
      bands,
      hooks: {
        drawClear: [(plot) => drawShades(plot, this.options.shades)],
        draw: [(plot) => drawMarks(plot, this.options.marks, this.options.points)],
        ready: [(plot) => this.#listen(plot)],
      },
    };
  }

  #addSeries(one, series, bands) {
    const stroke = colour(one.token ?? "--chart-1");
    const { paths } = globalThis.uPlot;
    const kinds = { steps: () => paths.stepped({ align: 1 }), bars: () => paths.bars({ size: [0.8] }) };
    const number = this.options.series.indexOf(one);
    const at = series.length;
    series.push({
      label: one.label,
      stroke,
      width: one.kind === "points" ? 0 : 2,
      dash: one.isDashed ? [6, 4] : undefined,
      fill: one.kind === "bars" ? alpha(stroke, 0.45) : undefined,
      paths: kinds[one.kind]?.(),
      points: { show: one.kind === "points", size: 5, fill: stroke },
      spanGaps: false,
      value: (_, __, ___, i) => this.#atRest(i, (at) => this.#text(one, number, at)),
    });
    if (!one.low) return;
    for (let i = 0; i < 2; i += 1) {
      series.push({ label: "", class: "u-band", stroke: alpha(stroke, 0.35), width: 1, points: { show: false } });
    }
    bands.push({ series: [at + 2, at + 1], fill: alpha(stroke, 0.16) });
  }

  /** The legend: what is under the cursor, or what the page is about. */
  #atRest(i, text) {
    const at = i ?? this.options.rest;
    return at == null || at < 0 ? "" : text(at);
  }

  /** A value with its interval, or the interval alone. */
  #text(one, number, i) {
    const format = one.format ?? this.options.y.format ?? String;
    const value = this.options.data[number + 1][i];
    const ends = one.low?.[i] == null ? "" : `${format(one.low[i])} to ${format(one.high[i])}`;
    if (value == null) return ends || "—";
    return ends ? `${format(value)} (${ends})` : format(value);
  }

  #listen(plot) {
    if (!this.options.onPick) return;
    plot.over.classList.add("pick");
    plot.over.addEventListener("click", ({ offsetX }) => {
      this.options.onPick(plot.posToVal(offsetX, "x"));
    });
  }

  #describe() {
    const title = this.figure.querySelector("figcaption")?.textContent.trim() ?? "";
    const more = this.options.describe?.() ?? "";
    this.place.setAttribute("aria-label", more ? `${title}: ${more}` : title);
  }

  #formatX(value) {
    const { x } = this.options;
    return x.isTime ? formatUtc(value) : (x.format ?? String)(value);
  }

  /** Every chart can be read as a table, which is filled while it is open. */
  #showTable() {
    const { x, series, data, inTable } = this.options;
    const xs = data[0];
    const step = Math.max(1, Math.ceil(xs.length / TABLE_ROWS));
    const isIn = inTable ?? ((i) => i % step === 0);
    const toggle = ({ target }) => {
      this.#isOpen = target.open;
      this.#showTable();
    };
    // It scrolls, so the keyboard must reach it.
    render(html`<details class="as-table" onToggle=${toggle}><summary>View as table</summary>
      <div tabindex="0" role="region" aria-label="Values of the chart"><table class="plain">${this.#isOpen && html`
        <thead><tr>${[x, ...series].map(({ label }) => html`<th scope="col">${label}</th>`)}</tr></thead>
        <tbody>${xs.map((_, i) => i).filter(isIn).map((i) => html`<tr><th scope="row">${this.#formatX(xs[i])}</th>${series.map((one, number) => html`<td>${this.#text(one, number, i)}</td>`)}</tr>`)}</tbody>`}
      </table></div></details>`, this.#table);
  }
}

/** `2026-11-23 14:03 UTC`. */
function formatUtc(seconds) {
  return `${new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** A label of a time axis: days if its steps are days, else hours and minutes. */
function formatClock(seconds, step) {
  const text = new Date(seconds * 1000).toISOString();
  if (step >= DAY) return text.slice(5, 10);
  return seconds % DAY === 0 ? text.slice(5, 10) : text.slice(11, step < 60 ? 19 : 16);
}

/** Of a logarithmic axis, only the powers of ten. */
function decades(_, splits) {
  return splits.map((v) => (Number.isInteger(Math.round(Math.log10(v) * 1e6) / 1e6) ? v : null));
}

function rebuildAll() {
  for (const chart of charts) chart.rebuild();
}

for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)", "print"]) {
  matchMedia(query).addEventListener("change", rebuildAll);
}
new MutationObserver(rebuildAll).observe(document.documentElement, {
  attributes: true,
  attributeFilter: ["data-theme", "class"],
});
