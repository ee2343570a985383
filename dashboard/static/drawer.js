// The drawer: one transaction beside the list. This module is loaded when the first one is opened.
// It listens on document for flag:open and flag:close, and reports drawer:state and flag:moved.

import { Panel, fetchPanel } from "./panel.js";
import "./next.js";
import { Refused, buildNotice, loginWay } from "./request.js";

const SLOW_MS = 300; // a faster answer needs no "Loading"
const BACK_MS = 500;
const NARROW = matchMedia("(max-width: 1180px)");

class Drawer {
  #from = null; // what had the focus before
  #pending = null; // the newest request: only its answer may be shown
  #hasEntry = false; // whether opening added an entry to the browser's history
  #left = null; // settles when the browser has gone back
  #panel = null;
  #id = null;

  constructor() {
    this.aside = document.getElementById("drawer");
    this.split = document.getElementById("split");
    this.body = document.createElement("div");
    const close = document.createElement("button");
    close.type = "button";
    close.className = "close";
    close.setAttribute("aria-label", "Close (Esc)");
    close.title = "Close (Esc)";
    close.textContent = "✕";
    close.addEventListener("click", () => this.close());
    this.aside.replaceChildren(close, this.body);
    this.styles = Promise.all(["drawer", "waterfall"].map((name) => addStyles(`/static/${name}.css`)));
  }

  get isOpen() {
    return !this.aside.hidden;
  }

  get hasFailed() {
    return this.isOpen && this.body.querySelector(".failed") !== null;
  }

  /** Show a transaction. One that is shown already is loaded again with `isForced`. */
  async open(id, { isForced = false } = {}) {
    if (id === this.#id && this.isOpen && !isForced) return;
    await this.#left;
    if (!this.isOpen) {
      this.#from = document.activeElement;
      if (readSelected() !== id) {
        history.pushState({ drawer: true }, "", withSelected(id));
        this.#hasEntry = true;
      } else this.#hasEntry = history.state?.drawer === true;
    } else if (readSelected() !== id) history.replaceState(history.state, "", withSelected(id));
    await this.#show(id);
  }

  /** Close the drawer. Back closes it too, and the focus returns to the row. */
  close() {
    if (!this.isOpen) return;
    if (this.#hasEntry) {
      this.#left = new Promise((resolve) => {
        addEventListener("popstate", resolve, { once: true });
        setTimeout(resolve, BACK_MS);
      });
      history.back();
    } else history.replaceState(null, "", withSelected(null));
    this.#hide();
  }

  /** Follow Back and Forward. */
  follow() {
    const id = readSelected();
    if (id === null) {
      if (this.isOpen) this.#hide();
      return;
    }
    this.#hasEntry = history.state?.drawer === true;
    if (!this.isOpen) this.#from = document.activeElement;
    this.#show(id);
  }

  async #show(id) {
    this.#pending?.abort();
    const pending = new AbortController();
    this.#pending = pending;
    const isNext = this.isOpen && id !== this.#id;
    this.#id = id;
    this.#reveal();
    tell("flag:moved", { id });
    const slow = setTimeout(() => this.#fill(id, buildLoading()), SLOW_MS);
    try {
      const [detail] = await Promise.all([fetchPanel(id, pending.signal), this.styles]);
      if (pending !== this.#pending) return;
      this.#fill(id, detail, { isNext });
      this.#panel = new Panel(detail, { onReload: () => this.open(id, { isForced: true }) });
      tell("drawer:state", { isOpen: true, id });
    } catch (error) {
      if (pending === this.#pending && !pending.signal.aborted) this.#fail(id, error);
    } finally {
      clearTimeout(slow);
    }
  }

  #reveal() {
    this.aside.hidden = false;
    this.aside.dataset.flag = this.#id;
    this.split?.classList.add("open");
    document.body.classList.toggle("drawer-open", true);
    tell("drawer:state", { isOpen: true, id: this.#id });
    if (!this.aside.contains(document.activeElement)) this.aside.focus({ preventScroll: true });
  }

  /** Replace what the drawer shows, and keep the focus in it if it was there. */
  #fill(id, content, { isNext = false } = {}) {
    const hadFocus = this.aside.contains(document.activeElement);
    this.#panel?.close();
    this.#panel = null;
    this.body.replaceChildren(content);
    this.body.classList.toggle("slide", isNext);
    this.aside.scrollTop = 0;
    this.aside.setAttribute("aria-label", content.dataset?.title ?? "Transaction");
    if (hadFocus) this.aside.focus({ preventScroll: true });
  }

  /** Report a failed load, which no longer holds the list. */
  #fail(id, error) {
    const known = error instanceof Refused ? error : new Refused("broken", String(error.message));
    const retry = { name: "Retry", act: () => this.open(id, { isForced: true }) };
    const close = { name: "Close", act: () => this.close() };
    const ways = { login: [loginWay(), close], missing: [close] }[known.kind] ?? [retry, close];
    const section = document.createElement("section");
    section.className = "failed";
    const title = document.createElement("h2");
    title.textContent = "This transaction could not be loaded";
    section.append(title, buildNotice(known.message, ways));
    this.#fill(id, section);
    tell("drawer:state", { isOpen: false, id });
  }

  #hide() {
    this.#pending?.abort();
    this.#pending = null;
    this.#panel?.close();
    this.#panel = null;
    const row = document.querySelector(`#rows [data-id="${CSS.escape(this.#id ?? "")}"]`);
    this.#id = null;
    this.aside.hidden = true;
    delete this.aside.dataset.flag;
    this.body.replaceChildren();
    this.split?.classList.remove("open");
    document.body.classList.remove("drawer-open");
    tell("drawer:state", { isOpen: false, id: null });
    const target = row ?? (this.#from?.isConnected ? this.#from : null);
    target?.focus({ preventScroll: !NARROW.matches });
    this.#from = null;
  }
}

function buildLoading() {
  const loading = document.createElement("p");
  loading.className = "dim";
  loading.setAttribute("role", "status");
  loading.textContent = "Loading…";
  return loading;
}

/** Add a style sheet. Settles when it is loaded, or cannot be: text without style is readable. */
function addStyles(href) {
  if (document.querySelector(`link[href="${href}"]`)) return Promise.resolve();
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = href;
  const loaded = new Promise((resolve) => {
    link.addEventListener("load", resolve, { once: true });
    link.addEventListener("error", resolve, { once: true });
  });
  document.head.append(link);
  return loaded;
}

const readSelected = () => new URLSearchParams(location.search).get("sel");

function withSelected(id) {
  const url = new URL(location.href);
  if (id === null) url.searchParams.delete("sel");
  else url.searchParams.set("sel", id);
  return url;
}

function tell(name, detail) {
  document.dispatchEvent(new CustomEvent(name, { detail }));
}

const isList = document.getElementById("drawer") !== null;
export const drawer = isList ? new Drawer() : null;

if (isList) {
  document.addEventListener("flag:open", ({ detail }) => drawer.open(detail.id));
  document.addEventListener("flag:close", () => drawer.close());
  addEventListener("popstate", () => drawer.follow());
  // The list counts the drawer as closed after a failed load, and so leaves this key to it.
  drawer.aside.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && drawer.hasFailed) drawer.close();
  });
} else if (!document.querySelector("#sheet, .entity")) {
  // Keys that claim the next transaction work on every page.
  document.addEventListener("flag:open", ({ detail }) => {
    location.assign(`/t/${encodeURIComponent(detail.id)}`);
  });
}
