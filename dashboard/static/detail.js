// What a person can do with the details of one transaction, in the drawer and on its own page. The
// server rendered them; these components fill the places that change.

import {
  caseOf, decide, forget, know, refresh, remarks, renew, snooze, toggleClaim, useCase, withdraw,
} from "./decide.js";
import { pathOf } from "./panel.js";
import { Into, Later, Notice, tell, useEvent, useInterval } from "./parts.js";
import { html, useLayoutEffect, useMemo, useReducer, useRef, useState } from "./vendor/htm/standalone.module.js";
import { describeCase, serverNow, showTimes } from "./view.js";

const REFRESH_MS = 2_000; // while a decision waits to be recorded
const RENEW_MS = 60_000;
const SHOW_MS = 15_000;
const LEASE_LEFT_MS = 10 * 60_000; // renew a lease of 15 minutes when this is left
const ACTIVE_MS = 5 * 60_000; // a person who has left keeps nothing from others

const loadRaw = () => import("./raw.js");
const loadRelated = () => import("./related.js");

let lastActive = performance.now();
for (const type of ["pointerdown", "pointermove", "keydown", "wheel"]) {
  addEventListener(type, () => { lastActive = performance.now(); }, { passive: true });
}

/** The details `node`. Those that are `isEarly` get more later. `onReload` fetches them again. */
export function Detail({ node, isEarly = false, onReload }) {
  const place = useRef();
  const [isRawOpen, openRaw] = useState(false);
  const { id } = node.dataset;
  const find = (selector) => node.querySelector(selector);
  const [form, raw, related, copy] = ["form.decide", "details.raw", ".related", ".copy-link"].map(find);
  useMemo(() => know(id, JSON.parse(node.dataset.case), Number(node.dataset.at ?? 0)), [isEarly]); // before the case is shown
  useLayoutEffect(() => place.current.append(node), []);
  useLayoutEffect(() => {
    showTimes(node);
    if (copy && navigator.clipboard) copy.hidden = false;
  }, [isEarly]);
  useInterval(RENEW_MS, () => keepClaim(id, node.dataset.me));
  useInterval(REFRESH_MS, () => caseOf(id)?.pending && !document.hidden && refresh(id));
  useEvent("toggle", () => raw.open && openRaw(true), raw);
  useEvent("click", async () => {
    await navigator.clipboard.writeText(new URL(pathOf(id), location));
    copy.textContent = "Copied";
  }, copy);
  return html`
    <div ref=${place} />
    <${Into} place=${find(".case")}><${CaseLine} node=${node} form=${form} /><//>
    ${form && html`<${Actions} id=${id} form=${form} onReload=${onReload} />`}
    ${isRawOpen && html`<${Into} place=${raw.querySelector(".body")}>
      <${Later} load=${loadRaw} id=${id} /><//>`}
    ${related && html`<${Later} load=${loadRelated} section=${related} />`}`;
}

/** Who holds it or decided it, and which buttons follow from that. */
function CaseLine({ node, form }) {
  const { id, me, labelsTopic } = node.dataset;
  const { found } = useCase(id);
  const [, update] = useReducer((count) => count + 1, 0);
  useInterval(SHOW_MS, update);
  useEvent("zone:changed", update);
  const { state, text, proof, external } = describeCase(found, me, serverNow(), labelsTopic);
  useLayoutEffect(() => {
    node.querySelector(".case").dataset.state = state;
    if (!form) return;
    const { label: labels, claim, withdraw: back } = form.elements;
    for (const button of labels) button.setAttribute("aria-pressed", String(found?.label === button.value));
    claim.firstElementChild.textContent = state === "mine" ? "Release" : "Claim";
    claim.hidden = form.querySelector(".snooze").hidden = state === "decided";
    back.hidden = state !== "decided";
    form.querySelector(".onward")?.toggleAttribute("hidden", state !== "decided");
  });
  return html`<b class="who">${text}</b> <span class="proof mono">${proof}</span> <span class="external">${external}</span>`;
}

/** The form, what is being done with the case, and why it failed with the ways on. */
function Actions({ id, form, onReload }) {
  const { doing } = useCase(id);
  useLayoutEffect(() => {
    remarks.set(id, () => readRemarks(form));
    return () => remarks.delete(id);
  }, []);
  useLayoutEffect(() => form.setAttribute("aria-busy", String(doing?.name === "sending")));
  useEvent("submit", (event) => {
    event.preventDefault();
    const { name, value } = event.submitter ?? {};
    if (name === "label") decide(id, value);
    else if (name === "hours") {
      const menu = form.querySelector("details.snooze");
      menu.open = false;
      menu.firstElementChild.focus();
      snooze(id, Number(value));
    }
    else if (name === "claim") toggleClaim(id);
    else if (name === "withdraw") withdraw(id);
  }, form);
  useEvent("flag:snooze", ({ detail }) => {
    if (detail.id !== id) return;
    const menu = form.querySelector("details.snooze");
    menu.open = true;
    menu.querySelector("button").focus();
  });
  const reload = { name: "Show the current state", act: () => { forget(id); onReload(); } };
  const ways = doing?.ways?.map((way) => (way === "reload" ? reload : way));
  return html`<${Into} place=${form.querySelector(".doing")}>
    ${doing?.name === "failed" ? html`<${Notice} text=${doing.text} ways=${ways} />` : doing?.text}<//>`;
}

/** The reason codes and the note that a form has now. */
function readRemarks(form) {
  const data = new FormData(form);
  return { reasons: data.getAll("reason"), note: (data.get("note") ?? "").trim() };
}

function keepClaim(id, me) {
  const found = caseOf(id);
  const isMine = found?.status === "claimed" && found.by === me;
  if (!isMine || document.hidden || performance.now() - lastActive > ACTIVE_MS) return;
  if (found.until - serverNow() < LEASE_LEFT_MS) renew(id);
}
