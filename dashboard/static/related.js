// Transactions of the same card: open one from the time line, or select several and decide at once.

import { LABELS } from "./case-text.js";
import { Refused, buildNotice, loginWay, newKey, request } from "./request.js";
import { toast } from "./toast.js";

const MOST = 100; // of one request
const CLICK_UNITS = 4; // a pointer that moves less than this is a click

/** Connect the section with the desk. `signal` aborts when it is no longer shown. */
export function connectRelated(section, signal) {
  section.addEventListener("click", (event) => {
    const link = event.target.closest("td a[href^='/t/']");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(link.closest("tr").dataset.item);
  }, { signal });
  const line = section.querySelector(".timeline svg");
  const choice = section.querySelector("input[type=checkbox]") ? new Choice(section, signal) : null;
  if (line) connectLine(line, choice, signal);
}

function open(id) {
  document.dispatchEvent(new CustomEvent("flag:open", { detail: { id } }));
}

/** A click on a dot opens its transaction; a drag along the line selects those within it. */
function connectLine(line, choice, signal) {
  let from = null;
  let band = null;
  const at = (event) => {
    const box = line.getBoundingClientRect();
    return ((event.clientX - box.left) / box.width) * line.viewBox.baseVal.width;
  };
  const end = () => {
    band?.remove();
    band = null;
    from = null;
  };
  line.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.pointerType === "touch") return;
    from = at(event);
    line.setPointerCapture(event.pointerId);
  }, { signal });
  line.addEventListener("pointermove", (event) => {
    if (from === null || !choice) return;
    band ??= line.appendChild(document.createElementNS(line.namespaceURI, "rect"));
    const x = at(event);
    const shape = { class: "range", x: Math.min(from, x), y: 0, width: Math.abs(x - from), height: 52 };
    for (const [name, value] of Object.entries(shape)) band.setAttribute(name, value);
  }, { signal });
  line.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const [low, high] = [Math.min(from, at(event)), Math.max(from, at(event))];
    end();
    if (high - low >= CLICK_UNITS) choice?.chooseWithin(line, low, high);
    else {
      const hit = document.elementsFromPoint(event.clientX, event.clientY)
        .find((element) => element.dataset?.id && line.contains(element));
      if (hit) open(hit.dataset.id);
    }
  }, { signal });
  line.addEventListener("pointercancel", end, { signal });
}

/** The selected transactions, and the bar that decides them at once. */
class Choice {
  #bar = null;
  #signal;

  constructor(section, signal) {
    this.section = section;
    this.#signal = signal;
    section.addEventListener("change", () => this.#show(), { signal });
    this.#show();
  }

  get #boxes() {
    return [...this.section.querySelectorAll("tbody input[type=checkbox]")];
  }

  get ids() {
    return this.#boxes.filter((box) => box.checked).map((box) => box.value);
  }

  chooseWithin(line, low, high) {
    const within = new Set([...line.querySelectorAll("[data-id]")]
      .filter((dot) => Number(dot.dataset.x) >= low && Number(dot.dataset.x) <= high)
      .map((dot) => dot.dataset.id));
    for (const box of this.#boxes) box.checked = within.has(box.value);
    if (within.size > 0) this.section.querySelector("details.items").open = true;
    this.#show();
  }

  #show() {
    const ids = this.ids;
    const chosen = new Set(ids);
    for (const dot of this.section.querySelectorAll(".dot[data-id]")) {
      dot.classList.toggle("chosen", chosen.has(dot.dataset.id));
    }
    this.#bar ??= this.#build();
    this.#bar.querySelector(".count").textContent = `${ids.length} selected`;
    this.#bar.querySelector(".all").hidden = ids.length === this.#boxes.length;
    for (const button of this.#bar.querySelectorAll("[data-label], .none")) {
      button.hidden = ids.length === 0;
    }
  }

