// The state of the queue, and what it says in words. Nothing here touches the page: `reduce` makes
// the next state from an action, and the other functions read one.

import { MISSING, formatCount, formatDuration, formatMoment, formatThreshold } from "./view.js";

const MAX_ROWS = 200;
const MAX_HELD = 2000;
const SILENT_MS = 5000; // of the dashboard, which sends at least one tick a second
const IDLE_MS = 60_000; // of the scorer
const IDLE_WITH_BACKLOG_MS = 10_000;
const BEHIND_MS = 30_000;
const SKEW_MS = 5000;
const CHANGED_MS = 600_000;
const ANNOUNCE_MS = 10_000;
const TRIES_BEFORE_POLLING = 3;
const SPARK_MS = 5000;
const SPARK_SPAN_MS = 180 * SPARK_MS;
const WATCHED = { model_version: "Model", review_threshold: "Review threshold", block_threshold: "Block threshold" };

/**
 * The state of a page that was just rendered. `given`: rows, hasOlder, sort, user, isOps, isPinned,
 * work {open, mine, oldest, flagged} and points of the flagged rate. `clock`: {wall, up}, milliseconds
 * of the clock and since the page was opened.
 */
export function begin(given, vitals, clock) {
  const state = {
    gap: null, // {after: id, count}: rows that a tick left out
    current: null, // the row that keys are about
    chosen: new Set(), lastChosen: null, // for one decision on all of them
    reasons: {}, // why rows are held back: name → words
    held: [], left: 0, isStale: false, // `left`: new rows not stored here; stale: the list changed
    connection: { state: "lost", tries: 0 }, lostAt: null, pollFailedAt: null,
    stream: null, changes: [], marks: [], rebuild: null, announced: { at: 0, text: "" },
    ...given, ...clock,
  };
  return readVitals(state, vitals);
}

export function reduce(before, action, clock) {
  // By the server's clock at the last tick: the clock of this computer may be set meanwhile.
  const now = before.vitals.now + clock.up - before.readUp;
  // The clock was set, or the computer slept: what was heard before says nothing about now.
  const isCut = Math.abs(clock.wall - before.wall - (clock.up - before.up)) > SKEW_MS;
  const heard = isCut ? Math.min(before.heard, clock.up - SILENT_MS - 1) : before.heard;
  const state = ACTIONS[action.type]({ ...before, ...clock, now, heard }, action);
  if (!isPending(state) || state.now - state.announced.at < ANNOUNCE_MS) return state;
  return { ...state, announced: { at: state.now, text: `Flagged transactions: ${labelOf(state)}` } };
}

const ACTIONS = {
  second: (state) => state, // has passed
  /** News from the server. `rows` continue the list, and `left` of the same time were not sent. */
  tick(state, { data, rows, left }) {
    // A count may be newer than a tick, and have its rows already.
    const flagged = Math.max(state.work.flagged, data.totals.flagged);
    const work = { ...state.work, flagged, open: state.work.open + flagged - state.work.flagged };
    const next = (data.cases ?? []).reduce(patch, { ...readVitals(state, data), work });
    return isHeld(next) ? holdBack(next, rows, left) : insert(next, rows, left);
  },
  /** The first page, and the rows that arrived while it was fetched. */
  replace: (state, { items, next_cursor: next, arrived }) =>
    insert({ ...state, rows: items, hasOlder: next !== null, gap: null }, arrived),
  insert: (state, { rows }) => insert(state, rows),
  /** Stop holding rows back. They are inserted if they are all that arrived. */
  release(state) {
    const released = { ...state, held: [], left: 0, isStale: false };
    return isComplete(state) ? insert(released, state.held) : released;
  },
  stale: (state) => ({ ...state, isStale: true }),
  hold: (state, { reason, isOn, why }) => withReason(state, reason, isOn && why),
  connect(state, { connection }) {
    if (connection.state !== "live") return { ...state, connection, lostAt: state.lostAt ?? state.now };
    return { ...state, connection, lostAt: null, pollFailedAt: null, heard: state.up };
  },
  poll: (state, { isOk }) => (isOk
    ? { ...state, asOf: state.now, pollFailedAt: null }
    : { ...state, pollFailedAt: state.pollFailedAt ?? state.now }),
  /** Rows that a poll found. */
  found: (state, { rows }) => holdBack(state, rows, 0),
  case: patch,
  // A replica of an earlier release does not say how many flagged ones its count has.
  work: (state, { work }) => ({ ...state, work: { flagged: state.vitals.totals.flagged, ...work } }),
  mark: (state, { id }) => ({ ...state, current: state.rows.some((row) => row.id === id) ? id : null }),
  /** Choose a row or not, or with `isRange` all rows from the last one that was chosen. */
  choose(state, { id, isOn, isRange }) {
    const ids = state.rows.map((row) => row.id);
    const [from, to] = [ids.indexOf(state.lastChosen), ids.indexOf(id)].sort((a, b) => a - b);
    const wanted = isRange && from >= 0 ? ids.slice(from, to + 1) : [id];
    return choose({ ...state, lastChosen: id }, wanted, isRange || isOn);
  },
  chooseAll: (state, { isOn }) => choose(state, state.rows.map((row) => row.id), isOn),
  unchoose: (state, { ids }) => choose(state, ids, false),
};

