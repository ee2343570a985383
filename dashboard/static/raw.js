// All fields of the input record, fetched when the section is opened.

import { Refused, buildNotice, request } from "./request.js";
import { MISSING, formatCount, formatMoment } from "./view.js";

// [name, whether a field belongs to it, how many there are, whether it starts closed]
const GROUPS = [
  ["Transaction", /^(Transaction|ProductCD|event_time)/, 5],
  ["Card", /^card\d/, 6],
  ["Address and email", /^(addr\d|dist\d|[PR]_emaildomain)/, 6],
  ["C", /^C\d+$/, 14],
  ["D", /^D\d+$/, 15],
  ["M", /^M\d+$/, 9],
  ["Identity and device", /^(id_\d+|Device)/, 40],
  ["V", /^V\d+$/, 339, true],
  ["Other", /./, 0],
];

/** Load the fields of a transaction into its section. */
export async function showRaw(section, id, signal) {
  const body = section.querySelector(".body");
  body.textContent = "Loading…";
  try {
    const found = await request(`/api/v1/flags/${encodeURIComponent(id)}/raw`, { signal });
    section.dataset.loaded = "yes";
    body.replaceChildren(...(found.fields ? build(found.fields) : []), buildRecord(found));
    body.querySelector("input")?.focus({ preventScroll: true });
  } catch (error) {
    if (signal.aborted) return;
    const text = error instanceof Refused ? error.message : "The record could not be read.";
    const retry = { name: "Retry", act: () => showRaw(section, id, signal) };
    body.replaceChildren(buildNotice(text, error.kind === "missing" ? [] : [retry]));
  }
}

function build(fields) {
  const groups = GROUPS.map(([name, , size, isClosed]) => ({ name, size, isClosed, rows: [] }));
  for (const name of Object.keys(fields)) {
    const at = GROUPS.findIndex(([, pattern]) => pattern.test(name));
    groups[at].rows.push(buildRow(name, fields[name]));
  }
  const shown = groups.filter((group) => group.rows.length > 0).map(buildGroup);
  const none = make("p", "No field matches.", "dim");
  none.hidden = true;
  return [buildTools(fields, shown, none), ...shown, none];
}

function buildTools(fields, groups, none) {
  const filter = document.createElement("input");
  filter.type = "search";
  filter.placeholder = "Filter by name or value";
  filter.setAttribute("aria-label", "Filter fields by name or value");
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    let count = 0;
    for (const group of groups) {
      let inGroup = 0;
      for (const row of group.querySelectorAll("dl > div")) {
        const isShown = row.textContent.toLowerCase().includes(wanted);
        row.hidden = !isShown;
        inGroup += isShown ? 1 : 0;
      }
      group.hidden = inGroup === 0;
      group.open = wanted ? inGroup > 0 : group.dataset.closed !== "yes";
      count += inGroup;
    }
    none.hidden = count > 0;
  });
  const tools = make("p", "", "row tools");
  tools.append(filter);
  if (navigator.clipboard) {
    const copy = make("button", "Copy JSON");
    copy.type = "button";
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(JSON.stringify(fields, null, 2));
      copy.textContent = "Copied";
    });
    tools.append(copy);
  }
  return tools;
}

/** The record itself: a field that is not above has no value in it, which differs from 0. */
function buildRecord({ fields, problem, appended_at: at, size, encoding, key, headers }) {
  const record = make("div", "", "record");
  if (problem) record.append(buildNotice(`${problem.charAt(0).toUpperCase()}${problem.slice(1)}.`));
  record.append(make("h4", "Record"));
  const list = document.createElement("dl");
  const rows = [["Appended", formatMoment(at)], ["Size", `${formatCount(size)} bytes`],
    ["Encoding", encoding ?? "not known"], ["Key", key], ...headers];
  list.append(...rows.map(([name, value]) => buildRow(name, value)));
  record.append(list);
  if (fields) record.append(make("p", "Fields that are not listed are missing in the record.", "dim"));
  return record;
}

function buildGroup({ name, size, isClosed, rows }) {
  const group = document.createElement("details");
  group.open = !isClosed;
  group.dataset.closed = isClosed ? "yes" : "no";
  const title = make("summary", name);
  const known = rows.filter((row) => row.dataset.missing === undefined).length;
  title.append(make("span", ` ${known} of ${Math.max(size, rows.length)} present`, "dim"));
  const list = document.createElement("dl");
  list.append(...rows);
  group.append(title, list);
  return group;
}

function buildRow(name, value) {
  const row = document.createElement("div");
  const shown = make("dd", value === null ? MISSING : String(value));
  if (value === null) {
    row.dataset.missing = "";
    shown.append(make("span", " missing", "sr"));
  }
  row.append(make("dt", name), shown);
  return row;
}

function make(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}
