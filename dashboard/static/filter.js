// The filter of the list for live rows. The server's Selection applies the same rules to pages. A
// test compares the two.

const NUMBERS = ["min_score", "max_score", "min_amount", "max_amount", "card1", "addr1", "transaction_id"];
const TEXTS = [
  "product", "email", "device", "decision", "model", "reason", "status", "since", "until", "q",
];
const UNITS = { s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5 };

/** The filter in a query string. Absent and empty parameters filter nothing. */
export function readFilter(search) {
  const query = new URLSearchParams(search);
  const text = (name) => query.get(name)?.trim() || null;
  const number = (name) => (text(name) === null ? null : Number(text(name)));
  return Object.fromEntries([
    ...NUMBERS.map((name) => [name, number(name)]),
    ...TEXTS.map((name) => [name, text(name)]),
  ]);
}

/**
 * Whether a row matches. `now` is epoch milliseconds, for relative times and ended claims, and
 * `user` the name of the user, for the status `mine`.
 */
export function matches(row, filter, now = Date.now(), user = null) {
  const { context } = row;
  const is = (wanted, value) => wanted === null || wanted === (value ?? null);
  return (
    isWithin(row.score, filter.min_score, filter.max_score) &&
    isWithin(row.amount, filter.min_amount, filter.max_amount) &&
    isWithin(row.scored_at, parseTime(filter.since, now), parseTime(filter.until, now)) &&
    is(filter.product, row.product) &&
    is(filter.card1, context.card1) &&
    is(filter.addr1, context.addr1) &&
    is(filter.email, context.P_emaildomain) &&
    is(filter.device, context.DeviceInfo) &&
    is(filter.decision, row.decision) &&
    is(filter.model, row.model_version) &&
    hasStatus(row.case, filter.status, now, user) &&
    is(filter.transaction_id, row.transaction_id) &&
    (filter.reason === null || row.reasons.some(({ feature }) => feature === filter.reason)) &&
    (filter.q === null || isFound(row, filter.q))
  );
}

/** The status of a case now: a claim or a snooze that has ended is open again. */
function statusOf(found, now = Date.now()) {
  const { status = "open", until = null } = found ?? {};
  const hasEnded = (status === "claimed" || status === "snoozed") && until !== null && until <= now;
  return hasEnded ? "open" : status;
}

function hasStatus(found, wanted, now, user) {
  const status = statusOf(found, now);
  if (wanted === "mine") return status === "claimed" && user !== null && found.by === user;
  return wanted === null || wanted === status;
}

/** Epoch milliseconds of `24h` (before now), `2026-11-23T14:03Z` or milliseconds; else null. */
function parseTime(text, now = Date.now()) {
  if (text === null) return null;
  if (/^[0-9]{1,15}$/.test(text)) return Number(text);
  const span = /^([0-9]{1,6})([smhdw])$/.exec(text);
  if (span) return now - Number(span[1]) * UNITS[span[2]];
  const time = /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2}))?)?Z?$/.exec(text);
  if (!time) return null;
  const [year, month, day, hour = "00", minute = "00", second = "00"] = time.slice(1);
  const millis = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(millis) ? null : millis;
}

export function isEmpty(filter) {
  return Object.values(filter).every((value) => value === null);
}

function isWithin(value, low, high) {
  if (value === null) return low === null && high === null;
  return (low === null || value >= low) && (high === null || value <= high);
}

/** Looks for a transaction id, email domain or device that starts with the text, or for a card. */
function isFound(row, text) {
  // What the user does not see is not looked at.
  const read = (name) => (row.hidden?.includes(name) ? null : row.context[name]);
  const [card1, email, device] = ["card1", "P_emaildomain", "DeviceInfo"].map(read);
  const start = lower(text);
  return (
    (/^[0-9]+$/.test(text) && String(row.transaction_id).startsWith(text)) ||
    (/^[0-9]{1,15}(\.[0-9]{1,6})?$/.test(text) && card1 === Number(text)) ||
    [email, device].some((field) => field && lower(field).startsWith(start))
  );
}

// ASCII only, as SQLite compares text.
const lower = (text) => text.replace(/[A-Z]/g, (found) => found.toLowerCase());
