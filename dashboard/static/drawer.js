// The drawer: shows the details from a transaction's own page beside the list.

export class Drawer {
  #from = null;

  constructor(table, hold) {
    this.aside = document.getElementById("drawer");
    this.split = document.getElementById("split");
    this.table = table;
    this.hold = hold;
  }

  get isOpen() {
    return !this.aside.hidden;
  }

  async open(id) {
    this.hold.set("drawer", true);
    this.#from = document.activeElement;
    const response = await fetch(`/t/${encodeURIComponent(id)}`, { headers: { accept: "text/html" } });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    // The server escaped every value, and a parsed document runs no scripts.
    const detail = page.getElementById("detail") ?? page.querySelector(".card");
    const close = document.createElement("button");
    close.className = "close";
    close.textContent = "Close";
    close.addEventListener("click", () => this.close());
    this.aside.replaceChildren(close, document.adoptNode(detail));
    this.aside.hidden = false;
    this.split.classList.add("open");
    this.#mark(id);
    this.aside.focus({ preventScroll: true });
    updateQuery((query) => query.set("sel", id));
  }

  close() {
    if (!this.isOpen) return;
    this.aside.hidden = true;
    this.aside.replaceChildren();
    this.split.classList.remove("open");
    this.#mark(null);
    updateQuery((query) => query.delete("sel"));
    this.#from?.focus?.({ preventScroll: true });
    this.hold.set("drawer", false);
  }

  #mark(id) {
    for (const row of this.table.body.querySelectorAll("[aria-selected]")) {
      row.removeAttribute("aria-selected");
    }
    if (id !== null) this.table.row(id)?.setAttribute("aria-selected", "true");
  }
}

function updateQuery(change) {
  const url = new URL(location.href);
  change(url.searchParams);
  history.replaceState(null, "", url);
}
