// What the page says about itself: the connection, the numbers at the top, and every state in which
// the list is not what it seems to be. Ages are counted here, between two ticks and without them.

import {
  MISSING, formatCount, formatDuration, formatMoment, formatThreshold, loadTexts,
} from "./view.js";

const SILENT_MS = 5000; // of the dashboard, which sends at least one tick a second
const IDLE_MS = 60_000; // of the scorer
const IDLE_WITH_BACKLOG_MS = 10_000;
const BEHIND_MS = 30_000;
const SKEW_MS = 5000;
const CHANGED_MS = 600_000;
const TRIES_BEFORE_POLLING = 3;
const SPARK_MS = 5000;
const SPARK_POINTS = 180; // 15 minutes

/**
 * Subscribe to ticks, through the worker that all tabs share. Without SharedWorker the page opens a
 * stream for itself, and closes it while the page is hidden.
 */
export async function subscribe(after, onEvent, onState) {
  let last = after;
  const note = (event) => {
    last = event.id;
    onEvent(event);
  };
  const connect = globalThis.SharedWorker ? shareStream : openStream;
  const { open, close } = await connect(note, onState);
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open(last));
  open(last);
}

function shareStream(onEvent, onState) {
  const worker = new SharedWorker("/static/stream-worker.js", { type: "module", name: "stream" });
  worker.port.onmessage = ({ data }) => (data.event ? onEvent(data.event) : onState(data.state));
  return {
    open: (after) => worker.port.postMessage({ open: true, after }),
    close: () => worker.port.postMessage({ open: false }),
  };
}

async function openStream(onEvent, onState) {
  const { Source } = await import("./stream-worker.js");
  const source = new Source(onEvent, onState);
  const open = (after) => source.open(after);
  const close = () => source.close();
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  return { open, close };
}

/** The state of the page: fed by ticks, the connection and polls; read once a second. */
export class Status {
  #vitals;
  #heard = performance.now(); // when the last tick arrived
  #skew = 0; // the server's clock minus this one
  #connection = { state: "lost", tries: 0 };
  #lostAt = null;
  #pollFailedAt = null;
  #model = null;
  #changes = [];
  #asOf = 0; // the server's time of the last news from it
  #left = null; // [when, records left] at the start of a rebuild

  constructor(vitals, { isPinned }) {
    this.isPinned = isPinned;
    this.isOps = ["ops", "lead"].includes(document.body.dataset.role);
    this.spark = new Spark(document.getElementById("spark"));
    this.update(vitals);
  }

  get now() {
    return Date.now() + this.#skew;
  }

  get vitals() {
    return this.#vitals;
  }

  /** Whether the list is fetched every few seconds instead of followed. */
  get isPolling() {
    return this.#connection.state !== "live" && this.#connection.tries >= TRIES_BEFORE_POLLING;
  }

  get silentMs() {
    return performance.now() - this.#heard;
  }

  update(vitals) {
    this.#vitals = vitals;
    this.#heard = performance.now();
    this.#asOf = vitals.now;
    this.#skew = vitals.now - Date.now();
    this.#noteChanges(vitals);
    this.#measureRebuild(vitals);
    loadTexts(vitals.model.version);
    this.spark.add(this.now, vitals.rate.flagged);
  }

  connect(state) {
    this.#lostAt = state.state === "live" ? null : (this.#lostAt ?? this.now);
    if (state.state === "live") {
      this.#pollFailedAt = null;
      this.#heard = Math.max(this.#heard, performance.now());
    }
    this.#connection = state;
  }

  /** A poll succeeded or failed. */
  notePoll(isOk) {
    if (isOk) this.#asOf = this.now;
    this.#pollFailedAt = isOk ? null : (this.#pollFailedAt ?? this.now);
  }

