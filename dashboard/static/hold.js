// When new rows must wait: nothing moves under the pointer, the cursor or a selection.

const MOST_HELD = 2000;

export class Hold {
  #reasons = new Set();
  #rows = [];
  #beyond = 0; // rows that came but are not at hand: show means fetching the list again

  /** `onChange` is called whenever rows came in, were let go, or a reason came or went. */
  constructor(table, onChange) {
    this.onChange = onChange;
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
    this.#rows.push(...rows);
    this.#beyond += more + Math.max(0, this.#rows.length - MOST_HELD);
    this.#rows.splice(0, this.#rows.length - MOST_HELD);
    this.onChange();
  }

  get count() {
    return this.#rows.length + this.#beyond;
  }

  /** `27` or `2,000+`. */
  get label() {
    return this.count > MOST_HELD ? "2,000+" : this.count.toLocaleString("en-US");
  }

  /** The kept rows, which are forgotten, and whether that is all that came. */
  take() {
    const taken = { rows: this.#rows, isWhole: this.#beyond === 0 };
    this.#rows = [];
    this.#beyond = 0;
    return taken;
  }
}
