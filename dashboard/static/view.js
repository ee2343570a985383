// How this browser shows pages: formats, time zone, theme, and the texts of features. Every page
// loads it. The server's templates format values in the same way.

export const LABELS = { FRAUD: "Fraud", LEGITIMATE: "Legitimate", UNSURE: "Unsure" };
const EXTERNAL = {
  FRAUD: "A chargeback reported fraud",
  LEGITIMATE: "A reversal reported that it was legitimate",
};
const LOAD_AGAIN_MS = 15_000;
const MINUTE_MS = 60_000;
const SHOWN_REASONS = 3;
const SKEW_MS = 5000;

const root = document.documentElement;
const counts = new Intl.NumberFormat("en-US");
const amounts = new Intl.NumberFormat("en-US", {
  minimumFractionDigits: 2,
  maximumFractionDigits: 2,
});

// A clock of this computer may be wrong, and may be set while the page is open. Times from the server
// are compared with its clock, and durations are measured with performance.now().
let ahead = 0; // the server's clock, in milliseconds

/** The time by the server's clock. */
export const serverNow = () => Date.now() + ahead;

/** `millis`: what the server's clock showed when it answered, which takes a moment to arrive. */
export function noteServerTime(millis, within = SKEW_MS) {
  if (Math.abs(millis - serverNow()) > within) ahead = millis - Date.now();
}

export const MISSING = "—";
export const formatCount = (value) => counts.format(value);
export const formatAmount = (value) => (value == null ? MISSING : amounts.format(value));
export const formatValue = (value) => (value === null || value === "" ? MISSING : String(value));
const formatArrow = (value) => (value > 0 ? "↑" : "↓");

export const capitalize = (text) => text.charAt(0).toUpperCase() + text.slice(1).toLowerCase();

/** With as many decimals as the other thresholds beside it need, and at least two. */
export function formatThreshold(value, ...others) {
  if (value == null) return MISSING;
  const texts = [value, ...others].map((each) => String(Number((each ?? 0).toPrecision(6))));
  if (texts.some((text) => text.includes("e"))) return texts[0];
  const digits = Math.max(2, ...texts.map((text) => (text.split(".")[1] ?? "").length));
  return Number(texts[0]).toFixed(digits);
}

/** Two or more decimals, so that rounding neither crosses a threshold nor reaches 1. */
export const formatScore = (score, ...thresholds) => round(2, score, thresholds);
export const formatScore4 = (score, ...thresholds) => round(4, score, thresholds);

function round(least, score, thresholds) {
  thresholds.push(1);
  for (let digits = least; digits < 17; digits += 1) {
    const text = score.toFixed(digits);
    if (thresholds.every((t) => Number(text) >= t === score >= t)) return text;
  }
  return String(score);
}

/** `0.4 s`, `12 s`, `3 min`, `2 h`, `5 d`. */
export function formatDuration(millis) {
  if (millis < 10_000) return `${(Math.max(0, millis) / 1000).toFixed(1)} s`;
  if (millis < 120_000) return `${Math.round(millis / 1000)} s`;
  if (millis < 7_200_000) return `${Math.round(millis / 60_000)} min`;
  if (millis < 172_800_000) return `${Math.round(millis / 3_600_000)} h`;
  return `${Math.round(millis / 86_400_000)} d`;
}

/** `2026-11-23 14:03:21`, in the chosen zone. */
export function formatTime(millis) {
  const date = new Date(millis);
  if (Number.isNaN(date.getTime())) return `${millis} ms`;
  if (zone() === "UTC") return date.toISOString().slice(0, 19).replace("T", " ");
  const parts = Object.fromEntries(clock().formatToParts(date).map(({ type, value }) => [type, value]));
  return `${parts.year}-${parts.month}-${parts.day} ${parts.hour}:${parts.minute}:${parts.second}`;
}

/** The same with the name of the zone. */
export const formatMoment = (millis) => `${formatTime(millis)} ${zoneLabel(millis)}`;

