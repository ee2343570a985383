// The check page without reloading: sends the form, and shows the answer that the server rendered.

import { request, waysOf } from "./request.js";

const SECONDS = 30;
const form = document.getElementById("check");
const answer = document.getElementById("answer");
let latest = 0;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  latest += 1;
  const turn = latest;
  answer.setAttribute("aria-busy", "true");
  const shown = await ask();
  if (turn !== latest) return; // a newer request was sent
  answer.removeAttribute("aria-busy");
  answer.replaceChildren(...shown);
  markFields();
  answer.focus({ preventScroll: true });
  answer.scrollIntoView({ block: "nearest" });
});

answer.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#f-"]');
  const field = link && document.getElementById(link.hash.slice(1));
  if (!field) return;
  event.preventDefault();
  const group = field.closest("details");
  if (group) group.open = true;
  field.focus();
});

window.addEventListener("beforeprint", () => {
  for (const details of answer.querySelectorAll("details:not([open])")) {
    details.dataset.opened = "print";
    details.open = true;
  }
});
window.addEventListener("afterprint", () => {
  for (const details of answer.querySelectorAll('details[data-opened="print"]')) {
    delete details.dataset.opened;
    details.open = false;
  }
});

/** The nodes to show. The server escapes what people typed, and scripts of a parsed page never run. */
async function ask() {
  try {
    const body = new URLSearchParams(new FormData(form));
    const text = await request("/check", { method: "POST", body, as: "page", seconds: SECONDS });
    const found = new DOMParser().parseFromString(text, "text/html").getElementById("answer");
    if (!found) throw new Error("The answer of the dashboard has no result.");
    return [...found.childNodes].map((node) => document.importNode(node, true));
  } catch (error) {
    return [banner("Not scored", error.message, waysOf(error))];
  }
}

/** Mark the inputs that the answer's faults are about. */
function markFields() {
  for (const mark of form.querySelectorAll(".wrong")) mark.remove();
  for (const input of form.querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-describedby");
  }
  for (const link of answer.querySelectorAll("a[data-field]")) {
    const input = document.getElementById(`f-${link.dataset.field}`);
    if (!input) continue;
    const note = document.createElement("p");
    note.className = "wrong";
    note.id = `e-${link.dataset.field}`;
    note.textContent = link.textContent;
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-describedby", note.id);
    input.after(note);
  }
}

function banner(title, text, ways) {
  const made = document.createElement("div");
  made.className = "banner red";
  made.setAttribute("role", "alert");
  const bold = document.createElement("b");
  bold.textContent = title;
  const detail = document.createElement("p");
  detail.textContent = text;
  for (const { name, href } of ways) detail.append(" ", Object.assign(document.createElement("a"), { href, textContent: name }));
  made.append(bold, detail);
  return made;
}
