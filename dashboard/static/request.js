// Requests to the dashboard's API, and a sentence with a way on for each way they can fail.

import { noteServerTime } from "./view.js";

const SECONDS = 10;

/** A request that did not succeed. `kind` says what can be done about it. */
export class Refused extends Error {
  constructor(kind, text, status = 0, body = null) {
    super(text);
    this.kind = kind;
    this.status = status;
    this.body = body;
  }

  /** Whether the same request may succeed later without a change. */
  get isTemporary() {
    return ["offline", "timeout", "busy", "broken"].includes(this.kind);
  }
}

const ACCEPTED = { json: "application/json", text: "*/*", page: "text/html" };

/**
 * The response's JSON, or its text with `as: "text"`, or a page with `as: "page"`, also one that says
 * what was wrong. Throws `Refused`, and `AbortError` after `signal` aborts. `body` is an object, or
 * the fields of a form; `key` the Idempotency-Key; `version` the version that the change is based on.
 */
export async function request(path, { method = "GET", body, key, version, signal, as = "json", seconds = SECONDS } = {}) {
  const headers = { accept: ACCEPTED[as] };
  const isForm = body instanceof URLSearchParams; // which has its own type
  if (body !== undefined && !isForm) headers["content-type"] = "application/json";
  if (key) headers["idempotency-key"] = key;
  if (version !== undefined && version !== null) headers["if-match"] = `"${version}"`;
  const ended = new AbortController();
  const timer = setTimeout(() => ended.abort(), 1000 * seconds);
  const stop = () => ended.abort();
  signal?.addEventListener("abort", stop);
  try {
    const sent = body === undefined || isForm ? body : JSON.stringify(body);
    const response = await fetch(path, {
      method, headers, body: sent, signal: ended.signal, redirect: "manual",
    });
    const at = Date.parse(response.headers.get("date"));
    if (at) noteServerTime(at);
    const isPage = as === "page" && response.headers.get("content-type")?.startsWith("text/html");
    if (!response.ok && !isPage) throw await refusal(response);
    if (as !== "json") return await response.text();
    return response.status === 204 ? null : await response.json();
  } catch (error) {
    if (error instanceof Refused) throw error;
    signal?.throwIfAborted();
    if (ended.signal.aborted) throw new Refused("timeout", `The dashboard did not answer in ${seconds} s.`);
    throw new Refused("offline", "No connection to the dashboard.");
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

async function refusal(response) {
  const { status, type } = response;
  let body = null;
  try {
    body = await response.json();
  } catch {
    // A page instead of a problem object: the status alone decides.
  }
  const detail = sentence(body?.detail);
  // A redirect leads to the login page.
  if (type === "opaqueredirect" || status === 401) {
    return new Refused("login", "Your session has ended.", 401, body);
  }
  const [kind, text] = {
    403: ["forbidden", "Your role may read, but not change anything."],
    404: ["missing", "This transaction is no longer kept by the dashboard."],
    410: ["missing", "This is no longer kept."],
    409: ["conflict", "Someone else is working on this transaction."],
    412: ["stale", "Someone changed this transaction while you read it."],
    429: ["busy", "Too many requests."],
    503: ["busy", "The dashboard cannot do this at the moment."],
  }[status] ?? (status >= 500 ? ["broken", "The dashboard failed."] : ["invalid", "Not accepted."]);
  return new Refused(kind, detail || text, status, body);
}

function sentence(text) {
  if (!text) return "";
  const end = /[.!?]$/.test(text) ? "" : ".";
  return text.charAt(0).toUpperCase() + text.slice(1) + end;
}

/** A new Idempotency-Key: one for each intended change, the same for its retries. */
export function newKey() {
  // randomUUID exists only on https and on this machine.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const loginWay = () => ({
  name: "Log in again",
  href: `/login?next=${encodeURIComponent(location.pathname + location.search)}`,
});

/** The ways on from a failure: to log in again, or to do it again if that can help. */
export function waysOf({ kind, isTemporary }, act) {
  if (kind === "login") return [loginWay()];
  return isTemporary && act ? [{ name: "Retry", act }] : [];
}