function choose(state, ids, isOn) {
  const chosen = new Set(state.chosen);
  for (const id of ids) chosen[isOn ? "add" : "delete"](id);
  return withReason({ ...state, chosen }, "chosen", chosen.size > 0 && `${formatCount(chosen.size)} selected`);
}

function withReason(state, name, why) {
  const { [name]: _, ...others } = state.reasons;
  if (!why) return { ...state, reasons: others };
  return { ...state, reasons: { ...state.reasons, [name]: why } };
}

/** Show what happened to a case in its row. The row does not move. */
function patch(state, { id, case: found, ...rest }) {
  const isHere = (row) => row.id === id;
  const update = (rows) => (rows.some(isHere)
    ? rows.map((row) => (isHere(row) ? { ...row, case: found === undefined ? rest : found } : row))
    : rows);
  return { ...state, rows: update(state.rows), held: update(state.held) };
}

/**
 * Insert rows in the order of the list. Rows that are already shown do not change. A row that
 * belongs after the last one is left to the older pages, if there are any.
 */
function insert(state, rows, left = 0) {
  let shown = state.rows;
  let lowest = -1;
  for (const row of rows) {
    if (shown.some(({ id }) => id === row.id)) continue;
    const found = shown.findIndex((other) => compare(state.sort, row, other) < 0);
    if (found < 0 && state.hasOlder && shown.length > 0) continue;
    const at = found < 0 ? shown.length : found;
    shown = shown.toSpliced(at, 0, { ...row, isFresh: true });
    lowest = at > lowest ? at : lowest + 1;
  }
  const gap = left > 0 ? { after: shown[lowest]?.id ?? null, count: left + (state.gap?.count ?? 0) } : state.gap;
  const hasOlder = state.hasOlder || shown.length > MAX_ROWS;
  return prune({ ...state, rows: shown.length > MAX_ROWS ? shown.slice(0, MAX_ROWS) : shown, gap, hasOlder });
}

/** No row that has left the list is current or chosen. */
function prune(state) {
  const ids = new Set(state.rows.map((row) => row.id));
  const current = ids.has(state.current) ? state.current : null;
  const gone = [...state.chosen].filter((id) => !ids.has(id));
  return gone.length > 0 ? choose({ ...state, current }, gone, false) : { ...state, current };
}

function compare(sort, one, other) {
  const [left, right] = [keyOf(one), keyOf(other)];
  const sign = sort === "oldest" ? -1 : 1;
  for (let i = sort === "expected_loss" ? 0 : 1; i < left.length; i += 1) {
    if (left[i] !== right[i]) return left[i] > right[i] ? -sign : sign;
  }
  return 0;
}

const keyOf = ({ place, expected_loss: loss, scored_at: at, source: { partition, offset, topic } }) =>
  [place ?? loss, at, partition, offset, topic]; // only a sampled row has a place of its own

/** Hold rows back, so that nothing moves under the pointer, the focus or a selection. */
function holdBack(state, rows, left) {
  const known = new Set([...state.held, ...state.rows].map((row) => row.id));
  const held = [...state.held, ...rows.filter((row) => !known.has(row.id))];
  const over = Math.max(0, held.length - MAX_HELD);
  return { ...state, held: held.slice(over), left: state.left + left + over };
}

export const isHeld = ({ reasons }) => Object.keys(reasons).length > 0;
export const isPending = (state) => state.isStale || state.held.length + state.left > 0;
export const isComplete = ({ left, isStale }) => left === 0 && !isStale;

/** `27 new` or `2,000+ new`. */
export function labelOf({ held, left }) {
  const count = held.length + left;
  if (count === 0) return "List changed";
  return `${count > MAX_HELD ? "2,000+" : formatCount(count)} new`;
}

/** Whether the list is fetched every few seconds instead of followed. */
export const isPolling = ({ connection }) =>
  connection.state !== "live" && connection.tries >= TRIES_BEFORE_POLLING;

function readVitals(state, vitals) {
  const { now, rate, feed, lag, stream } = vitals;
  const next = { ...state, vitals, now, heard: state.up, readUp: state.up, asOf: now, skew: now - state.wall };
  if (feed.state !== "rebuilding") next.rebuild = null;
  else if (lag > 0) next.rebuild ??= { at: now, lag };
  if (stream) Object.assign(next, { stream }, state.stream && noteChanges(next, stream));
  const last = state.points.at(-1);
  if (last && now - last[0] < SPARK_MS) return next;
  const recent = state.points.filter(([at]) => at >= now - SPARK_SPAN_MS && at < now);
  return { ...next, points: [...recent, [now, rate.flagged]] };
}