/** `2026-11-23T14:03:21Z`, or null if the calendar has no such time. */
function isoOf(millis) {
  const date = new Date(millis);
  return Number.isNaN(date.getTime()) ? null : `${date.toISOString().slice(0, 19)}Z`;
}

/** A time, as the server renders it. `html` builds elements: not every page has loaded its code. */
export const buildTime = (html, millis) => html`<time datetime=${isoOf(millis)} data-ms=${millis}>${formatTime(millis)}<span class="zone">${` ${zoneLabel(millis)}`}</span></time>`;

const GLYPHS = { elevated: "▲", high: "▲▲", critical: "▲▲▲" };

/** The badge of a risk, as the server renders it. */
export function buildRisk(html, risk) {
  const glyph = GLYPHS[risk];
  return html`<span class="risk ${glyph ? risk : "low"}">${glyph && html`<span aria-hidden="true">${glyph}</span>`}${glyph && " "}${capitalize(risk)}</span>`;
}

let clockOf = [null, null];

function clock() {
  if (clockOf[0] !== zone()) {
    const options = { timeZone: zone(), hourCycle: "h23", timeZoneName: "shortOffset" };
    for (const part of ["month", "day", "hour", "minute", "second"]) options[part] = "2-digit";
    clockOf = [zone(), new Intl.DateTimeFormat("en-US", { year: "numeric", ...options })];
  }
  return clockOf[1];
}

/** `UTC`, or the offset that the chosen zone has at this time: `GMT+2`. */
function zoneLabel(millis = Date.now()) {
  if (zone() === "UTC") return "UTC";
  const date = new Date(millis);
  if (Number.isNaN(date.getTime())) return zone();
  return clock().formatToParts(date).find(({ type }) => type === "timeZoneName").value;
}

/** The name of the chosen zone: `UTC`, or one such as `Europe/Berlin`. */
export function zone() {
  const chosen = preference("zone") ?? "UTC";
  if (chosen === "local") return Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";
  return isZone(chosen) ? chosen : "UTC";
}

const known = new Map([["UTC", true]]);

export function isZone(name) {
  if (!known.has(name)) {
    try {
      Intl.DateTimeFormat("en-US", { timeZone: name });
      known.set(name, true);
    } catch {
      known.set(name, false);
    }
  }
  return known.get(name);
}

/** Show all times of a page, or of a part of it, in the chosen zone. */
export function showTimes(part = document) {
  for (const time of part.querySelectorAll("time[data-ms]")) {
    const label = time.querySelector(".zone");
    time.firstChild.data = formatTime(Number(time.dataset.ms));
    if (label) label.firstChild.data = ` ${zoneLabel(Number(time.dataset.ms))}`;
  }
  for (const name of part.querySelectorAll(".zone-name")) name.textContent = zoneLabel();
}

/**
 * `{state, word, text, proof, external}` of a case, or of none. `word` is for the list:
 * `Mine · 12 min left`, `ana · 3 min`, `Fraud`. The others are what the server's case_text.py says of
 * it. A test compares the two.
 */
export function describeCase(found, me, now, labelsTopic) {
  const { status, by, since, until = 0, label } = found ?? {};
  const about = { proof: "", external: EXTERNAL[found?.external] ?? "" };
  if (label != null) {
    const name = LABELS[label] ?? String(label);
    const at = found.decided_at == null ? MISSING : formatMoment(found.decided_at);
    const text = `${name}, decided by ${who(found.decided_by, me)} at ${at}`;
    const word = found.pending ? `${name} · waiting` : name;
    return { ...about, state: "decided", word, text, proof: prove(found, labelsTopic) };
  }
  const left = ` · ${formatMinutes(until - now)} left`;
  if (until > now && status === "claimed") {
    const isMine = by === me;
    const held = since ? ` for ${formatAge(now - since)}` : "";
    const word = isMine ? `Mine${left}` : `${by}${since ? ` · ${formatMinutes(now - since)}` : ""}`;
    const text = `Held by ${isMine ? "you" : by}${held}, until ${formatClock(until, now)}`;
    return { ...about, state: isMine ? "mine" : "held", word, text };
  }
  if (until > now && status === "snoozed") {
    const text = `Snoozed by ${who(by, me)} until ${formatClock(until, now)}`;
    return { ...about, state: "snoozed", word: `Snoozed${left}`, text };
  }
  return { ...about, state: "open", word: "Open", text: "Open" };
}

