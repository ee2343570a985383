// What the desk knows of cases, and what is being done with them. Nothing here has effects.

/** `cases`: id → case. `doing`: id → {name: "sending" or "failed", text, ways}. */
export const NOTHING = { cases: new Map(), doing: new Map() };

export function reduce(state, { type, id, ...more }) {
  const { cases, doing } = state;
  if (type === "known") { // by a page or an answer, which may be older than what is known
    const known = cases.get(id);
    const isOlder = known && (!more.found || known.version > more.found.version);
    return isOlder ? state : { ...state, cases: put(cases, id, more.found ?? null) };
  }
  if (type === "told") return { ...state, cases: put(cases, id, more.found) }; // with a refusal: as it is now
  if (type === "doing") return { ...state, doing: put(doing, id, more.doing) };
  if (type === "settled") return { ...state, doing: without(doing, id) };
  if (type === "forgotten") return { cases: without(cases, id), doing: without(doing, id) };
  return state;
}

const put = (map, id, value) => new Map(map).set(id, value);

function without(map, id) {
  const rest = new Map(map);
  rest.delete(id);
  return rest;
}
