// The menu of saved views: filters, order and columns of the list under a name.

import { view } from "./queue.js";
import { toast } from "./toast.js";
import { html, render } from "./vendor/htm/standalone.module.js";

const API = "/api/v1/views";
const form = document.getElementById("save-view");

async function call(path, options) {
  try {
    const response = await fetch(path, options);
    if (response.ok) return response;
    const problem = await response.json();
    toast(`The view was not changed: ${problem.detail}`, { seconds: 0 });
  } catch {
    toast("The view was not changed: the dashboard does not answer.", { seconds: 0 });
  }
  return null;
}

export async function showViews() {
  const response = await call(API, {});
  if (!response) return;
  const { items } = await response.json();
  render(items.map((item) => html`<${View} key=${item.name} ...${item} />`), document.getElementById("view-list"));
}

function View({ name, query }) {
  const remove = async () => {
    if (await call(`${API}/${encodeURIComponent(name)}`, { method: "DELETE" })) await showViews();
  };
  return html`<p class="line"><a href=${query ? `/?${query}` : "/"}>${name}</a><button type="button" class="quiet" aria-label="Delete the view ${name}" onClick=${remove}>✕</button></p>`;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = form.elements.view_name.value.trim();
  if (!name) return;
  const done = await call(API, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name, query: view.toString(), columns: null }),
  });
  if (!done) return;
  form.reset();
  toast(`Saved the view “${name}”.`);
  await showViews();
});
form.hidden = false;
