// Requests to the dashboard's API, and a sentence with a way on for each way they can fail.

const TIMEOUT_MS = 10_000;

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

/**
 * The response's JSON, or its text with `as: "text"`. Throws `Refused`, and `AbortError` after
 * `signal` aborts. `key` is the Idempotency-Key, `version` the version that the change is based on.
 */
export async function request(path, { method = "GET", body, key, version, signal, as } = {}) {
  const headers = { accept: as === "text" ? "*/*" : "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (key) headers["idempotency-key"] = key;
  if (version !== undefined && version !== null) headers["if-match"] = `"${version}"`;
  const ended = new AbortController();
  const timer = setTimeout(() => ended.abort(), TIMEOUT_MS);
  const stop = () => ended.abort();
  signal?.addEventListener("abort", stop);
  try {
    const sent = body === undefined ? undefined : JSON.stringify(body);
    const response = await fetch(path, {
      method, headers, body: sent, signal: ended.signal, redirect: "manual",
    });
    if (!response.ok) throw await refusal(response);
    return as === "text" ? await response.text() : await readJson(response);
  } catch (error) {
    if (error instanceof Refused) throw error;
    signal?.throwIfAborted();
    if (ended.signal.aborted) throw new Refused("timeout", "The dashboard did not answer in 10 s.");
    throw new Refused("offline", "No connection to the dashboard.");
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

async function readJson(response) {
  if (response.status === 204) return null;
  return response.json();
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
