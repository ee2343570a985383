// The page of one transaction: the same details as in the drawer, with the same keys.

import "./keyboard.js";
import { Panel, fetchPanel } from "./panel.js";
import { toast } from "./toast.js";

const sheet = document.getElementById("sheet");
let panel = null;

function connect() {
  const detail = document.getElementById("detail");
  panel?.close();
  panel = new Panel(detail, { onReload: reload });
}

async function reload() {
  try {
    sheet.replaceChildren(await fetchPanel(sheet.dataset.flag));
    connect();
  } catch (error) {
    toast(error.message, { action: "Retry", onAction: reload, seconds: 0 });
  }
}

// On the page of the list, these events load the drawer first.
document.addEventListener("flag:load", ({ detail }) => {
  document.dispatchEvent(new CustomEvent(detail.name, { detail: detail.detail }));
});
document.addEventListener("flag:open", ({ detail }) => {
  if (detail.id === sheet.dataset.flag) reload();
  else location.assign(`/t/${encodeURIComponent(detail.id)}`);
});
connect();
import("./next.js");
