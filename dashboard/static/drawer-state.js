// What the drawer shows. Nothing here has effects. Each request has a number, so that a slower answer
// to an earlier one changes nothing.

/**
 * `view`: "none", "loading", "detail" with its `node`, or "failed" with its `error`. Details that are
 * `isEarly` are what the list knows, and `isSlow` says that the rest takes long.
 */
export const CLOSED = {
  id: null, turn: 0, view: "none", node: null, error: null, isNext: false, isEarly: false, isSlow: false,
};

export function reduce(state, action) {
  const { turn } = state;
  switch (action.type) {
    case "opened": {
      const { id, node, isEarly = false } = action;
      const shown = node ? { view: "detail", node, error: null } : {};
      return { ...state, ...shown, id, turn: turn + 1, isNext: ![null, id].includes(state.id), isEarly, isSlow: false };
    }
    case "closed":
      return { ...CLOSED, turn: turn + 1 };
    case "slow":
      if (action.turn !== turn) return state;
      return state.isEarly ? { ...state, isSlow: true } : { ...state, view: "loading", node: null };
    case "loaded":
      if (action.turn !== turn) return state;
      return { ...state, view: "detail", node: action.node, isEarly: false, isSlow: false };
    case "failed":
      if (action.turn !== turn) return state;
      return { ...state, view: "failed", node: null, error: action.error, isEarly: false, isSlow: false };
    default:
      return state;
  }
}
