// The operations page: polls one JSON document and writes it into the page that the server rendered.
import { drawChart } from "./charts.js";
import { buildTime, formatMoment, showTimes } from "./view.js";

const POLL_MS = 5000;
const SILENT_MS = 15_000;
const MISSING = "—";
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

function write(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

/** A cell: text, or {text, kind: class name, header, span, note, nodes}. */
function cell(value) {
  const { text, kind, header, span, note, nodes } = typeof value === "object" ? value : { text: value };
  const made = document.createElement(header ? "th" : "td");
  if (header) made.scope = "row";
  if (kind) made.className = kind;
  if (span) made.colSpan = span;
  if (nodes) made.append(...nodes);
  else made.textContent = text;
  if (note) {
    const mark = document.createElement("span");
    mark.className = "warn-text";
    mark.textContent = ` ${note}`;
    made.append(mark);
  }
  return made;
}

function fill(id, rows, empty, columns) {
  const shown = rows.length ? rows : [[{ text: empty, kind: "dim", span: columns }]];
  $(id).replaceChildren(...shown.map((values) => {
    const row = document.createElement("tr");
    row.append(...values.map(cell));
    return row;
  }));
}

const num = (text) => ({ text, kind: "num" });
const time = (millis) => ({ nodes: [buildTime(millis)] });

function about(id, { problem, since, as_of: asOf }, what, more = "") {
  const place = $(id);
  place.replaceChildren();
  if (problem) {
    const said = document.createElement("span");
    said.className = "no";
    said.append(`Cannot read ${what}`, ...(since ? [" since ", buildTime(since)] : []), `: ${problem}. `);
    place.append(said);
  }
  if (asOf) place.append("As of ", buildTime(asOf), ". ");
  else if (!problem) place.append("Not read yet. ");
  place.append(more);
}

function showChecks(checks) {
  $("checks").replaceChildren(...checks.map(({ name, state, text, since }) => {
    const item = document.createElement("li");
    item.className = state;
    const title = document.createElement("b");
    title.textContent = name;
    const word = document.createElement("span");
    word.className = "state";
    word.textContent = WORDS[state];
    const said = document.createElement("span");
    said.className = "text";
    said.append(text, ...(since ? [", since ", buildTime(since)] : []));
    item.append(title, " ", word, said);
    return item;
  }));
}

function showDelays(delays) {
  fill("delays", Object.entries(LEGS).map(([key, name]) => {
    const row = delays[key];
    const title = { text: name, header: true };
    if (row) return [title, ...[row.p50_ms, row.p95_ms, row.p99_ms].map((v) => num(delay(v))), num(count(row.count))];
    const why = key === "score_to_dashboard" ? "nothing measured" : "no input has an event time";
    return [title, { text: why, kind: "dim", span: 4 }];
  }));
}

function showVersions({ partitions, live, promoted }) {
  write("live", live.map((row) => `${row.version} on ${ranges(row.partitions)}`).join("; ") + (live.length ? "." : ""));
  if (promoted && $("promoted")) write("promoted", promoted);
  fill("versions", partitions.map((row) => [
    { text: row.partition, header: true, kind: "num" },
    { text: row.version, note: row.is_promoted ? "" : "not promoted" },
    time(row.since),
    time(row.last),
    { nodes: row.before.length ? row.before.flatMap((old, i) => [`${i ? ", " : ""}${old.version} until `, buildTime(old.last)]) : [MISSING] },
  ]), "No score read since the start of this dashboard.", 5);
}

function showDrift(drift) {
  write("f-drift", drift?.index == null ? MISSING : drift.index.toFixed(3));
  write("f-verdict", drift ? drift.verdict : "no reference");
  if (!drift) return;
  const more = drift.index == null ? `; it needs ${count(drift.needed)} scores` : "";
  write("drift-about", `Population stability index of ${drift.version} against its reference of `
    + `${count(drift.reference_rows)} rows, from ${count(drift.scores)} sampled scores since `
    + `${formatMoment(drift.since)}. Below 0.1 is stable, above 0.25 a large shift${more}.`);
  fill("drift", drift.shares.map((share, i) => [
    { text: i ? drift.edges[i - 1].toFixed(4) : "0", header: true },
    num(percent(share)),
    num(percent(drift.expected[i])),
  ]));
}

function showDeadLetters(found) {
  const command = document.createElement("code");
  command.textContent = "stream-scorer dlq show PLACE";
  about("dead-about", found, "dead letters", "One in full: ");
  $("dead-about").append(command);
  fill("dead", found.newest.map((row) => [
    time(row.time), { text: row.place, header: true }, row.stage,
    { text: row.reason, kind: "wrap" }, row.input, num(count(row.value_bytes)),
  ]), "None.", 6);
}

function show(ops) {
  showChecks(ops.checks);
  write("f-waiting", count(ops.backlog.waiting));
  write("f-scored", String(ops.throughput.scored_per_second));
  write("f-flagged", String(ops.throughput.flagged_per_second));
  const leg = ["event_to_score", "score_to_dashboard"].find((key) => ops.delays[key]);
  write("f-leg", `${LEGS[leg ?? "event_to_score"]}, p95`);
  write("f-p95", leg ? delay(ops.delays[leg].p95_ms) : MISSING);
  write("f-dead", count(ops.dead_letters.records));
  about("backlog-about", ops.backlog, "the backlog");
  fill("backlog", ops.backlog.partitions.map((row) => [
    { text: row.partition, header: true, kind: "num" },
    num(count(row.committed)), num(count(row.end)), num(count(row.waiting)),
  ]), "No partition read yet.", 4);
  showDelays(ops.delays);
  showVersions(ops.versions);
  showDrift(ops.drift);
  showDeadLetters(ops.dead_letters);
  for (const place of document.querySelectorAll("[data-desk]")) {
    place.textContent = count(ops.desk[place.dataset.desk]);
  }
  const { state, done } = ops.desk.feed;
  write("desk-state", ops.desk.desk_state);
  write("desk-feed", state === "rebuilding" ? `${state} ${Math.floor(done * 100)} %` : state);
  draw(ops);
  showTimes();
}

let charts = null;

function draw(ops) {
  const backlog = [ops.backlog.history.map(([at]) => at / 1000), ops.backlog.history.map(([, n]) => n)];
  const minutes = ops.throughput.minutes.filter(([at]) => at + 60_000 <= ops.now); // whole ones
  const scores = [minutes.map(([at]) => at / 1000), minutes.map((m) => m[1]), minutes.map((m) => m[2])];
  if (charts) {
    charts.backlog.update({ data: backlog });
    charts.scores.update({ data: scores });
    return;
  }
  if (!globalThis.uPlot) return;
  $("charts").hidden = false;
  const x = { label: "Time (UTC)", isTime: true };
  const y = { format: short, range: (_, __, most) => [0, Math.max(10, most * 1.1)] };
  charts = {
    backlog: drawChart($("chart-backlog"), {
      x, y, data: backlog, series: [{ label: "Waiting", kind: "steps", format: count }],
      describe: () => `${count(backlog[1].at(-1))} records now`,
    }),
    scores: drawChart($("chart-throughput"), {
      x, y, data: scores,
      series: [{ label: "Scored", format: count }, { label: "Flagged", token: "--chart-2", format: count }],
    }),
  };
}

let answered = Date.now();

async function poll() {
  try {
    const answer = await fetch("/api/v1/operations", { signal: AbortSignal.timeout(10_000) });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.detail);
    answered = Date.now();
    $("ops-state").replaceChildren("As of ", buildTime(found.now), `. Updates every ${POLL_MS / 1000} s.`);
    $("ops-problem").hidden = true;
    show(found);
  } catch (error) {
    if (Date.now() - answered >= SILENT_MS || !(error instanceof TypeError)) {
      const ago = Math.round((Date.now() - answered) / 1000);
      $("ops-problem").hidden = false;
      write("ops-problem", `No newer figures for ${ago} s: ${error.message}. Trying again every ${POLL_MS / 1000} s.`);
    }
  }
  setTimeout(poll, POLL_MS);
}

if ($("ops-state")) poll();
