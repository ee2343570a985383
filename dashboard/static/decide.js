// Claims, decisions and their undo. Each intended change has one Idempotency-Key, which its retries
// repeat, so that a decision is recorded once however often it is sent.

import { NOTHING, reduce } from "./desk-state.js";
import { tell } from "./parts.js";
import { loginWay, newKey, request } from "./request.js";
import { toast } from "./toast.js";
import { useLayoutEffect, useReducer } from "./vendor/htm/standalone.module.js";
import { LABELS, describeCase, serverNow } from "./view.js";

const UNDO_SECONDS = 5;
const NEXT_WAY = { name: "Take the next one", act: () => tell("flag:next") };

let state = NOTHING;
const watchers = new Set();
const unsaved = new Set(); // decisions on their way or failed
let last = null; // the decision that can be undone
export const remarks = new Map(); // id → function that reads reason codes and note of its form
export const claims = new Map(); // id → promise of whether it is the user's, while its claim is on its way

function dispatch(action) {
  state = reduce(state, action);
  for (const watch of [...watchers]) watch();
}

/** A hook: `{found, doing}`, a case as it is known and what is being done with it, or null. */
export function useCase(id) {
  const [, update] = useReducer((count) => count + 1, 0);
  useLayoutEffect(() => {
    watchers.add(update);
    return () => watchers.delete(update);
  }, []);
  return { found: caseOf(id), doing: state.doing.get(id) ?? null };
}

export const caseOf = (id) => state.cases.get(id) ?? null;
/** `at`: when what `found` comes from was asked for. What is in an answer is newer than any page. */
export const know = (id, found, at = performance.now()) => dispatch({ type: "known", id, found, at });
export const forget = (id) => dispatch({ type: "forgotten", id });

/** Record a label. Ignored while another change of the same transaction is on its way. */
export async function decide(id, label) {
  if (claims.has(id) && !(await claim(id, label))) return;
  if (isSending(id)) return;
  const given = remarks.get(id)?.();
  const before = state.cases.has(id) ? caseOf(id) : rowCaseOf(id); // what is shown where it is decided
  // The same label again is a correction only if its reasons or its note changed.
  if (before?.label === label && (!given || isSame(given, before))) {
    toast(`Already decided: ${LABELS[label]}.`);
    return;
  }
  await send({
    id, label, before, path: "decision", key: newKey(), doing: `Saving: ${LABELS[label]}…`,
    body: { label, ...(given ?? { reasons: [], note: "" }) },
    version: before?.version ?? 0, // so that a decision that is not shown is not replaced
  });
}

/** Wait for a claim that is on its way: a decision before it would be about an older state of the case. */
async function claim(id, label) {
  dispatch({ type: "doing", id, doing: { name: "claiming", text: `Saving: ${LABELS[label]}…` } });
  const isMine = await claims.get(id);
  dispatch({ type: "settled", id });
  return isMine;
}

async function send(intent) {
  const { id, label, before } = intent;
  unsaved.add(intent);
  last?.close?.();
  last = intent;
  const isDone = change(intent);
  tell("case:deciding", { id, label });
  if (!(await isDone)) return;
  unsaved.delete(intent);
  if (last === intent) {
    intent.until = performance.now() + UNDO_SECONDS * 1000;
    const wait = caseOf(id)?.pending ? ", and recorded once Kafka answers" : "";
    intent.close = toast(`${LABELS[label]}: saved${wait}`, {
      action: "Undo (z)", seconds: UNDO_SECONDS, onAction: undo,
    });
  }
  tell("case:decided", { id, label, before });
}

/** Withdraw the last decision while its message is shown, and show its transaction again. */
async function undo() {
  const undone = last;
  if (!undone || (undone.until && performance.now() > undone.until)) {
    toast("Nothing to undo. To correct a decision, open the transaction and decide again.");
    return;
  }
  last = null;
  undone.close?.();
  const answer = await undone.sent.catch(() => null); // one that failed has nothing to withdraw
  if (answer) await withdraw(undone.id, answer.case.version, true);
}

/** Withdraw the decision that a version of the case has, and none that another user made since. */
export function withdraw(id, version = caseOf(id)?.version, isShown = false) {
  const before = caseOf(id);
  return change({
    id, method: "DELETE", path: "decision", version, doing: "Withdrawing…",
    onDone: () => {
      toast("Withdrawn. The transaction is open again.");
      tell("case:withdrawn", { id, before });
      if (isShown) tell("flag:open", { id });
    },
  });
}

