// Transactions of the same card: open one from the time line, or select several and decide at once.

import { Into, Notice, tell, useEvent } from "./parts.js";
import { newKey, request, waysOf } from "./request.js";
import { toast } from "./toast.js";
import { html, useLayoutEffect, useRef, useState } from "./vendor/htm/standalone.module.js";
import { LABELS } from "./view.js";

const MOST = 100; // of one request
const CLICK_UNITS = 4; // a pointer that moves less than this is a click

const open = (id) => tell("flag:open", { id });

/** Makes the section that the server rendered work. */
export default function Related({ section }) {
  const list = section.querySelector("details.items");
  const boxes = [...section.querySelectorAll("tbody input[type=checkbox]")];
  const [ids, choose] = useState(() => readChosen(boxes));
  const [label, ask] = useState(null); // the decision to confirm
  const chooseWithin = (within) => {
    if (within.length > 0) list.open = true;
    choose(within);
  };
  useEvent("change", () => choose(readChosen(boxes)), section);
  useEvent("click", (event) => {
    const link = event.target.closest("td a[href^='/t/']");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(link.closest("tr").dataset.item);
  }, section);
  useLine(section.querySelector(".timeline svg"), boxes.length > 0 ? chooseWithin : null);
  useLayoutEffect(() => {
    for (const box of boxes) box.checked = ids.includes(box.value);
    for (const dot of section.querySelectorAll(".dot[data-id]")) {
      dot.classList.toggle("chosen", ids.includes(dot.dataset.id));
    }
  });
  const [bar] = useState(() => document.createElement("div"));
  useLayoutEffect(() => { if (boxes.length > 0) list.append(bar); }, []);
  if (boxes.length === 0) return null;
  const setAll = (isChosen) => choose(isChosen ? boxes.map((box) => box.value) : []);
  const close = (rest) => {
    ask(null);
    if (rest) choose(rest);
  };
  return html`<${Into} place=${bar}><${Bar} count=${ids.length} total=${boxes.length} ask=${ask} setAll=${setAll} />
    ${label && html`<${Confirm} label=${label} ids=${ids} section=${section} onClose=${close} />`}<//>`;
}

const readChosen = (boxes) => boxes.filter((box) => box.checked).map((box) => box.value);
const rowOf = (section, id) => section.querySelector(`tr[data-item="${CSS.escape(id)}"]`);
const statusOf = (section, id) => rowOf(section, id).querySelector(".status").textContent;

function Bar({ count, total, ask, setAll }) {
  return html`<div class="bulk" role="group" aria-label="Decide several transactions">
    <span class="count" role="status">${count} selected</span>
    ${Object.entries(LABELS).map(([label, name]) => html`
      <button type="button" data-label=${label} hidden=${count === 0} onClick=${() => ask(label)}>${name}</button>`)}
    <button type="button" class="quiet all" hidden=${count === total} onClick=${() => setAll(true)}>Select all</button>
    <button type="button" class="quiet none" hidden=${count === 0} onClick=${() => setAll(false)}>Clear</button>
  </div>`;
}

/** Asks once more, and sends. `onClose` gets the ids that stay selected, if others were decided. */
function Confirm({ label, ids: all, section, onClose }) {
  const dialog = useRef();
  const yes = useRef();
  const [{ isSending, error }, set] = useState({});
  const [{ ids, key }] = useState({ ids: all.slice(0, MOST), key: newKey() }); // repeated, it is the same change
  useLayoutEffect(() => {
    dialog.current.showModal();
    yes.current.focus();
  }, []);
  const noun = ids.length === 1 ? "transaction" : "transactions";
  const again = ids.filter((id) => Object.values(LABELS).includes(statusOf(section, id))).length;
  const send = async () => {
    set({ isSending: true });
    const decisions = ids.map((id) => ({ id, label, version: Number(rowOf(section, id).dataset.version) }));
    try {
      const { items } = await request("/api/v1/decisions:batch", { method: "POST", body: { decisions }, key });
      dialog.current.close(); // which gives the focus back
      onClose(accept(section, items, label, all));
    } catch (failure) {
      set({ error: failure });
    }
  };
  return html`<dialog class="confirm" ref=${dialog} aria-labelledby="confirm-title" onClose=${() => onClose()}>
    <h2 id="confirm-title">Decide ${ids.length} ${noun}: ${LABELS[label]}?</h2>
    <p>Each is recorded on its own, and can be decided again later.${again > 0 && ` ${again} of them ${again === 1 ? "has" : "have"} a decision, which is replaced.`}${all.length > MOST && ` At most ${MOST} are decided at once.`}</p>
    <p class="row">
      <button type="button" disabled=${isSending} onClick=${() => dialog.current.close()}>Cancel</button>
      <button type="button" class="primary" ref=${yes} disabled=${isSending} onClick=${send}>${LABELS[label]}: decide ${ids.length}</button>
    </p>
    ${error && html`<${Notice} text=${`Nothing is known to be saved. ${error.message}`} ways=${waysOf(error)} />`}
  </dialog>`;
}

/** Take over the answer of each one. Returns what stays selected: what is not saved. */
function accept(section, items, label, chosen) {
  const failed = items.filter((item) => item.problem);
  for (const { id, case: found } of items) {
    const row = rowOf(section, id);
    if (!found || !row) continue;
    row.dataset.version = found.version;
    if (LABELS[found.label]) row.querySelector(".status").textContent = LABELS[found.label];
    tell("case:changed", { id, case: found });
  }
  const why = failed.length ? ` ${failed.length} not saved, still selected: ${failed[0].problem.detail}.` : "";
  toast(`${LABELS[label]}: ${items.length - failed.length} saved.${why}`, failed.length ? { seconds: 0 } : {});
  const saved = new Set(items.filter((item) => item.case && !item.problem).map((item) => item.id));
  return chosen.filter((id) => !saved.has(id));
}

/** A click on a dot opens its transaction; a drag along the line selects those within it. */
function useLine(line, chooseWithin) {
  const drag = useRef({ from: null, band: null });
  const { current } = drag;
  const at = (event) => {
    const box = line.getBoundingClientRect();
    return ((event.clientX - box.left) / box.width) * line.viewBox.baseVal.width;
  };
  const end = () => {
    current.band?.remove();
    current.from = current.band = null;
  };
  useEvent("pointerdown", (event) => {
    if (event.button !== 0 || event.pointerType === "touch") return;
    current.from = at(event);
    line.setPointerCapture(event.pointerId);
  }, line);
  useEvent("pointermove", (event) => {
    if (current.from === null || !chooseWithin) return;
    current.band ??= line.appendChild(document.createElementNS(line.namespaceURI, "rect"));
    const x = at(event);
    const shape = { class: "range", x: Math.min(current.from, x), y: 0, width: Math.abs(x - current.from), height: 52 };
    for (const [name, value] of Object.entries(shape)) current.band.setAttribute(name, value);
  }, line);
  useEvent("pointerup", (event) => {
    if (current.from === null) return;
    const [low, high] = [current.from, at(event)].sort((a, b) => a - b);
    end();
    if (high - low >= CLICK_UNITS) {
      const isWithin = ({ dataset: { x } }) => Number(x) >= low && Number(x) <= high;
      chooseWithin?.([...line.querySelectorAll("[data-id]")].filter(isWithin).map((dot) => dot.dataset.id));
    } else {
      const hit = document.elementsFromPoint(event.clientX, event.clientY)
        .find((element) => element.dataset?.id && line.contains(element));
      if (hit) open(hit.dataset.id);
    }
  }, line);
  useEvent("pointercancel", end, line);
}
