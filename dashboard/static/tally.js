// How many transactions the user decided today, and how long one took. The server says how many
// when the page is loaded; the times are kept in this browser.

import { serverNow } from "./view.js";

const LONGEST_MS = 10 * 60_000; // a break is not time spent on a transaction
const MOST_TIMES = 2000;

let count = 0;

/** Count a decision. One that the user corrects was counted before. */
export function countDecided(id, before, millis) {
  if (!isCounted(before)) count += 1;
  const today = read();
  today.times[id] = millis === null ? null : Math.min(millis, LONGEST_MS);
  if (Object.keys(today.times).length <= MOST_TIMES) write(today);
  showTally();
}

export function countWithdrawn(id, before) {
  if (isCounted(before)) count = Math.max(0, count - 1);
  const today = read();
  delete today.times[id];
  write(today);
  showTally();
}

export function showTally() {
  const place = document.querySelector(".tally");
  if (!place) return;
  if (place.dataset.decided !== undefined) {
    count = Number(place.dataset.decided);
    delete place.dataset.decided;
  }
  const times = Object.values(read().times).filter((millis) => millis !== null).sort((a, b) => a - b);
  const median = times.length ? (times[(times.length - 1) >> 1] + times[times.length >> 1]) / 2 : null;
  const speed = median === null ? "" : ` · median ${Math.max(1, Math.round(median / 1000))} s`;
  place.hidden = count === 0;
  place.textContent = `You decided ${count} today${speed}`;
}

/** Whether the count has the case's decision: the user made it today (UTC), as the server counts. */
function isCounted(found) {
  const isMine = found?.label != null && found.decided_by === document.body.dataset.user;
  return isMine && found.decided_at !== null && dayOf(found.decided_at) === dayOf(serverNow());
}

const dayOf = (millis) => new Date(millis).toISOString().slice(0, 10);

function read() {
  const day = dayOf(serverNow());
  try {
    const kept = JSON.parse(localStorage.getItem("decided"));
    if (kept?.day === day && typeof kept.times === "object") return kept;
  } catch {
    // Not readable: counting starts again.
  }
  return { day, times: {} };
}

function write(today) {
  try {
    localStorage.setItem("decided", JSON.stringify(today));
  } catch {
    // Storage is full or not allowed: the figure is a convenience.
  }
}