function noteChanges({ now, stream: before, changes, marks }, stream) {
  const noted = Object.entries(WATCHED).flatMap(([name, what]) => {
    const [from, to] = [before[name], stream[name]];
    if (from === to) return [];
    const format = name === "model_version" ? String : formatThreshold;
    return [{ at: now, title: `${what} changed`, text: `from ${format(from, to)} to ${format(to, from)}` }];
  }).reverse();
  if (noted.length === 0) return {};
  const others = changes.filter(({ title }) => !noted.some((one) => one.title === title));
  return { changes: [...noted, ...others].slice(0, 3), marks: [...marks, now] };
}

const silentMs = ({ up, heard }) => up - heard;

/** [state, text] of the line that says whether rows appear. */
export function describeLive(state) {
  const { connection: { state: connection, tries }, vitals: { feed }, reasons } = state;
  if (connection !== "live") {
    if (state.pollFailedAt !== null) return ["lost", "Not updating: polling fails"];
    if (tries === 0) return ["off", "Connecting"];
    return ["lost", isPolling(state) ? "Polling every 5 s" : `Reconnecting (try ${tries})`];
  }
  if (silentMs(state) > SILENT_MS) {
    return ["lost", `No answer for ${formatDuration(Math.floor(silentMs(state) / 1000) * 1000)}`];
  }
  if (feed.state === "waiting") return ["lost", `As of ${formatMoment(feed.read_at ?? feed.since)}`];
  if (reasons.paused) return ["paused", "Paused"];
  return isHeld(state) ? ["held", `Held: ${Object.values(reasons)[0]}`] : ["live", "Live"];
}

/** Every state that the reader must know of: [kind, title, text], the most serious first. */
export function describeStates(state) {
  const { vitals: { feed, model, waiting = 0 }, skew } = state;
  const shown = [...describeConnection(state), ...describeFeed(state, feed)];
  for (const { kind, title, text } of state.vitals.notices ?? []) shown.push([kind, title, text]);
  if (!model.version) {
    const why = state.isOps ? `: ${model.detail}.` : ".";
    shown.push(["red", "No model loaded", `${why} The list works, and Check and /predict are unavailable.`]);
  }
  if (waiting > 0) {
    const few = waiting === 1 ? "1 decision" : `${formatCount(waiting)} decisions`;
    shown.push(["amber", `${few} waiting to be recorded`, ": the labels topic cannot be written at present. Decisions are kept on disk and recorded automatically."]);
  }
  for (const { at, title, text } of state.changes) {
    if (state.now - at >= CHANGED_MS) continue;
    shown.push(["info", title, `${text} at ${formatMoment(at)}. Earlier rows keep their own model and thresholds.`]);
  }
  if (Math.abs(skew) > SKEW_MS) {
    const by = formatDuration(Math.round(Math.abs(skew) / 1000) * 1000);
    shown.push(["info", "Clock difference", `: this computer's clock is ${by} ${skew > 0 ? "behind" : "ahead of"} the server's. Ages on this page use the server's clock.`]);
  }
  return shown;
}

function describeConnection(state) {
  const asOf = `The list is as of ${formatMoment(state.asOf)}.`;
  if (state.pollFailedAt !== null) {
    return [["red", "The dashboard does not answer", `since ${formatMoment(state.pollFailedAt)}. ${asOf} Trying again every 5 s.`]];
  }
  if (isPolling(state)) {
    return [["amber", "Live updates lost", `since ${formatMoment(state.lostAt)}. The list is fetched every 5 s instead.`]];
  }
  if (state.connection.state === "live" && silentMs(state) > SILENT_MS) {
    return [["amber", "No answer from the dashboard", `since ${formatMoment(state.asOf)}. ${asOf}`]];
  }
  return [];
}

function describeFeed(state, feed) {
  const { lag, lag_ms: lagMs } = state.vitals;
  if (feed.state === "starting") return [["info", "Connecting", "to Kafka…"]];
  if (feed.state === "waiting") {
    const asOf = feed.read_at === null ? "" : `, as of ${formatMoment(feed.read_at)}${feed.place ? ` (${feed.place})` : ""}`;
    const why = state.isOps && feed.detail ? ` (${feed.detail})` : "";
    return [["amber", "Disconnected from Kafka", `since ${formatMoment(feed.since)}${why}. The list shows the last data received${asOf}. Decisions are kept and recorded later. Reconnecting automatically.`]];
  }
  if (feed.state === "rebuilding" && feed.progress) {
    return [["info", `Rebuilding ${feed.progress}`, ". Counts are provisional. You can already decide."]];
  }
  if (feed.state === "rebuilding") {
    return [["info", `Rebuilding ${Math.floor(feed.done * 100)} %`, `: ${formatCount(lag)} scores left${describeRest(state)}. Counts are provisional. You can already decide.`]];
  }
  if ((lagMs ?? 0) > BEHIND_MS && lag > 0) {
    return [["amber", "This dashboard is behind", `: ${formatCount(lag)} scores are not read yet. Transactions appear ${formatDuration(lagMs)} late.`]];
  }
  return feed.read_at === null ? [] : describeScorer(state, feed.read_at);
}

