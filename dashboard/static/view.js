// Formats values and shows the state of the stream, as the server's templates do.

const amounts = new Intl.NumberFormat("en-US", {
  minimumFractionDigits: 2,
  maximumFractionDigits: 2,
});
const counts = new Intl.NumberFormat("en-US");
const GLYPHS = { low: "", elevated: "▲", high: "▲▲", critical: "▲▲▲" };
const SILENT_MS = 60_000;
const LOAD_AGAIN_MS = 15_000;

export const MISSING = "—";
export const formatCount = (value) => counts.format(value);
export const formatAmount = (value) => (value === null ? MISSING : amounts.format(value));
export const formatValue = (value) => (value === null || value === "" ? MISSING : String(value));
export const formatThreshold = (value) => (value == null ? MISSING : String(Number(value.toPrecision(6))));
export const formatArrow = (value) => (value > 0 ? "↑" : "↓");
export const formatSigned = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
export const capitalize = (text) => text.charAt(0).toUpperCase() + text.slice(1).toLowerCase();

/** `2026-11-23 14:03:21`, in UTC. */
export function formatTime(millis) {
  const date = new Date(millis);
  if (Number.isNaN(date.getTime())) return `${millis} ms`;
  return date.toISOString().slice(0, 19).replace("T", " ");
}

/** Two or more decimals, so that rounding neither crosses a threshold nor reaches 1. */
export function formatScore(score, ...thresholds) {
  thresholds.push(1);
  for (let digits = 2; digits < 17; digits += 1) {
    const text = score.toFixed(digits);
    if (thresholds.every((t) => Number(text) >= t === score >= t)) return text;
  }
  return String(score);
}

/** `0.4 s`, `12 s`, `3 min`, `2 h`. */
export function formatDuration(millis) {
  if (millis < 10_000) return `${(Math.max(0, millis) / 1000).toFixed(1)} s`;
  if (millis < 120_000) return `${Math.round(millis / 1000)} s`;
  if (millis < 7_200_000) return `${Math.round(millis / 60_000)} min`;
  return `${Math.round(millis / 3_600_000)} h`;
}

export function fillBadge(badge, risk) {
  badge.className = `risk ${GLYPHS[risk] === undefined ? "low" : risk}`;
  badge.textContent = "";
  if (GLYPHS[risk]) {
    const glyph = document.createElement("span");
    glyph.setAttribute("aria-hidden", "true");
    glyph.textContent = GLYPHS[risk];
    badge.append(glyph, " ");
  }
  badge.append(capitalize(risk));
}

let texts = new Map();
let textsVersion = null;
let loadNext = 0;
setTexts(JSON.parse(document.querySelector("[data-features]")?.dataset.features ?? "null"));

/** A feature in words, or its name if the loaded model does not have it. */
export const describeFeature = (name) => texts.get(name) ?? name;

/** What is shown over a feature: all of its text, and its name in the model. */
export const titleOf = (name) => (texts.has(name) ? `${texts.get(name)} · ${name}` : name);

/** Get the texts of this version's features, unless the page has them. */
export async function loadTexts(version) {
  if (!version || version === textsVersion || Date.now() < loadNext) return;
  loadNext = Date.now() + LOAD_AGAIN_MS; // another instance may answer, which has another version
  try {
    const response = await fetch("/api/v1/features");
    if (response.ok) setTexts(await response.json());
  } catch {
    // The page goes on with the texts that it has.
  }
}

function setTexts(found) {
  if (!found) return;
  texts = new Map(Object.entries(found.texts));
  textsVersion = found.model_version;
}

/** Shows the state of the stream from each tick: numbers, banners, score distribution. */
export class View {
  #model = null;
  #changed = null;
  #bars = "";

  constructor() {
    this.banners = document.getElementById("banners");
  }

