// Holds new rows back, so that nothing moves under the pointer, the focus or a text selection.

const MAX_HELD = 2000;

export class Hold {
  #reasons = new Set();
  #rows = [];
  #overflow = 0; // new rows that are not stored here: the list must be fetched again to show them
  #isStale = false; // the list itself changed, so it must be fetched again too

  /** `onChange` is called when rows are held or released, and when a reason starts or ends. */
  constructor(table, onChange) {
    this.onChange = onChange;
    this.table = table;
    const list = table.table;
    list.addEventListener("pointerenter", (e) => this.set("pointer", e.pointerType === "mouse"));
    list.addEventListener("pointerleave", () => this.set("pointer", false));
    list.addEventListener("focusin", (e) => this.set("focus", e.target.matches(":focus-visible")));
    list.addEventListener("focusout", () => this.set("focus", false));
    document.addEventListener("selectionchange", () => {
      const selection = document.getSelection();
      const isHere = !selection.isCollapsed && list.contains(selection.anchorNode);
      this.set("selection", isHere);
    });
    const onScroll = () => this.set("scrolled", list.getBoundingClientRect().top < -40);
    addEventListener("scroll", onScroll, { passive: true });
    onScroll();
  }

  get isActive() {
    return this.#reasons.size > 0;
  }

  has(reason) {
    return this.#reasons.has(reason);
  }

  set(reason, isOn) {
    if (isOn === this.#reasons.has(reason)) return;
    if (isOn) this.#reasons.add(reason);
    else this.#reasons.delete(reason);
    this.onChange();
  }

  /** Hold rows back. `more` is the number of rows that the tick left out. */
  add(rows, more) {
    const known = new Set(this.#rows.map((row) => row.id));
    this.#rows.push(...rows.filter((row) => !known.has(row.id) && !this.table.row(row.id)));
    this.#overflow += more + Math.max(0, this.#rows.length - MAX_HELD);
    this.#rows.splice(0, this.#rows.length - MAX_HELD);
    this.onChange();
  }

  /** Note that new rows no longer continue the list shown. */
  markStale() {
    this.#isStale = true;
    this.onChange();
  }

  get isPending() {
    return this.#isStale || this.count > 0;
  }

  get count() {
    return this.#rows.length + this.#overflow;
  }

  /** `27 new` or `2,000+ new`. */
  get label() {
    if (this.count === 0) return "List changed";
    return `${this.count > MAX_HELD ? "2,000+" : this.count.toLocaleString("en-US")} new`;
  }

  /** Release the held rows. `isComplete`: they are all the rows that arrived. */
  release() {
    const released = { rows: this.#rows, isComplete: this.#overflow === 0 && !this.#isStale };
    this.#rows = [];
    this.#isStale = false;
    this.#overflow = 0;
    return released;
  }
}
