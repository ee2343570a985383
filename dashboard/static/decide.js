// Claims, decisions and their undo. Each intended decision has one Idempotency-Key, which its
// retries repeat, so that a decision is recorded once however often it is sent.

import { LABELS, describeCase } from "./case-text.js";
import { loginWay, newKey, request } from "./request.js";
import { toast } from "./toast.js";

const UNDO_SECONDS = 5;

class Desk {
  #cases = new Map();
  #states = new Map();
  #unsaved = new Set(); // decisions on their way or failed
  #last = null; // the decision that can be undone
  remarks = new Map(); // id → function that reads reason codes and note of its form

  constructor() {
    addEventListener("beforeunload", (event) => {
      if (this.#unsaved.size > 0) event.preventDefault();
    });
  }

  /** Wait for the last decision. False if one is not saved, so that the page must stay. */
  async isSaved() {
    try {
      await this.#last?.sent;
    } catch {
      // Its failure is shown.
    }
    return this.#unsaved.size === 0;
  }

  caseOf(id) {
    return this.#cases.get(id) ?? null;
  }

  /** What is being done with a case, or why it failed; null if neither. */
  stateOf(id) {
    return this.#states.get(id) ?? null;
  }

  /** Take over what the server rendered, unless a later version is known. */
  know(id, found) {
    const known = this.#cases.get(id);
    if (known && found && known.version > found.version) return;
    if (known && !found) return;
    this.#cases.set(id, found);
  }

  forget(id) {
    this.#cases.delete(id);
    this.#setState(id, null);
  }

  /** Record a label. Ignored while another change of the same transaction is on its way. */
  async decide(id, label) {
    if (this.stateOf(id)?.name === "sending") return;
    const given = this.remarks.get(id)?.();
    const { reasons, note } = given ?? { reasons: [], note: "" };
    const before = this.caseOf(id) ?? rowCaseOf(id);
    // The same label again is a correction only if its reasons or its note changed.
    if (before?.label === label && (!given || isSame(given, before))) {
      toast(`Already decided: ${LABELS[label]}.`);
      return;
    }
    const version = before?.version ?? 0; // so that a decision that is not shown is not replaced
    await this.#send({ id, label, reasons, note, version, key: newKey(), at: Date.now() });
  }

  async #send(intent) {
    const { id, label, reasons, note, version, key } = intent;
    this.#unsaved.add(intent);
    this.#last?.close?.();
    const last = { id, intent };
    this.#last = last;
    this.#setState(id, { name: "sending", text: `Saving: ${LABELS[label]}…` });
    tell("case:deciding", { id, label });
    last.sent = request(`${pathOf(id)}/decision`, {
      method: "POST", body: { label, reasons, note }, key, version,
    });
    try {
      this.#accept(id, await last.sent);
      this.#unsaved.delete(intent);
      if (this.#last === last) this.#offerUndo(last, label);
      tell("case:decided", { id, label });
    } catch (error) {
      this.#refuse(intent, error);
    }
  }

  #offerUndo(last, label) {
    last.until = Date.now() + UNDO_SECONDS * 1000;
    last.close = toast(`${LABELS[label]}: saved`, {
      action: "Undo (z)", seconds: UNDO_SECONDS, onAction: () => this.undo(),
    });
  }