  update(vitals) {
    const { totals, feed, stream, model } = vitals;
    loadTexts(model.version);
    put("v-rate", vitals.rate.scored.toFixed(1));
    put("v-flag-rate", vitals.rate.flagged.toFixed(1));
    put("v-scored", formatCount(totals.scored));
    put("v-flagged", formatCount(totals.flagged));
    put("v-share", totals.scored ? `${((100 * totals.flagged) / totals.scored).toFixed(1)} %` : "");
    put("v-lag", formatCount(vitals.lag));
    put("v-age", feed.read_at === null ? MISSING : formatDuration(vitals.now - feed.read_at));
    put("v-delay", vitals.lag_ms === null ? MISSING : formatDuration(vitals.lag_ms));
    put("v-unreadable", formatCount(totals.unreadable));
    document.getElementById("unreadable").hidden = totals.unreadable === 0;
    put("v-model", stream?.model_version ?? model.version ?? "none");
    put("v-review", formatThreshold((stream ?? model).review_threshold));
    document.body.classList.toggle("stale", feed.state === "waiting");
    this.#noteModel(stream, vitals.now);
    this.#showBanners(vitals);
    this.#showDistribution(vitals.hist, stream?.review_threshold);
  }

  #noteModel(stream, now) {
    if (!stream) return;
    if (this.#model !== null && this.#model !== stream.model_version) {
      const from = this.#model;
      const to = stream.model_version;
      this.#changed = { now, text: `from ${from} to ${to} at ${formatTime(now)} UTC.` };
    }
    this.#model = stream.model_version;
  }

  #showBanners({ feed, model, now }) {
    const shown = [];
    if (feed.state === "waiting") {
      const since = `since ${formatTime(feed.since)} UTC: ${feed.detail}.`;
      shown.push(["amber", "Disconnected from Kafka",
        `${since} The list shows the last data received. Reconnecting automatically.`]);
    } else if (feed.state === "rebuilding") {
      shown.push(["info", "Rebuilding",
        `${Math.floor(feed.done * 100)} %. Counts are provisional.`]);
    } else if (feed.state === "starting") {
      shown.push(["info", "Connecting", "to Kafka…"]);
    } else if (feed.read_at !== null && now - feed.read_at > SILENT_MS) {
      shown.push(["amber", "No new scores",
        `for ${formatDuration(now - feed.read_at)}. The scorer or its input may have stopped.`]);
    }
    if (model.rejected) {
      const { rejected, reason, serving } = model.rejected;
      const instead = serving ? `${serving} is serving instead.` : "No model is serving.";
      shown.push(["red", `Model ${rejected} rejected`, `: ${reason}. ${instead}`]);
    }
    if (model.override) shown.push(describeOverride(model.override));
    if (!model.version) {
      shown.push(["red", "No model loaded",
        `: ${model.detail}. You can still read the list. Check and /predict are unavailable.`]);
    }
    if (this.#changed && now - this.#changed.now < 600_000) {
      shown.push(["info", "Model changed", this.#changed.text]);
    }
    const key = JSON.stringify(shown);
    if (this.banners.dataset.key === key) return;
    this.banners.dataset.key = key;
    this.banners.replaceChildren(...shown.map(([kind, title, text]) => {
      const banner = document.createElement("p");
      banner.className = `banner ${kind}`;
      const bold = document.createElement("b");
      bold.textContent = title;
      banner.append(bold, text.startsWith(":") ? text : ` ${text}`);
      return banner;
    }));
  }

  #showDistribution(bins, threshold) {
    const key = `${bins}|${threshold}`;
    const most = Math.max(...bins);
    if (key === this.#bars || most === 0) return;
    this.#bars = key;
    const figure = document.getElementById("dist");
    figure.hidden = false;
    const width = 200 / bins.length;
    const shapes = bins.map((count, i) => {
      const height = (38 * Math.log1p(count)) / Math.log1p(most);
      const bar = shape("rect", { x: i * width, y: 40 - height, width: width - 0.6, height });
      if (threshold !== undefined && (i + 0.5) / bins.length >= threshold) {
        bar.setAttribute("class", "over");
      }
      return bar;
    });
    if (threshold !== undefined) {
      shapes.push(shape("line", { x1: threshold * 200, x2: threshold * 200, y1: 0, y2: 40 }));
    }
    figure.firstElementChild.replaceChildren(...shapes);
  }
}

/** The banner for a model that was promoted by force, or that its gate refused. */
function describeOverride({ version, refusals, by, reason, at }) {
  const why = refusals.join("; ");
  if (by === null) return ["amber", `Model ${version} refused by its gate`, `: ${why}.`];
  const gate = refusals.length ? `. Its gate refused it: ${why}` : "";
  return ["amber", `Model ${version} promoted by force`, `by ${by} at ${at}: ${reason}${gate}.`];
}

function put(id, text) {
  const element = document.getElementById(id);
  if (element && element.textContent !== String(text)) element.textContent = text;
}

function shape(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
