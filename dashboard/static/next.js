// Transactions one after another: n claims the next by expected loss, a decision brings the one
// after it, and its details are fetched while this one is read.

import { caseOf, claims, know, takeClaim } from "./decide.js";
import { prefetchPanel } from "./panel.js";
import { tell } from "./parts.js";
import { request } from "./request.js";
import { countDecided, countWithdrawn, showTally } from "./tally.js";
import { toast, toastFailure } from "./toast.js";

const NOT_FILTERS = ["sel", "cursor", "after", "limit", "sort", "status", "columns", "view"];

const REFRESH_MS = 10_000; // meanwhile a more worthwhile one may have come

let claiming = null; // settles when the claim that is on its way is known to hold or not
let current = null; // what the loop claimed and shows
let undone = null;
let shown = null; // {id, at} of the transaction that is shown
let likely = []; // open transactions of the filter, the most worthwhile first
const spent = new Map(); // id → milliseconds from its first sight to its decision

/** Claim the next transaction of the list's filter, and show it. */
function next() {
  if (claiming) return;
  const flag = likely.find(isOpen);
  claiming = (flag ? claimShown(flag) : claimNext()).finally(() => {
    claiming = null;
    claims.delete(flag?.id);
  });
  if (flag) claims.set(flag.id, claiming);
}

/**
 * Show the likely next one while it is claimed, and another if somebody else was faster. Resolves
 * to whether it is the user's.
 */
async function claimShown(flag) {
  current = flag.id;
  const isTaken = takeClaim(flag.id);
  tell("flag:open", { id: flag.id, flag });
  try {
    await isTaken;
    return true;
  } catch (error) {
    if (!["conflict", "missing"].includes(error.kind)) {
      const claimAgain = () => tell("flag:claim", { id: flag.id });
      toastFailure(`Transaction ${flag.transaction_id} could not be claimed.`, error, claimAgain);
      return true; // which does not keep it from being decided
    }
    toast(`Transaction ${flag.transaction_id}: ${error.message} This is the next one.`);
    likely = [];
    if (current === flag.id && undone === null) await claimNext();
    else current = null;
    return false;
  }
}

async function claimNext() {
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
  }
}

const isOpen = ({ id, case: found }) =>
  id !== shown?.id && [found, caseOf(id)].every((each) => (each?.status ?? "open") === "open");

/** Find the likely next ones, and fetch the details of the first. Whoever claims it first gets it. */
async function prefetch() {
  try {
    const query = readFilter();
    for (const [name, value] of [["status", "open"], ["sort", "expected_loss"], ["limit", "20"]]) {
      query.set(name, value);
    }
    const { items } = await request(`/api/v1/flags?${query}`);
    if (current === null) return; // the drawer was closed meanwhile
    likely = items;
    const first = likely.find(isOpen);
    if (first) prefetchPanel(first.id);
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
  if (!isOpen && id === null) [current, likely] = [null, []]; // the drawer was closed, which ends the loop
  if (!isOpen) return;
  // This is said when it opens, and when it is loaded.
  if (shown?.id !== id) shown = { id, at: performance.now() };
  if (isWhole && id === current) prefetch();
  showTally();
});
document.addEventListener("case:deciding", ({ detail: { id } }) => {
  if (shown?.id === id) spent.set(id, performance.now() - shown.at);
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
setInterval(() => current !== null && shown?.id === current && !document.hidden && prefetch(), REFRESH_MS);
showTally();