function describeRest({ rebuild, now, vitals: { lag } }) {
  if (!rebuild || rebuild.lag <= lag) return "";
  const perMs = (rebuild.lag - lag) / (now - rebuild.at);
  return `, about ${formatDuration(Math.max(1000, lag / perMs))}`;
}

function describeScorer({ vitals, now, isOps }, readAt) {
  const { scorer, backlog = null, backlog_detail: detail } = vitals;
  const idle = now - readAt;
  if (scorer?.state === "silent" || (backlog > 0 && idle > IDLE_WITH_BACKLOG_MS)) {
    const since = formatMoment(Math.min(readAt, scorer?.since ?? readAt));
    return [[idle > IDLE_MS ? "red" : "amber", "The scorer is silent", `since ${since}, and ${formatCount(backlog ?? 0)} transactions wait for a score. It may have stopped.`]];
  }
  if (idle <= IDLE_MS) return [];
  if (backlog === 0) return [["info", "No new transactions", `since ${formatMoment(readAt)}. None is waiting for a score.`]];
  const why = isOps && detail ? ` ${detail}` : "";
  return [["amber", "No new scores", `since ${formatMoment(readAt)}. The scorer or its input may have stopped.${why}`]];
}

/** The numbers at the top, by the ends of their ids. */
export function describeNumbers({ vitals, work, now }) {
  const { totals, rate, stream, model, backlog = null } = vitals;
  const { review_threshold: review, block_threshold: block } = stream ?? model;
  const formatRate = (value) => (value >= 100 ? formatCount(Math.round(value)) : value.toFixed(1));
  return {
    rate: formatRate(rate.scored),
    "flag-rate": formatRate(rate.flagged),
    share: totals.scored > 0 ? `${((100 * totals.flagged) / totals.scored).toFixed(1)} % (n=${formatCount(totals.scored)})` : "",
    scored: formatCount(totals.scored),
    flagged: formatCount(totals.flagged),
    open: formatCount(work.open),
    mine: formatCount(work.mine),
    oldest: work.oldest ? formatDuration(Math.max(0, now - work.oldest)) : MISSING,
    unreadable: formatCount(totals.unreadable),
    model: stream?.model_version ?? model.version ?? "none",
    review: formatThreshold(review, block),
    block: formatThreshold(block, review),
    backlog: backlog === null ? MISSING : formatCount(backlog),
    delay: describeDelay(vitals, backlog, now),
  };
}

/** How late rows appear. While transactions wait for a score, it grows from the last one on. */
function describeDelay({ feed, delay_ms: delay, lag_ms: lag }, backlog, now) {
  if ((delay ?? lag) == null) return MISSING;
  const waits = backlog > 0 && feed.read_at !== null ? now - feed.read_at : 0;
  return formatDuration(Math.max(delay ?? lag, waits));
}

/**
 * The bars of the distribution of scores on a logarithmic scale: {x, y, width, height, class}. Over
 * all scores (`hist`) stand those of the list (`listed`): what is open on top of what is decided.
 */
export function measureBars({ hist, listed }) {
  const per = 38 / Math.log1p(Math.max(...hist, 1));
  const width = 200 / hist.length;
  const top = (count) => 40 - per * Math.log1p(count);
  return hist.flatMap((all, i) => {
    const decided = listed.decided[i];
    const both = decided + listed.open[i];
    const bar = (kind, from, to) => to > from && {
      class: kind, x: i * width, width: width - 0.6, y: top(to), height: top(from) - top(to),
    };
    return [bar("all", 0, all), bar("open", decided, both), bar("decided", 0, decided)].filter(Boolean);
  });
}

/** Where a time is in the picture of the last 15 minutes. */
export const sparkX = ({ points }, at) => (120 * (at - points.at(-1)[0] + SPARK_SPAN_MS)) / SPARK_SPAN_MS;

export function sparkLine({ points }) {
  const most = Math.max(...points.map(([, each]) => each), 0.1);
  const y = (each) => 31 - (29 * each) / most;
  return points.map(([at, each]) => `${sparkX({ points }, at).toFixed(1)},${y(each).toFixed(1)}`).join(" ");
}