  #build() {
    const bar = document.createElement("div");
    bar.className = "bulk";
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", "Decide several transactions");
    const count = document.createElement("span");
    count.className = "count";
    count.setAttribute("role", "status");
    bar.append(count);
    for (const [label, name] of Object.entries(LABELS)) {
      const button = makeButton(name, () => this.#confirm(label));
      button.dataset.label = label;
      bar.append(button);
    }
    const all = makeButton("Select all", () => this.#setAll(true));
    all.className = "quiet all";
    const none = makeButton("Clear", () => this.#setAll(false));
    none.className = "quiet none";
    bar.append(all, none);
    this.section.querySelector("details.items").append(bar);
    return bar;
  }

  #setAll(isChecked) {
    for (const box of this.#boxes) box.checked = isChecked;
    this.#show();
  }

  #confirm(label) {
    const ids = this.ids.slice(0, MOST);
    const dialog = document.createElement("dialog");
    dialog.className = "confirm";
    const title = document.createElement("h2");
    title.id = "confirm-title";
    const noun = ids.length === 1 ? "transaction" : "transactions";
    title.textContent = `Decide ${ids.length} ${noun}: ${LABELS[label]}?`;
    dialog.setAttribute("aria-labelledby", title.id);
    const text = document.createElement("p");
    text.textContent = this.#describe(ids);
    const row = document.createElement("p");
    row.className = "row";
    const key = newKey(); // of this intended change: a repeated click sends the same one
    const yes = makeButton(`${LABELS[label]}: decide ${ids.length}`, () => this.#send(dialog, label, ids, key));
    yes.className = "primary";
    row.append(makeButton("Cancel", () => dialog.close()), yes);
    dialog.append(title, text, row);
    dialog.addEventListener("close", () => dialog.remove());
    this.#signal.addEventListener("abort", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    yes.focus();
  }

  #describe(ids) {
    const rows = ids.map((id) => this.#row(id));
    const decided = rows.filter((row) => Object.values(LABELS).includes(row.querySelector(".status").textContent));
    const again = decided.length ? ` ${decided.length} of them have a decision, which is replaced.` : "";
    const rest = this.ids.length > MOST ? ` At most ${MOST} are decided at once.` : "";
    return `Each is recorded on its own, and can be decided again later.${again}${rest}`;
  }

  #row(id) {
    return this.section.querySelector(`tr[data-item="${CSS.escape(id)}"]`);
  }

  async #send(dialog, label, ids, key) {
    const buttons = dialog.querySelectorAll("button");
    buttons.forEach((button) => { button.disabled = true; });
    const decisions = ids.map((id) => ({ id, label, version: Number(this.#row(id).dataset.version) }));
    try {
      const { items } = await request("/api/v1/decisions:batch", { method: "POST", body: { decisions }, key });
      dialog.close();
      this.#accept(items, label);
    } catch (error) {
      buttons.forEach((button) => { button.disabled = false; });
      const text = error instanceof Refused ? error.message : "The answer could not be read.";
      dialog.querySelector(".notice")?.remove();
      dialog.append(buildNotice(`Nothing is known to be saved. ${text}`, error.kind === "login" ? [loginWay()] : []));
    }
  }

  #accept(items, label) {
    const failed = items.filter((item) => item.problem);
    for (const item of items) {
      if (!item.case) continue;
      const row = this.#row(item.id);
      if (!row) continue;
      row.dataset.version = item.case.version;
      row.querySelector(".status").textContent = LABELS[item.case.label] ?? row.querySelector(".status").textContent;
      if (!item.problem) row.querySelector("input").checked = false;
      document.dispatchEvent(new CustomEvent("case:changed", { detail: { id: item.id, case: item.case } }));
    }
    this.#show();
    const saved = items.length - failed.length;
    const why = failed.length ? ` ${failed.length} are not saved and stay selected: ${failed[0].problem.detail}.` : "";
    toast(`${LABELS[label]}: ${saved} saved.${why}`, failed.length ? { seconds: 0 } : {});
  }
}

function makeButton(text, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", act);
  return button;
}
