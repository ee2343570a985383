// All fields of the input record, fetched when the section is opened.

import { Notice } from "./parts.js";
import { request, waysOf } from "./request.js";
import { html, useEffect, useReducer, useRef, useState } from "./vendor/htm/standalone.module.js";
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

/** Loads the record of a transaction, and shows it. */
export default function Raw({ id }) {
  const [{ record, error }, show] = useState({});
  const [turn, retry] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    const ended = new AbortController();
    request(`/api/v1/flags/${encodeURIComponent(id)}/raw`, { signal: ended.signal })
      .then((found) => show({ record: found }))
      .catch((failure) => ended.signal.aborted || show({ error: failure }));
    return () => ended.abort();
  }, [turn]);
  const again = () => { show({}); retry(); };
  if (error) {
    return html`<${Notice} text=${error.message} ways=${waysOf(error, again)} />`;
  }
  if (!record) return "Loading…";
  return html`${record.fields && html`<${Fields} fields=${record.fields} />`}<${Record} record=${record} />`;
}

/** The fields by group, with a filter. */
function Fields({ fields }) {
  const [text, filter] = useState("");
  const [isCopied, setCopied] = useState(false);
  const field = useRef();
  useEffect(() => field.current.focus({ preventScroll: true }), []);
  const wanted = text.trim().toLowerCase();
  const groups = groupFields(fields).map((group) => ({ ...group, shown: group.rows.filter((row) => isWanted(row, wanted)) }));
  const shown = groups.filter((group) => group.shown.length > 0);
  const copy = async () => {
    await navigator.clipboard.writeText(JSON.stringify(fields, null, 2));
    setCopied(true);
  };
  return html`
    <p class="row tools">
      <input type="search" ref=${field} placeholder="Filter by name or value"
        aria-label="Filter fields by name or value" onInput=${({ target }) => filter(target.value)} />
      ${navigator.clipboard && html`<button type="button" onClick=${copy}>${isCopied ? "Copied" : "Copy JSON"}</button>`}
    </p>
    ${shown.map(({ name, size, isClosed, rows, shown: some }) => html`
      <details key=${`${name} ${wanted}`} open=${wanted !== "" || !isClosed}>
        <summary>${name}<span class="dim"> ${rows.filter(([, value]) => value !== null).length} of ${Math.max(size, rows.length)} present</span></summary>
        <${List} rows=${some} />
      </details>`)}
    ${shown.length === 0 && html`<p class="dim">No field matches.</p>`}`;
}

function groupFields(fields) {
  const groups = GROUPS.map(([name, , size, isClosed]) => ({ name, size, isClosed, rows: [] }));
  for (const row of Object.entries(fields)) {
    groups[GROUPS.findIndex(([, pattern]) => pattern.test(row[0]))].rows.push(row);
  }
  return groups.filter((group) => group.rows.length > 0);
}

const isWanted = ([name, value], wanted) =>
  `${name}${value === null ? `${MISSING} missing` : value}`.toLowerCase().includes(wanted);

function List({ rows }) {
  return html`<dl>${rows.map(([name, value]) => html`
    <div data-missing=${value === null ? "" : undefined}><dt>${name}</dt><dd>${value === null
      ? html`${MISSING}<span class="sr"> missing</span>` : String(value)}</dd></div>`)}</dl>`;
}

/** The record itself: a field that is not above has no value in it, which differs from 0. */
function Record({ record: { fields, problem, appended_at: at, size, encoding, key, headers } }) {
  const rows = [["Appended", formatMoment(at)], ["Size", `${formatCount(size)} bytes`],
    ["Encoding", encoding ?? "not known"], ["Key", key], ...headers];
  return html`<div class="record">
    ${problem && html`<${Notice} text=${`${problem.charAt(0).toUpperCase()}${problem.slice(1)}.`} />`}
    <h4>Record</h4><${List} rows=${rows} />
    ${fields && html`<p class="dim">Fields that are not listed are missing in the record.</p>`}
  </div>`;
}
