// The page of one transaction: the same details as in the drawer, with the same keys. The next one is
// shown in place, so that a decision can be undone and the keys go on.

import { Detail } from "./detail.js";
import "./keyboard.js";
import "./next.js";
import { announce, fetchPanel, pathOf } from "./panel.js";
import { tell } from "./parts.js";
import { toast } from "./toast.js";
import { html, render } from "./vendor/htm/standalone.module.js";

const sheet = document.getElementById("sheet");
let turn = 0; // of the newest request: only its answer is shown

function put(node) {
  const { id, title } = node.dataset;
  turn += 1;
  sheet.dataset.flag = id;
  document.title = `${title} · Fraud dashboard`;
  document.querySelector("h1").textContent = `Flagged ${title.toLowerCase()}`;
  render(html`<${Detail} key=${turn} node=${node} onReload=${() => open(id)} />`, sheet);
  tell("drawer:state", { isOpen: true, id, isWhole: true });
}

/** Show a transaction, and its address if it is another one and `isNew` in the history. */
async function open(id, { isNew = true } = {}) {
  turn += 1;
  const mine = turn;
  try {
    const node = await fetchPanel(id);
    if (mine !== turn) return;
    if (isNew && id !== sheet.dataset.flag) history.pushState(null, "", pathOf(id));
    if (id !== sheet.dataset.flag) scrollTo({ top: 0 });
    put(node);
    announce(node);
  } catch (error) {
    if (mine === turn) toast(error.message, { action: "Retry", onAction: () => open(id, { isNew }), seconds: 0 });
  }
}

document.addEventListener("flag:open", ({ detail }) => open(detail.id));
addEventListener("popstate", () => open(decodeURIComponent(location.pathname.split("/")[2]), { isNew: false }));

const rendered = document.getElementById("detail");
const focused = document.activeElement;
sheet.replaceChildren();
put(rendered);
if (rendered.contains(focused)) focused.focus({ preventScroll: true });