/** [kind, word, title] of a case in the list. */
export function describeStatus(found, me, now, labelsTopic) {
  const { state, word, text, proof, external } = describeCase(found, me, now, labelsTopic);
  const title = [text, proof, external].filter(Boolean).join(". ");
  if (state !== "decided" && found?.external === "FRAUD") return ["reported", "Reported fraud", title];
  if (state !== "open") return [found.pending ? "pending" : state, word, title];
  return ["open", word, found?.until ? `${found.by}'s ${found.status === "claimed" ? "claim" : "snooze"} ended` : external];
}

function prove({ recorded, pending }, topic) {
  if (!recorded) return pending ? "Waiting to be recorded" : "";
  const [partition, offset] = recorded.split(":");
  return `Recorded at ${topic}[${partition}]@${offset}`;
}

const who = (name, me) => (name && name === me ? "you" : name || "an unknown user");

/** `14:18 UTC`, with the date if it is another one. */
function formatClock(millis, now) {
  const [day, time] = formatTime(millis).split(" ");
  const short = `${time.slice(0, 5)} ${zoneLabel(millis)}`;
  return formatTime(now).startsWith(day) ? short : `${day} ${short}`;
}

function formatAge(millis) {
  if (millis < MINUTE_MS) return `${Math.floor(Math.max(0, millis) / 1000)} s`;
  const whole = Math.floor(millis / MINUTE_MS);
  return whole < 120 ? `${whole} min` : `${Math.floor(whole / 60)} h`;
}

const formatMinutes = (millis) => formatDuration(Math.max(MINUTE_MS, millis)).replace(/^\d+ s$/, "1 min");

/** A choice of this browser, or null. Storage may be switched off. */
export function preference(name) {
  try {
    return localStorage.getItem(`desk.${name}`);
  } catch {
    return null;
  }
}

export function setPreference(name, value) {
  try {
    if (value === null) localStorage.removeItem(`desk.${name}`);
    else localStorage.setItem(`desk.${name}`, value);
  } catch {
    // The choice holds until the page is left.
  }
}

/**
 * Dispatch an event about a transaction, such as `flag:open`, once drawer.js can act on it. The page
 * of one transaction has no drawer, and acts on the event itself.
 */
export async function send(name, detail = {}) {
  if (document.getElementById("drawer")) await import("./drawer.js");
  document.dispatchEvent(new CustomEvent(name, { detail }));
}

/** The line that names the keys is of no use while single keys are switched off. */
export function showKeys() {
  for (const line of document.querySelectorAll(".hint")) line.hidden = preference("keys") === "off";
}

const { now: renderedAt } = document.body.dataset;
if (renderedAt) noteServerTime(Number(renderedAt));

let texts = new Map();
let textsVersion = null;
let loadNext = 0;
setTexts(JSON.parse(document.querySelector("[data-features]")?.dataset.features ?? "null"));

/** A feature in words, or its name if the loaded model does not have it. */
const describeFeature = (name) => texts.get(name) ?? name;

/** A text and the name at its end: `["indicator of the payment provider", " (V258)"]`. */
export function splitName(text) {
  const at = text.endsWith(")") ? text.lastIndexOf(" (") : -1;
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at)];
}

/** What is shown over a feature: all of its text, and its name in the model. */
const titleOf = (name) => (texts.has(name) ? `${texts.get(name)} · ${name}` : name);

