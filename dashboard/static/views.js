// The menu of saved views: filters, order and columns of the list under a name.

import { toast } from "./toast.js";

const API = "/api/v1/views";
const menu = document.getElementById("views");
const list = document.getElementById("view-list");
const form = document.getElementById("save-view");

/** The view that the page shows, as it is saved. */
function currentQuery() {
  const query = new URLSearchParams(location.search);
  for (const name of ["sel", "after"]) query.delete(name);
  return query.toString();
}

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

async function show() {
  const response = await call(API, {});
  if (!response) return;
  const { items } = await response.json();
  list.replaceChildren(...items.map(({ name, query }) => buildLine(name, query)));
}

function buildLine(name, query) {
  const line = document.createElement("p");
  line.className = "line";
  const link = document.createElement("a");
  link.href = query ? `/?${query}` : "/";
  link.textContent = name;
  const remove = document.createElement("button");
  remove.type = "button";
  remove.className = "quiet";
  remove.textContent = "✕";
  remove.setAttribute("aria-label", `Delete the view ${name}`);
  remove.addEventListener("click", async () => {
    if (await call(`${API}/${encodeURIComponent(name)}`, { method: "DELETE" })) await show();
  });
  line.append(link, remove);
  return line;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = form.elements.view_name.value.trim();
  if (!name) return;
  const done = await call(API, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name, query: currentQuery(), columns: null }),
  });
  if (!done) return;
  form.reset();
  toast(`Saved the view “${name}”.`);
  await show();
});

form.hidden = false;
menu.addEventListener("toggle", () => menu.open && show());
show();
