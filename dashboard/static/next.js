// Transactions one after another: n claims the next by expected loss, a decision brings the one
// after it, and its details are fetched while this one is read.

import { caseOf, know } from "./decide.js";
import { prefetchPanel } from "./panel.js";
import { tell } from "./parts.js";
import { request } from "./request.js";
import { countDecided, countWithdrawn, showTally } from "./tally.js";
import { toast, toastFailure } from "./toast.js";

const NOT_FILTERS = ["sel", "cursor", "after", "limit", "sort", "status", "columns", "view"];

let isClaiming = false;
let current = null; // what the loop claimed and shows
let undone = null;
let shown = null; // {id, at} of the transaction that is shown
const spent = new Map(); // id → milliseconds from its first sight to its decision

/** Claim the next transaction of the list's filter, and show it. */
async function next() {
  if (isClaiming) return;
  isClaiming = true;
  try {
    const selection = Object.fromEntries(readFilter());
    const found = await request("/api/v1/flags/claim-next", { method: "POST", body: { selection } });
    current = found?.id ?? null;
    if (!found) {
      toast("No open transaction is left that matches the filter.");
      return;
    }
    know(found.id, found.case);
    tell("case:changed", { id: found.id, case: found.case });
    tell("flag:open", { id: found.id, flag: { ...found.flag, case: found.case } });
  } catch (error) {
    toastFailure("The next transaction could not be claimed.", error, next);
  } finally {
    isClaiming = false;
  }
}

/** Fetch the details of the likely next one. Whoever claims it first gets it. */
async function prefetch(id) {
  try {
    const query = readFilter();
    for (const [name, value] of [["status", "open"], ["sort", "expected_loss"], ["limit", "20"]]) {
      query.set(name, value);
    }
    const { items } = await request(`/api/v1/flags?${query}`);
    const isOpen = (found) => (found?.status ?? "open") === "open";
    const likely = items.find((item) => item.id !== id && isOpen(item.case) && isOpen(caseOf(item.id)));
    if (likely) prefetchPanel(likely.id);
  } catch {
    // Only speed is lost.
  }
}

/** The filter of the list, which the next transaction has to match. */
function readFilter() {
  const query = new URLSearchParams(location.pathname === "/" ? location.search : "");
  for (const [name, value] of [...query]) {
    if (NOT_FILTERS.includes(name) || value.trim() === "") query.delete(name);
  }
  return query;
}

document.addEventListener("flag:next", next);
document.addEventListener("drawer:state", ({ detail: { isOpen, id, isWhole } }) => {
  if (!isOpen && id === null) current = null; // the drawer was closed, which ends the loop
  if (!isOpen) return;
  // This is said when it opens, and when it is loaded.
  if (shown?.id !== id) shown = { id, at: Date.now() };
  if (isWhole && id === current) prefetch(id);
  showTally();
});
document.addEventListener("case:deciding", ({ detail: { id } }) => {
  if (shown?.id === id) spent.set(id, Date.now() - shown.at);
  if (id === current) next();
  else if (id === undone && current) tell("flag:open", { id: current });
  undone = null;
});
document.addEventListener("case:decided", ({ detail: { id, before } }) => {
  countDecided(id, before, spent.get(id) ?? null); // none if it was decided from the list
  spent.delete(id);
});
document.addEventListener("case:withdrawn", ({ detail: { id, before } }) => {
  undone = id; // it is decided again, and then the loop goes on where it was
  countWithdrawn(id, before);
});
showTally();
