// What the desk knows of cases, and what is being done with them. Nothing here has effects.

/** `cases`: id → case. `times`: id → when it was asked for. `doing`: id → {name: "sending" or "failed", text, ways}. */
export const NOTHING = { cases: new Map(), times: new Map(), doing: new Map() };

export function reduce(state, { type, id, ...more }) {
  const { cases, times, doing } = state;
  if (type === "known") { // by a page or an answer, which may be older than what is known
    const known = cases.get(id);
    const version = more.found?.version ?? -1;
    // A renewed claim, and one that Kafka does not have yet, have the version of the case before it.
    const isOlder = known && (version < known.version || (version === known.version && more.at < times.get(id)));
    return isOlder ? state : { ...state, cases: put(cases, id, more.found ?? null), times: put(times, id, more.at) };
  }
  if (type === "told") return { ...state, cases: put(cases, id, more.found), times: put(times, id, more.at) }; // with a refusal: as it is now
  if (type === "doing") return { ...state, doing: put(doing, id, more.doing) };
  if (type === "settled") return { ...state, doing: without(doing, id) };
  if (type === "forgotten") return { cases: without(cases, id), times: without(times, id), doing: without(doing, id) };
  return state;
}

const put = (map, id, value) => new Map(map).set(id, value);

function without(map, id) {
  const rest = new Map(map);
  rest.delete(id);
  return rest;
}
