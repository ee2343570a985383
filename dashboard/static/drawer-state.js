// What the drawer shows. Nothing here has effects. Each request has a number, so that a slower answer
// to an earlier one changes nothing.

/** `view`: "none", "loading", "detail" with its `node`, or "failed" with its `error`. */
export const CLOSED = { id: null, turn: 0, view: "none", node: null, error: null, isNext: false };

export function reduce(state, action) {
  const { turn } = state;
  switch (action.type) {
    case "opened":
      return { ...state, id: action.id, turn: turn + 1, isNext: ![null, action.id].includes(state.id) };
    case "closed":
      return { ...CLOSED, turn: turn + 1 };
    case "slow":
      return action.turn === turn ? { ...state, view: "loading", node: null } : state;
    case "loaded":
      return action.turn === turn ? { ...state, view: "detail", node: action.node } : state;
    case "failed":
      return action.turn === turn ? { ...state, view: "failed", node: null, error: action.error } : state;
    default:
      return state;
  }
}
