// The operations page: polls one JSON document and shows it in the page that the server rendered.
import { drawChart } from "./charts.js";
import { request, waysOf } from "./request.js";
import { html, render } from "./vendor/htm/standalone.module.js";
import { MISSING, buildTime, showTimes } from "./view.js";

const POLL_MS = 5000;
const SILENT_MS = 15_000;
const MINUTE_MS = 60_000;
const WORDS = { ok: "✓ OK", warn: "▲ Check", bad: "✕ Problem", unknown: "○ Unknown" };
const LEGS = {
  event_to_score: "Event to score",
  score_to_dashboard: "Score to dashboard",
  event_to_dashboard: "Event to dashboard",
};

const $ = (id) => document.getElementById(id);
const count = (value) => (value == null ? MISSING : Math.round(value).toLocaleString("en-US"));
const short = (value) => new Intl.NumberFormat("en-US", { notation: "compact" }).format(value);
const percent = (share) => `${(share * 100).toFixed(1)} %`;
const time = (millis) => buildTime(html, millis);
const num = (text) => html`<td class="num">${text}</td>`;
const some = (rows, columns, none) => (
  rows.length ? rows : html`<tr><td class="dim" colspan=${columns}>${none}</td></tr>`
);

/** `38 ms`, `1.2 s`, `3.5 min` or `2.1 h`, as the server writes it. */
function delay(millis) {
  if (millis < 1000) return `${Math.round(millis)} ms`;
  if (millis < 60_000) return `${(millis / 1000).toFixed(1)} s`;
  return millis < 3_600_000 ? `${(millis / 60_000).toFixed(1)} min` : `${(millis / 3_600_000).toFixed(1)} h`;
}

/** `0 to 3, 7`. */
function ranges(numbers) {
  const spans = [];
  for (const number of numbers) {
    const last = spans.at(-1);
    if (last && number === last[1] + 1) last[1] = number;
    else spans.push([number, number]);
  }
  return spans.map(([a, b]) => (b > a ? `${a} to ${b}` : `${a}`)).join(", ");
}

const about = ({ problem, since, as_of: asOf }, what) => html`
  ${problem && html`<span class="no">Cannot read ${what}${since && html` since ${time(since)}`}: ${problem}. </span>`}
  ${asOf ? html`As of ${time(asOf)}. ` : !problem && "Not read yet. "}`;

const legOf = (delays) => ["event_to_score", "score_to_dashboard"].find((key) => delays[key]);

/** What each place of the page shows, by its id. What is undefined stays as the server rendered it. */
const VIEWS = {
  checks: ({ checks }) => checks.map(({ name, state, text, since }) => html`
    <li class=${state}><b>${name}</b> <span class="state">${WORDS[state]}</span><span class="text">${text}${since && html`, since ${time(since)}`}</span></li>`),
  "f-waiting": ({ backlog }) => count(backlog.waiting),
  "f-scored": ({ throughput }) => String(throughput.scored_per_second),
  "f-flagged": ({ throughput }) => String(throughput.flagged_per_second),
  "f-leg": ({ delays }) => `${LEGS[legOf(delays) ?? "event_to_score"]}, p95`,
  "f-p95": ({ delays }) => (legOf(delays) ? delay(delays[legOf(delays)].p95_ms) : MISSING),
  "f-dead": ({ dead_letters: dead }) => count(dead.records),
  "f-drift": ({ drift }) => (drift?.index == null ? MISSING : drift.index.toFixed(3)),
  "f-verdict": ({ drift }) => (drift ? drift.verdict : "no reference"),
  "backlog-about": ({ backlog }) => about(backlog, "the backlog"),
  backlog: ({ backlog }) => some(backlog.partitions.map((row) => html`
    <tr><th scope="row" class="num">${row.partition}</th>${[row.committed, row.end, row.waiting].map((n) => num(count(n)))}</tr>`),
  4, "No partition read yet."),
  delays: ({ delays }) => Object.entries(LEGS).map(([key, name]) => html`
    <tr><th scope="row">${name}</th>${delays[key]
      ? [...["p50_ms", "p95_ms", "p99_ms"].map((p) => num(delay(delays[key][p]))), num(count(delays[key].count))]
      : html`<td class="dim" colspan="4">${key === "score_to_dashboard" ? "nothing measured" : "no input has an event time"}</td>`}</tr>`),
  live: ({ versions: { live } }) =>
    live.map((row) => `${row.version} on ${ranges(row.partitions)}`).join("; ") + (live.length ? "." : ""),
  promoted: ({ versions }) => versions.promoted || undefined,
  versions: ({ versions }) => some(versions.partitions.map((row) => html`
    <tr><th scope="row" class="num">${row.partition}</th>
    <td>${row.version}${!row.is_promoted && html`<span class="warn-text"> not promoted</span>`}</td>
    <td>${time(row.since)}</td><td>${time(row.last)}</td>
    <td>${row.before.length ? row.before.map((old, i) => html`${i ? ", " : ""}${old.version} until ${time(old.last)}`) : MISSING}</td></tr>`),
  5, "No score read since the start of this dashboard."),
  "drift-about": ({ drift }) => drift && html`Population stability index of ${drift.version} against its reference of ${count(drift.reference_rows)} rows, from ${count(drift.scores)} sampled scores since ${time(drift.since)}. Below 0.1 is stable, above 0.25 a large shift${drift.index == null ? `; it needs ${count(drift.needed)} scores` : ""}.`,
  drift: ({ drift }) => drift?.shares.map((share, i) => html`
    <tr><th scope="row">${i ? drift.edges[i - 1].toFixed(4) : "0"}</th>${num(percent(share))}${num(percent(drift.expected[i]))}</tr>`),
  "dead-about": ({ dead_letters: dead }) => html`${about(dead, "dead letters")}One in full: <code>stream-scorer dlq show PLACE</code>`,
  dead: ({ dead_letters: dead }) => some(dead.newest.map((row) => html`
    <tr><td>${time(row.time)}</td><th scope="row">${row.place}</th><td>${row.stage}</td><td class="wrap">${row.reason}</td><td>${row.input}</td>${num(count(row.value_bytes))}</tr>`),
  6, "None."),
  "desk-state": ({ desk }) => desk.desk_state,
  "desk-feed": ({ desk: { feed } }) =>
    (feed.state === "rebuilding" ? `${feed.state} ${Math.floor(feed.done * 100)} %` : feed.state),
  "ops-state": ({ now }) => html`As of ${time(now)}. Updates every ${POLL_MS / 1000} s.`,
};

