// The details of a transaction, as the server renders them.

import { Ahead } from "./ahead.js";
import { request } from "./request.js";
import { showTally } from "./tally.js";

// Details that are likely to be opened next. They are only shown: nothing is claimed or recorded.
const ahead = new Ahead({ most: 6, longestMs: 60_000 });
// The first details of a page load also say how many the user decided today.
let isTallied = document.getElementById("detail") !== null;

export const pathOf = (id) => `/t/${encodeURIComponent(id)}`;

/** The details that were fetched already, as an element, or null. */
export function takePanel(id) {
  const entry = ahead.get(id, performance.now());
  if (!entry?.answer.text) return null;
  ahead.drop(id);
  if (!isTallied) countDecided(id);
  return parse(entry.answer.text, entry.at);
}

/** The details of a transaction as an element. */
export async function fetchPanel(id, signal) {
  const entry = ahead.get(id, performance.now());
  const at = performance.now();
  const early = entry && (await entry.answer.done);
  // It may have changed meanwhile.
  const isUsed = early && ahead.get(id, performance.now()) === entry;
  if (isUsed) ahead.drop(id);
  const text = isUsed ? early : await load(id, signal);
  signal?.throwIfAborted();
  return parse(text, isUsed ? entry.at : at); // its case is not newer
}

function parse(text, at) {
  // The server escaped every value, and a parsed document runs no scripts.
  const detail = new DOMParser().parseFromString(text, "text/html").getElementById("detail");
  if (!detail) throw new Error("The dashboard's answer has no details.");
  detail.dataset.at = at;
  return document.adoptNode(detail);
}

/** Say which transaction is shown now: whoever does not see it hears no more than that a key did something. */
export function announce(node) {
  const place = document.getElementById("opened");
  if (!place) return; // a page that the server rendered before an update
  const parts = [node.dataset.title, ...[...node.querySelectorAll(".amount, .verdict")].map((part) => part.textContent)];
  place.textContent = parts.map((part) => part.trim().replace(/\s+/g, " ")).join(", ");
}

async function load(id, signal) {
  const query = isTallied ? "" : "?tally=yes";
  const text = await request(`${pathOf(id)}/panel${query}`, { signal, as: "text" });
  isTallied = true;
  return text;
}

/** Those that were fetched ahead do not say it: they may be shown much later. */
async function countDecided(id) {
  try {
    const found = parse(await load(id), 0).querySelector(".tally").dataset;
    Object.assign(document.querySelector(".tally").dataset, found);
    showTally();
  } catch {
    // It is said with the next details.
  }
}

/** Fetch the details of a transaction that is likely to be opened next, unless nobody looks. */
export async function prefetchPanel(id) {
  const now = performance.now();
  if (document.hidden || ahead.get(id, now)) return;
  const answer = { text: null };
  answer.done = request(`${pathOf(id)}/panel`, { as: "text" }).catch(() => null); // only speed is lost
  ahead.put(id, answer, now);
  answer.text = await answer.done;
  if (answer.text === null) ahead.drop(id);
}

document.addEventListener("case:changed", ({ detail }) => ahead.drop(detail.id));
document.addEventListener("cases:moved", ({ detail }) => detail.ids.forEach((id) => ahead.drop(id)));