/** Claim a transaction, or release it if it is held by the user. */
export function toggleClaim(id) {
  const isMine = caseOf(id)?.status === "claimed" && caseOf(id).by === readName();
  return change(isMine
    ? { id, method: "DELETE", path: "claim", doing: "Releasing…" }
    : { id, path: "claim", doing: "Claiming…" });
}

export const snooze = (id, hours) => change({ id, path: "snooze", body: { hours }, doing: "Snoozing…" });

/** Claim a transaction, or hold it for longer. Throws what the request throws. */
export async function takeClaim(id) {
  accept(id, await request(`${pathOf(id)}/claim`, { method: "POST" }));
}

/** Hold a claimed transaction for longer. Failures show at the next change. */
export async function renew(id) {
  try {
    await takeClaim(id);
  } catch {
    await refresh(id);
  }
}

export async function refresh(id) {
  try {
    accept(id, await request(pathOf(id)));
  } catch {
    // The connection's state is shown elsewhere; what is known stays.
  }
}

async function change(intent) {
  const { id, doing, method = "POST", path, body, version } = intent;
  if (isSending(id)) return false;
  intent.key ??= newKey();
  dispatch({ type: "doing", id, doing: { name: "sending", text: doing } });
  intent.sent = request(`${pathOf(id)}/${path}`, { method, body, key: intent.key, version });
  try {
    accept(id, await intent.sent);
  } catch (error) {
    refuse(intent, error);
    return false;
  }
  intent.onDone?.();
  return true;
}

/** The case in an answer: it alone, or as a member of the transaction. */
function accept(id, answer) {
  const found = answer?.case ?? (answer && "status" in answer ? answer : null);
  if (found) know(id, found);
  dispatch({ type: "settled", id });
  tell("case:changed", { id, case: caseOf(id) });
}

function refuse(intent, error) {
  const { id, label } = intent;
  const settle = () => dispatch({ type: "settled", id });
  const drop = () => { unsaved.delete(intent); settle(); };
  const again = [{ name: "Retry", act: () => { settle(); (label ? send : change)(intent); } }];
  if (label) again.push({ name: "Discard", act: drop });
  if (last === intent) last = null;
  let ways = ["reload", NEXT_WAY];
  if (error.kind === "login") ways = label ? [loginWay(), ...again] : [loginWay()];
  else if (error.isTemporary) ways = again;
  else if (label && !["conflict", "stale"].includes(error.kind)) ways = ["reload"];
  // What cannot succeed by repeating is dropped: the page says so, and the analyst decides.
  if (!ways.includes(again[0])) unsaved.delete(intent);
  const text = `${label ? `${LABELS[label]} is not saved. ` : ""}${explain(id, error)}`;
  dispatch({ type: "doing", id, doing: { name: "failed", text, ways } });
  if (document.querySelector(`[data-flag="${CSS.escape(id)}"]`)) return;
  toast(text, label ? { action: "Show", seconds: 0, onAction: () => tell("flag:open", { id }) } : {});
}

/** Why something was refused. The answer has the case as it is now. */
function explain(id, error) {
  const found = error.body?.case;
  if (!found) return error.message;
  dispatch({ type: "told", id, found, at: performance.now() });
  tell("case:changed", { id, case: found });
  const { text } = describeCase(found, readName(), serverNow(), "");
  if (error.kind === "stale") return `It changed while you read it: ${text}.`;
  return error.kind === "conflict" ? `${text}.` : error.message;
}

const isSending = (id) => state.doing.get(id)?.name === "sending";
const isSame = ({ reasons, note }, before) =>
  note === (before.note ?? "") && String([...reasons].sort()) === String([...(before.reasons ?? [])].sort());
const pathOf = (id) => `/api/v1/flags/${encodeURIComponent(id)}`;
const rowCaseOf = (id) => document.querySelector(`#rows tr[data-id="${CSS.escape(id)}"]`)?.flag?.case ?? null;
const readName = () => document.body.dataset.user;

// What others did arrives with the live rows.
document.addEventListener("case:changed", ({ detail }) => know(detail.id, detail.case));
document.addEventListener("flag:decide", ({ detail }) => decide(detail.id, detail.label));
document.addEventListener("flag:claim", ({ detail }) => toggleClaim(detail.id));
document.addEventListener("flag:undo", undo);
addEventListener("beforeunload", (event) => {
  if (unsaved.size > 0) event.preventDefault();
});
