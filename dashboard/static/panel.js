// The details of a transaction, as the server renders them.

import { request } from "./request.js";

const PREFETCH_MS = 60_000; // older details are fetched again
const MOST_PREFETCHED = 4;

const prefetched = new Map(); // id → {at, text}
// The first details of a page load also say how many the user decided today.
let isTallied = document.getElementById("detail") !== null;

export const pathOf = (id) => `/t/${encodeURIComponent(id)}`;

/** The details of a transaction as an element. */
export async function fetchPanel(id, signal) {
  const ready = prefetched.get(id);
  prefetched.delete(id);
  const now = Date.now();
  const isFresh = ready && now - ready.at < PREFETCH_MS;
  const early = isFresh && (await ready.text);
  const text = early || (await load(id, signal));
  signal?.throwIfAborted();
  // The server escaped every value, and a parsed document runs no scripts.
  const detail = new DOMParser().parseFromString(text, "text/html").getElementById("detail");
  if (!detail) throw new Error("The dashboard's answer has no details.");
  detail.dataset.at = early ? ready.at : now; // its case is not newer
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

/** Fetch the details of a transaction that is likely to be opened next. It is not claimed. */
export function prefetchPanel(id) {
  if (prefetched.has(id)) return;
  const text = request(`${pathOf(id)}/panel`, { as: "text" }).catch(() => null);
  prefetched.set(id, { at: Date.now(), text });
  if (prefetched.size > MOST_PREFETCHED) prefetched.delete(prefetched.keys().next().value);
}
