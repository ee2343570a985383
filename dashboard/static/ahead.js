// What was fetched before it is wanted: a few answers, for a short time. Nothing here has effects.

/** Answers by id. `at`: when one was asked for, in milliseconds. The oldest makes room for a new one. */
export class Ahead {
  #entries = new Map();

  constructor({ most, longestMs }) {
    Object.assign(this, { most, longestMs });
  }

  /** The entry of an id, `{at, answer}`, unless it is too old by now. */
  get(id, now) {
    const entry = this.#entries.get(id);
    return entry && now - entry.at < this.longestMs ? entry : null;
  }

  put(id, answer, at) {
    this.#entries.delete(id);
    this.#entries.set(id, { at, answer });
    if (this.#entries.size > this.most) this.drop(this.#entries.keys().next().value);
  }

  /** Forget an answer: it was used, or what it says has changed. */
  drop(id) {
    this.#entries.delete(id);
  }
}