  #refuse(intent, error) {
    const { id, label } = intent;
    const drop = () => { this.#unsaved.delete(intent); this.#setState(id, null); };
    const retry = { name: "Retry", act: () => this.#send(intent) };
    if (this.#last?.intent === intent) this.#last = null;
    const saving = `${LABELS[label]} is not saved.`;
    let ways = [retry, { name: "Discard", act: drop }];
    if (error.kind === "login") ways = [loginWay(), ...ways];
    else if (["conflict", "stale"].includes(error.kind)) ways = ["reload", nextWay];
    else if (!error.isTemporary) ways = ["reload"];
    // What cannot succeed by repeating is dropped: the page says so, and the analyst decides.
    if (!ways.includes(retry)) this.#unsaved.delete(intent);
    const text = `${saving} ${this.#explain(id, error)}`;
    this.#setState(id, { name: "failed", text, ways });
    if (!isShown(id)) {
      toast(text, { action: "Show", seconds: 0, onAction: () => tell("flag:open", { id }) });
    }
  }

  /** Withdraw the last decision while its message is shown, and show its transaction again. */
  async undo() {
    const last = this.#last;
    if (!last || (last.until && Date.now() > last.until)) {
      toast("Nothing to undo. To correct a decision, open the transaction and decide again.");
      return;
    }
    this.#last = null;
    last.close?.();
    const { id } = last;
    let answer;
    try {
      answer = await last.sent; // a decision that failed has nothing to withdraw
    } catch {
      return;
    }
    if (await this.withdraw(id, answer.case.version)) tell("flag:open", { id });
  }

  /** Withdraw the decision that a version of the case has, and none that another user made since. */
  async withdraw(id, version = this.caseOf(id)?.version) {
    const change = { method: "DELETE", path: "decision", version };
    const isDone = await this.#change(id, "Withdrawing…", change);
    if (isDone) {
      toast("Withdrawn. The transaction is open again.");
      tell("case:withdrawn", { id });
    }
    return isDone;
  }

  /** Claim a transaction, or release it if it is held by the user. */
  toggleClaim(id) {
    const isMine = this.caseOf(id)?.status === "claimed" && this.caseOf(id).by === readName();
    if (isMine) return this.#change(id, "Releasing…", { method: "DELETE", path: "claim" });
    return this.#change(id, "Claiming…", { path: "claim" });
  }

  /** Hold a claimed transaction for longer. Failures show at the next change. */
  async renew(id) {
    try {
      this.#accept(id, await request(`${pathOf(id)}/claim`, { method: "POST" }));
    } catch {
      await this.refresh(id);
    }
  }

  snooze(id, hours) {
    return this.#change(id, "Snoozing…", { path: "snooze", body: { hours } });
  }

  async refresh(id) {
    try {
      this.#accept(id, await request(pathOf(id)));
    } catch {
      // The connection's state is shown elsewhere; what is known stays.
    }
  }

  /** The case in an answer: it alone, or as a member of the transaction. */
  #accept(id, answer) {
    const found = answer?.case ?? (answer && "status" in answer ? answer : null);
    const known = this.#cases.get(id);
    if (found && !(known && known.version > found.version)) this.#cases.set(id, found);
    this.#setState(id, null);
    tell("case:changed", { id, case: this.caseOf(id) });
  }

  async #change(id, doing, { method = "POST", path, body, version }, key = newKey()) {
    if (this.stateOf(id)?.name === "sending") return false;
    this.#setState(id, { name: "sending", text: doing });
    try {
      this.#accept(id, await request(`${pathOf(id)}/${path}`, { method, body, key, version }));
      return true;
    } catch (error) {
      const again = () => {
        this.#setState(id, null);
        this.#change(id, doing, { method, path, body, version }, key);
      };
      let ways = ["reload", nextWay];
      if (error.kind === "login") ways = [loginWay()];
      else if (error.isTemporary) ways = [{ name: "Retry", act: again }];
      const text = this.#explain(id, error);
      this.#setState(id, { name: "failed", text, ways });
      if (!isShown(id)) toast(text);
      return false;
    }
  }

  /** Why something was refused. The answer has the case as it is now. */
  #explain(id, error) {
    const found = error.body?.case;
    if (!found) return error.message;
    this.#cases.set(id, found);
    tell("case:changed", { id, case: found });
    const { text } = describeCase(found, readName(), Date.now(), "");
    if (error.kind === "stale") return `It changed while you read it: ${text}.`;
    return error.kind === "conflict" ? `${text}.` : error.message;
  }

  #setState(id, state) {
    if (state) this.#states.set(id, state);
    else this.#states.delete(id);
    tell("case:state", { id, ...(state ?? { name: "idle" }) });
  }
}

const isSame = ({ reasons, note }, before) =>
  note === (before.note ?? "") && String([...reasons].sort()) === String([...(before.reasons ?? [])].sort());
const pathOf = (id) => `/api/v1/flags/${encodeURIComponent(id)}`;
const nextWay = { name: "Take the next one", act: () => tell("flag:next", {}) };
const isShown = (id) => document.querySelector(`[data-flag="${CSS.escape(id)}"]`) !== null;
const rowCaseOf = (id) => document.querySelector(`#rows tr[data-id="${CSS.escape(id)}"]`)?.flagCase ?? null;
const readName = () => document.body.dataset.user;

function tell(name, detail) {
  document.dispatchEvent(new CustomEvent(name, { detail }));
}

export const desk = new Desk();

// What others did arrives with the live rows.
document.addEventListener("case:changed", ({ detail }) => desk.know(detail.id, detail.case));
document.addEventListener("flag:decide", ({ detail }) => desk.decide(detail.id, detail.label));
document.addEventListener("flag:claim", ({ detail }) => desk.toggleClaim(detail.id));
document.addEventListener("flag:undo", () => desk.undo());