  /** [state, text] of the line that says whether rows appear. */
  describeLive(hold) {
    const { state, tries } = this.#connection;
    if (state !== "live") {
      if (this.#pollFailedAt !== null) return ["lost", "Not updating: polling fails"];
      if (tries === 0) return ["off", "Connecting"];
      if (this.isPolling) return ["lost", "Polling every 5 s"];
      return ["lost", `Reconnecting (try ${tries})`];
    }
    if (this.silentMs > SILENT_MS) {
      return ["lost", `No answer for ${formatDuration(Math.floor(this.silentMs / 1000) * 1000)}`];
    }
    const { feed } = this.#vitals;
    if (feed.state === "waiting") return ["lost", `As of ${formatMoment(feed.read_at ?? feed.since)}`];
    if (hold.has("paused")) return ["paused", "Paused"];
    return hold.isActive ? ["held", `Held: ${hold.why}`] : ["live", "Live"];
  }

  /** Every state that the reader must know of: [kind, title, text], the most serious first. */
  describe() {
    const { feed, model } = this.#vitals;
    const shown = [...this.#describeConnection(), ...this.#describeFeed(feed)];
    if (model.rejected) {
      const { rejected, reason, serving } = model.rejected;
      const instead = serving ? `${serving} is serving instead.` : "No model is serving.";
      shown.push(["red", `Model ${rejected} rejected`, `: ${reason}. ${instead}`]);
    }
    if (model.override) shown.push(describeOverride(model.override));
    if (!model.version) {
      const why = this.isOps ? `: ${model.detail}.` : ".";
      shown.push(["red", "No model loaded", `${why} You can still read the list and decide. Check and /predict are unavailable.`]);
    }
    const waiting = this.#vitals.waiting ?? 0;
    if (waiting > 0) {
      const few = waiting === 1 ? "1 decision" : `${formatCount(waiting)} decisions`;
      shown.push(["amber", `${few} waiting to be recorded`, ": the labels topic cannot be written at present. Decisions are kept on disk and recorded automatically."]);
    }
    for (const { at, title, text } of this.#changes) {
      if (this.now - at < CHANGED_MS) shown.push(["info", title, text()]);
    }
    if (Math.abs(this.#skew) > SKEW_MS) {
      const side = this.#skew > 0 ? "behind" : "ahead of";
      const by = formatDuration(Math.round(Math.abs(this.#skew) / 1000) * 1000);
      shown.push(["info", "Clock difference", `: this computer's clock is ${by} ${side} the server's. Ages on this page use the server's clock.`]);
    }
    return shown;
  }

  #describeConnection() {
    const asOf = `The list is as of ${formatMoment(this.#asOf)}.`;
    if (this.#pollFailedAt !== null) {
      return [["red", "The dashboard does not answer", `since ${formatMoment(this.#pollFailedAt)}. ${asOf} Trying again every 5 s.`]];
    }
    if (this.isPolling) {
      return [["amber", "Live updates lost", `since ${formatMoment(this.#lostAt)}. The list is fetched every 5 s instead.`]];
    }
    if (this.#connection.state === "live" && this.silentMs > SILENT_MS) {
      return [["amber", "No answer from the dashboard", `since ${formatMoment(this.#asOf)}. ${asOf}`]];
    }
    return [];
  }

  #describeFeed(feed) {
    const lag = this.#vitals.lag_ms ?? 0;
    if (feed.state === "starting") return [["info", "Connecting", "to Kafka…"]];
    if (feed.state === "waiting") {
      const asOf = feed.read_at === null ? "" : `, as of ${formatMoment(feed.read_at)}`;
      const why = this.isOps && feed.detail ? ` (${feed.detail})` : "";
      return [["amber", "Disconnected from Kafka", `since ${formatMoment(feed.since)}${why}. The list shows the last data received${asOf}. Decisions are kept and recorded later. Reconnecting automatically.`]];
    }
    if (feed.state === "rebuilding") {
      return [["info", `Rebuilding ${Math.floor(feed.done * 100)} %`, `${this.#describeRest()}. Counts are provisional. You can already decide.`]];
    }
    if (lag > BEHIND_MS && this.#vitals.lag > 0) {
      return [["amber", "This dashboard is behind", `: ${formatCount(this.#vitals.lag)} scores are not read yet. Transactions appear ${formatDuration(lag)} late.`]];
    }
    return this.#describeScorer(feed);
  }

  #describeScorer({ read_at: readAt }) {
    if (readAt === null) return [];
    const { scorer, backlog = null, backlog_detail: detail } = this.#vitals;
    const idle = this.now - readAt;
    const isSilent = scorer?.state === "silent" || (backlog > 0 && idle > IDLE_WITH_BACKLOG_MS);
    if (isSilent) {
      const since = formatMoment(Math.min(readAt, scorer?.since ?? readAt));
      return [["amber", "The scorer is silent", `since ${since}, and ${formatCount(backlog ?? 0)} transactions wait for a score. It may have stopped.`]];
    }
    if (idle <= IDLE_MS) return [];
    if (backlog === 0) return [["info", "No new transactions", `since ${formatMoment(readAt)}. None is waiting for a score.`]];
    const why = this.isOps && detail ? ` How many wait is unknown: ${detail}.` : "";
    return [["amber", "No new scores", `since ${formatMoment(readAt)}. The scorer or its input may have stopped.${why}`]];
  }

  #describeRest() {
    const left = this.#vitals.lag;
    const text = `: ${formatCount(left)} scores left`;
    if (!this.#left || this.#left[1] <= left) return text;
    const perMs = (this.#left[1] - left) / (this.now - this.#left[0]);
    return `${text}, about ${formatDuration(Math.max(1000, left / perMs))}`;
  }

  #measureRebuild({ feed, lag }) {
    if (feed.state !== "rebuilding") this.#left = null;
    else if (lag > 0) this.#left ??= [this.now, lag];
  }

  #noteChanges({ stream }) {
    if (!stream) return;
    const before = this.#model;
    this.#model = stream;
    if (before === null) return;
    const at = this.now;
    if (before.model_version !== stream.model_version) {
      this.#note(at, "Model changed", `from ${before.model_version} to ${stream.model_version}`);
    }
    for (const [name, label] of [["review_threshold", "Review"], ["block_threshold", "Block"]]) {
      const [from, to] = [before[name], stream[name]];
      if (from === to) continue;
      const texts = [formatThreshold(from, to), formatThreshold(to, from)];
      this.#note(at, `${label} threshold changed`, `from ${texts[0]} to ${texts[1]}`);
    }
  }

  #note(at, title, what) {
    const text = () => `${what} at ${formatMoment(at)}. Earlier rows keep their own model and thresholds.`;
    this.#changes = [{ at, title, text }, ...this.#changes.filter((other) => other.title !== title)].slice(0, 3);
    this.spark.mark(at);
  }

  /** Show the numbers and the banners. Called with each tick and once a second. */
  show() {
    const { totals, rate, feed, stream, model } = this.#vitals;
    put("v-rate", formatRate(rate.scored));
    put("v-flag-rate", formatRate(rate.flagged));
    put("v-share", rate.scored > 0 ? `${((100 * rate.flagged) / rate.scored).toFixed(1)} %` : "");
    put("v-scored", formatCount(totals.scored));
    put("v-flagged", formatCount(totals.flagged));
    put("v-unreadable", formatCount(totals.unreadable));
    document.getElementById("unreadable").hidden = totals.unreadable === 0;
    const { review_threshold: review, block_threshold: block } = stream ?? model;
    put("v-model", stream?.model_version ?? model.version ?? "none");
    put("v-review", formatThreshold(review, block));
    put("v-block", formatThreshold(block, review));
    const backlog = this.#vitals.backlog ?? null;
    put("v-backlog", backlog === null ? MISSING : formatCount(backlog));
    put("v-delay", this.#describeDelay(feed, backlog));
    const oldest = Number(document.getElementById("v-oldest").dataset.ms);
    put("v-oldest", oldest ? formatDuration(Math.max(0, this.now - oldest)) : MISSING);
    document.body.classList.toggle("stale", feed.state === "waiting" || this.#pollFailedAt !== null);
    showBanners(this.describe());
    showDistribution(this.#vitals.hist, review, block);
  }

  /** How late rows appear. While transactions wait for a score, it grows from the last one on. */
  #describeDelay({ read_at: readAt }, backlog) {
    const delay = this.#vitals.delay_ms ?? this.#vitals.lag_ms;
    if (delay == null) return MISSING;
    const waits = backlog > 0 && readAt !== null ? this.now - readAt : 0;
    return formatDuration(Math.max(delay, waits));
  }
}

function formatRate(value) {
  return value >= 100 ? formatCount(Math.round(value)) : value.toFixed(1);
}

/** The banner for a model that was promoted by force, or that its gate refused. */
function describeOverride({ version, refusals, by, reason, at }) {
  const why = refusals.join("; ");
  if (by === null) return ["amber", `Model ${version} refused by its gate`, `: ${why}.`];
  const gate = refusals.length ? `. Its gate refused it: ${why}` : "";
  return ["amber", `Model ${version} promoted by force`, `by ${by} at ${at}: ${reason}${gate}.`];
}

function showBanners(shown) {
  const area = document.getElementById("banners");
  const key = JSON.stringify(shown);
  if (area.dataset.key === key) return;
  area.dataset.key = key;
  area.replaceChildren(...shown.map(([kind, title, text]) => {
    const banner = document.createElement("p");
    banner.className = `banner ${kind}`;
    const bold = document.createElement("b");
    bold.textContent = title;
    banner.append(bold, /^[:.]/.test(text) ? text : ` ${text}`);
    return banner;
  }));
}

let drawn = "";

/** How all scores are distributed, with both thresholds. */
function showDistribution(bins, review, block) {
  const key = `${bins}|${review}|${block}`;
  const most = Math.max(...bins);
  const figure = document.getElementById("dist");
  if (key === drawn || most === 0 || !figure) return;
  drawn = key;
  figure.hidden = false;
  const width = 200 / bins.length;
  const shapes = bins.map((count, i) => {
    const height = (38 * Math.log1p(count)) / Math.log1p(most);
    const bar = shape("rect", { x: i * width, y: 40 - height, width: width - 0.6, height });
    const at = (i + 0.5) / bins.length;
    if (at >= block) bar.setAttribute("class", "block");
    else if (at >= review) bar.setAttribute("class", "review");
    return bar;
  });
  for (const at of [review, block]) {
    if (at != null) shapes.push(shape("line", { x1: at * 200, x2: at * 200, y1: 0, y2: 40 }));
  }
  figure.querySelector("svg").replaceChildren(...shapes);
  const rows = figure.querySelector("tbody");
  rows.replaceChildren(...bins.flatMap((count, i) => (count === 0 ? [] : [tableRow(count, i, bins.length)])));
}

function tableRow(count, i, bins) {
  const row = document.createElement("tr");
  const range = `${(i / bins).toFixed(2)} to ${((i + 1) / bins).toFixed(2)}`;
  for (const text of [range, formatCount(count)]) row.insertCell().textContent = text;
  return row;
}

/** Flagged transactions per second over the last 15 minutes. */
class Spark {
  #points = [];
  #marks = [];

  constructor(figure) {
    this.svg = figure?.querySelector("svg");
    this.figure = figure;
    // What the server counted before this page was opened, by minute.
    this.#points = JSON.parse(figure?.dataset.series ?? "[]");
  }

  mark(at) {
    this.#marks.push(at);
  }

  add(now, value) {
    const last = this.#points.at(-1);
    if (!this.svg || (last && now - last[0] < SPARK_MS)) return;
    const oldest = now - SPARK_MS * SPARK_POINTS;
    this.#points = [...this.#points.filter(([at]) => at >= oldest && at < now), [now, value]];
    if (this.#points.length < 2) return;
    this.figure.hidden = false;
    const most = Math.max(...this.#points.map(([, each]) => each), 0.1);
    const x = (at) => (120 * (at - oldest)) / (now - oldest);
    const points = this.#points.map(([at, each]) => `${x(at).toFixed(1)},${(31 - (29 * each) / most).toFixed(1)}`);
    const marks = this.#marks.filter((at) => at > oldest);
    this.svg.replaceChildren(
      shape("polyline", { points: points.join(" ") }),
      ...marks.map((at) => shape("line", { x1: x(at), x2: x(at), y1: 0, y2: 32 })),
    );
  }
}

export function put(id, text) {
  const element = document.getElementById(id);
  if (element && element.textContent !== String(text)) element.textContent = text;
}

function shape(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