const taken = new Set(); // places that no longer have what the server rendered

function show(ops) {
  for (const [id, view] of Object.entries(VIEWS)) {
    const place = $(id);
    const shown = view(ops) ?? undefined;
    if (!place || shown === undefined) continue;
    if (!taken.has(id)) place.replaceChildren();
    taken.add(id);
    render(shown, place);
  }
  for (const place of document.querySelectorAll("[data-desk]")) {
    place.textContent = count(ops.desk[place.dataset.desk]);
  }
  draw(ops);
  showTimes();
}

const HOUR = 3600; // seconds
let charts = null;
let waiting = 0; // records now
let now = 0; // epoch seconds

/** The whole minutes of the last hour. Those without a score are not among the ones that are given. */
function minutesOf({ now: at, throughput: { minutes } }) {
  const known = new Map(minutes.map((minute) => [minute[0], minute]));
  const end = Math.floor(at / MINUTE_MS) * MINUTE_MS;
  return Array.from({ length: 60 }, (_, i) => end - (60 - i) * MINUTE_MS).map((start) => known.get(start) ?? [start, 0, 0]);
}

/** When a version took over a partition, once for each version: lines in both charts. */
function marksOf({ versions: { partitions } }) {
  const first = new Map();
  for (const { version, since, before } of partitions) {
    if (before.length > 0 && since < (first.get(version) ?? Infinity)) first.set(version, since);
  }
  return [...first].map(([version, since]) => ({ x: since / 1000, label: version, isDashed: true }));
}

function draw(ops) {
  const backlog = [ops.backlog.history.map(([at]) => at / 1000), ops.backlog.history.map(([, n]) => n)];
  const minutes = minutesOf(ops);
  const scores = [minutes.map(([at]) => at / 1000), minutes.map((m) => m[1]), minutes.map((m) => m[2])];
  waiting = backlog[1].at(-1);
  now = ops.now / 1000;
  const marks = marksOf(ops);
  if (charts) {
    for (const [name, data] of [["backlog", backlog], ["scores", scores]]) charts[name].update({ data, marks, rest: data[0].length - 1 });
    return;
  }
  if (!globalThis.uPlot) return;
  $("charts").hidden = false;
  const x = { label: "Time (UTC)", isTime: true, range: () => [now - HOUR, now] };
  const y = { format: short, range: (_, __, most) => [0, Math.max(10, most * 1.1)] };
  charts = {
    backlog: drawChart($("chart-backlog"), {
      x, y, marks, data: backlog, rest: backlog[0].length - 1, series: [{ label: "Waiting", kind: "steps", format: count }],
      describe: () => `${count(waiting)} records now`,
    }),
    scores: drawChart($("chart-throughput"), {
      x, y, marks, data: scores, rest: scores[0].length - 1,
      series: [{ label: "Scored", format: count }, { label: "Flagged", token: "--chart-2", format: count }],
    }),
  };
}

let answered = performance.now();

async function poll() {
  const problem = $("ops-problem");
  try {
    const found = await request("/api/v1/operations");
    answered = performance.now();
    problem.hidden = true;
    show(found);
  } catch (error) {
    if (performance.now() - answered >= SILENT_MS || error.kind !== "offline") {
      const ago = Math.round((performance.now() - answered) / 1000);
      const ways = waysOf(error).map(({ name, href }) => html` <a href=${href}>${name}</a>`);
      problem.hidden = false;
      render(html`No newer figures for ${ago} s. ${error.message} Trying again every ${POLL_MS / 1000} s.${ways}`, problem);
    }
  }
  setTimeout(poll, POLL_MS);
}

if ($("ops-state")) poll();
