// What a page says about a case, as the server's case_text.py does. A test compares the two.

import { formatMoment, formatTime, zoneLabel } from "./view.js";

export const LABELS = { FRAUD: "Fraud", LEGITIMATE: "Legitimate", UNSURE: "Unsure" };
const EXTERNAL = {
  FRAUD: "A chargeback reported fraud",
  LEGITIMATE: "A reversal reported that it was legitimate",
};
const MINUTE_MS = 60_000;

/** `{state, text, proof, external}` of a case, or of none. */
export function describeCase(found, me, now, labelsTopic) {
  if (!found) return { state: "open", text: "Open", proof: "", external: "" };
  const external = EXTERNAL[found.external] ?? "";
  if (found.label !== null) {
    const at = found.decided_at === null ? "—" : formatMoment(found.decided_at);
    const text = `${LABELS[found.label] ?? found.label}, decided by ${who(found.decided_by, me)} at ${at}`;
    return { state: "decided", text, proof: prove(found, labelsTopic), external };
  }
  const until = found.until ?? 0;
  if (until > now && found.status === "claimed") {
    const isMine = found.by === me;
    const held = found.since ? ` for ${minutes(now - found.since)}` : "";
    const text = `Held by ${isMine ? "you" : found.by}${held}, until ${clock(until, now)}`;
    return { state: isMine ? "mine" : "held", text, proof: "", external };
  }
  if (until > now && found.status === "snoozed") {
    const text = `Snoozed by ${who(found.by, me)} until ${clock(until, now)}`;
    return { state: "snoozed", text, proof: "", external };
  }
  return { state: "open", text: "Open", proof: "", external };
}

function prove(found, topic) {
  if (found.recorded) {
    const [partition, offset] = found.recorded.split(":");
    return `Recorded at ${topic}[${partition}]@${offset}`;
  }
  return found.pending ? "Waiting to be recorded" : "";
}

const who = (name, me) => (name && name === me ? "you" : name || "an unknown user");

function clock(millis, now) {
  const [day, time] = formatTime(millis).split(" ");
  const short = `${time.slice(0, 5)} ${zoneLabel(millis)}`;
  return formatTime(now).startsWith(day) ? short : `${day} ${short}`;
}

function minutes(millis) {
  if (millis < MINUTE_MS) return `${Math.floor(Math.max(0, millis) / 1000)} s`;
  const whole = Math.floor(millis / MINUTE_MS);
  return whole < 120 ? `${whole} min` : `${Math.floor(whole / 60)} h`;
}
