// The page of one transaction: the same details as in the drawer, with the same keys.

import { desk } from "./decide.js";
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

document.addEventListener("flag:open", async ({ detail }) => {
  if (detail.id === sheet.dataset.flag) await reload();
  else if (await desk.isSaved()) location.assign(`/t/${encodeURIComponent(detail.id)}`);
});
connect();
import("./next.js");
