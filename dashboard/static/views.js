// The menu of saved views: filters, order and columns of the list under a name.

import { view } from "./queue.js";
import { request } from "./request.js";
import { toast, toastFailure } from "./toast.js";
import { html, render } from "./vendor/htm/standalone.module.js";

const API = "/api/v1/views";
const form = document.getElementById("save-view");

export async function showViews() {
  try {
    const { items } = await request(API);
    render(items.map((item) => html`<${View} key=${item.name} ...${item} />`), document.getElementById("view-list"));
  } catch (error) {
    toastFailure("Your views cannot be read.", error, showViews);
  }
}

async function change(path, options) {
  try {
    await request(path, options);
  } catch (error) {
    toastFailure("The view was not changed.", error);
    return;
  }
  if (options.body) {
    form.reset();
    toast(`Saved the view “${options.body.name}”.`);
  }
  await showViews();
}

function View({ name, query }) {
  const remove = () => change(`${API}/${encodeURIComponent(name)}`, { method: "DELETE" });
  return html`<p class="line"><a href=${query ? `/?${query}` : "/"}>${name}</a><button type="button" class="quiet" aria-label="Delete the view ${name}" onClick=${remove}>✕</button></p>`;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const name = form.elements.view_name.value.trim();
  if (name) change(API, { method: "POST", body: { name, query: view.toString(), columns: null } });
});
form.hidden = false;
