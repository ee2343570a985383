// The check page without reloading: sends the form, and shows the answer that the server rendered.

const TIMEOUT_MS = 30_000;
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
    const response = await fetch("/check", {
      method: "POST",
      body: new URLSearchParams(new FormData(form)),
      headers: { accept: "text/html" },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const text = await response.text();
    const type = response.headers.get("content-type") ?? "";
    if (type.startsWith("text/html")) {
      const page = new DOMParser().parseFromString(text, "text/html");
      const found = page.getElementById("answer");
      if (found) return [...found.childNodes].map((node) => document.importNode(node, true));
    }
    return [describeProblem(response.status, text)];
  } catch (error) {
    const why = error.name === "TimeoutError"
      ? `The server did not answer within ${TIMEOUT_MS / 1000} s. Try again.`
      : "The server cannot be reached. Check the connection, and try again.";
    return [banner("Not scored", why)];
  }
}

function describeProblem(status, text) {
  let detail = "";
  try {
    detail = JSON.parse(text).detail ?? "";
  } catch {
    // not a problem of this server
  }
  if (status === 401) {
    const made = banner("Logged out", "The session has ended. ");
    const link = document.createElement("a");
    link.href = "/login?next=/check";
    link.textContent = "Log in again";
    made.lastElementChild.append(link);
    return made;
  }
  return banner(`Error ${status}`, detail || "The server gave no reason.");
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

function banner(title, text) {
  const made = document.createElement("div");
  made.className = "banner red";
  made.setAttribute("role", "alert");
  const bold = document.createElement("b");
  bold.textContent = title;
  const detail = document.createElement("p");
  detail.textContent = text;
  made.append(bold, detail);
  return made;
}
