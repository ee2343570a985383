// When new rows must wait: nothing moves under the pointer, the cursor or a selection.

const MOST_HELD = 2000;

export class Hold {
  #reasons = new Set();
  #rows = [];
  #beyond = 0; // rows that came but are not at hand: show means fetching the list again
  #isStale = false; // the list itself changed: the same

  /** `onChange` is called whenever rows came in, were let go, or a reason came or went. */
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
    const scrolled = () => this.set("scrolled", list.getBoundingClientRect().top < -40);
    addEventListener("scroll", scrolled, { passive: true });
    scrolled();
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

  /** Keep rows for later; `more` is how many the tick left out. */
  keep(rows, more) {
    const known = new Set(this.#rows.map((row) => row.id));
    this.#rows.push(...rows.filter((row) => !known.has(row.id) && !this.table.row(row.id)));
    this.#beyond += more + Math.max(0, this.#rows.length - MOST_HELD);
    this.#rows.splice(0, this.#rows.length - MOST_HELD);
    this.onChange();
  }

  /** Note that what is shown is not continued by what comes. */
  outdate() {
    this.#isStale = true;
    this.onChange();
  }

  get hasNews() {
    return this.#isStale || this.count > 0;
  }

  get count() {
    return this.#rows.length + this.#beyond;
  }

  /** `27 new` or `2,000+ new`. */
  get label() {
    if (this.count === 0) return "list changed";
    return `${this.count > MOST_HELD ? "2,000+" : this.count.toLocaleString("en-US")} new`;
  }

  /** The kept rows, which are forgotten, and whether that is all that came. */
  take() {
    const taken = { rows: this.#rows, isWhole: this.#beyond === 0 && !this.#isStale };
    this.#rows = [];
    this.#isStale = false;
    this.#beyond = 0;
    return taken;
  }
}