/** The first reasons of a row, and how many more there are. */
export function buildReasons(html, reasons) {
  const rest = reasons.slice(SHOWN_REASONS).map(({ feature }) => titleOf(feature));
  return [
    ...reasons.slice(0, SHOWN_REASONS).flatMap(({ feature, contribution }) => html`<span class="reason"><b title=${titleOf(feature)}>${splitName(describeFeature(feature))[0]}</b>${splitName(describeFeature(feature))[1]}${` ${formatArrow(contribution)}`}<span class="contribution">${Math.abs(contribution).toFixed(2)}</span></span>${" "}`),
    rest.length > 0 && html`<span class="dim" title=${rest.join("\n")}>+${rest.length}</span>`,
  ];
}

/** Get the texts of this version's features, unless the page has them. */
export async function loadTexts(version) {
  if (!version || version === textsVersion || performance.now() < loadNext) return;
  loadNext = performance.now() + LOAD_AGAIN_MS; // another instance may answer, which has another version
  try {
    const { request } = await import("./request.js");
    setTexts(await request("/api/v1/features"));
  } catch {
    // The page goes on with the texts that it has.
  }
}

/** Features by name. */
export const featureTexts = () => texts;

function setTexts(found) {
  if (!found) return;
  texts = new Map(Object.entries(found.texts));
  textsVersion = found.model_version;
}

// The switches in the header.

const themeSwitch = document.getElementById("theme");
const zoneSwitch = document.getElementById("zone");

function applyTheme() {
  const theme = preference("theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  else delete root.dataset.theme;
  // The server renders the next page in this theme, so that it does not flash in the other one.
  document.cookie = `desk_theme=${root.dataset.theme ?? ""}; path=/; max-age=31536000; samesite=lax`;
  if (themeSwitch) themeSwitch.value = root.dataset.theme ?? "auto";
  document.dispatchEvent(new CustomEvent("theme:changed"));
}

function fillZones() {
  const chosen = preference("zone") ?? "UTC";
  const local = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";
  const fixed = chosen !== "local" && isZone(chosen) && chosen !== "UTC" ? chosen : null;
  const options = [["UTC", "UTC"], ["local", `Local (${local})`]];
  if (fixed) options.push([fixed, fixed]);
  options.push(["other", "Other zone…"]);
  zoneSwitch.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  zoneSwitch.value = chosen === "local" ? "local" : (fixed ?? "UTC");
}

async function chooseZone() {
  if (zoneSwitch.value === "other") {
    const { askForZone } = await import("./zones.js");
    const answer = await askForZone();
    if (answer) setPreference("zone", answer);
  } else setPreference("zone", zoneSwitch.value);
  fillZones();
  showTimes();
  document.dispatchEvent(new CustomEvent("zone:changed"));
}

applyTheme();
themeSwitch?.addEventListener("change", () => {
  setPreference("theme", themeSwitch.value === "auto" ? null : themeSwitch.value);
  applyTheme();
});
if (zoneSwitch) {
  fillZones();
  zoneSwitch.addEventListener("change", chooseZone);
  if (zone() !== "UTC") showTimes();
}
for (const control of document.querySelectorAll("[data-needs-js]")) control.hidden = false;
// On a phone the names of the pages scroll.
const pages = document.querySelector(".top nav");
if (pages) pages.scrollLeft = (pages.querySelector("[aria-current]")?.offsetLeft ?? 0) - pages.offsetLeft - pages.clientWidth / 3;
showKeys();
// The next transaction opens beside the list. Without JavaScript these forms lead to its page.
document.addEventListener("submit", (event) => {
  if (event.target.getAttribute("action") !== "/next") return;
  event.preventDefault();
  send("flag:next");
});
document.getElementById("shortcuts")?.addEventListener("click", async () => {
  (await import("./keyboard.js")).showHelp();
});

// The keyboard is loaded at the first key. Keys that come while it loads are handled in order.
let keyboard = null;
let loading = null;
addEventListener("keydown", (event) => {
  if (keyboard) {
    keyboard.handle(event);
    return;
  }
  if (event.target === document.body && /^(\/|Arrow)/.test(event.key)) event.preventDefault();
  loading ??= import("./keyboard.js");
  loading.then((loaded) => {
    keyboard = loaded;
    loaded.handle(event, { isLate: true });
  });
});
