// Shared by all tabs: browsers allow six connections per site, so the tabs share one stream. A page
// in a browser without SharedWorker imports `openStream` and has a stream for itself.

const RING = 60;
const SILENT_MS = 12_000; // there is at least one event per second

/** One EventSource that reconnects with jitter and continues after the last event. */
export class Source {
  #events = null;
  #timer = 0;
  #watch = 0;
  #heard = 0;
  #tries = 0;

  /** `onEvent({type, id, data})`, `onState({state: "live" | "lost", tries})`. */
  constructor(onEvent, onState) {
    this.onEvent = onEvent;
    this.onState = onState;
    this.last = null;
  }

  open(after) {
    if (this.#events || this.#timer) return;
    this.last ??= after;
    this.#connect();
  }

  close() {
    clearTimeout(this.#timer);
    clearInterval(this.#watch);
    this.#timer = 0;
    this.#events?.close();
    this.#events = null;
  }

  #connect() {
    this.#timer = 0;
    const query = this.last ? `?after=${encodeURIComponent(this.last)}` : "";
    const events = new EventSource(`/api/v1/stream${query}`);
    this.#events = events;
    this.#heard = performance.now();
    // A server that freezes, or a network that drops packets, ends no connection.
    this.#watch = setInterval(() => {
      if (performance.now() - this.#heard > SILENT_MS) this.#fail();
    }, 1000);
    events.onopen = () => {
      this.#tries = 0;
      this.onState({ state: "live", tries: 0 });
    };
    for (const type of ["tick", "reset"]) {
      events.addEventListener(type, (event) => {
        this.#heard = performance.now();
        this.last = event.lastEventId;
        this.onEvent({ type, id: event.lastEventId, data: JSON.parse(event.data) });
      });
    }
    // Not left to the browser: it gives up on a 503, and all clients would reconnect at once.
    events.onerror = () => this.#fail();
  }

  #fail() {
    this.close();
    this.#tries += 1;
    this.onState({ state: "lost", tries: this.#tries });
    this.#timer = setTimeout(() => this.#connect(), 500 + Math.random() * 2500);
  }
}

/** In a page without SharedWorker: a stream that is closed while the page is hidden. */
export function openStream(onEvent, onState) {
  const source = new Source(onEvent, onState);
  const open = (after) => source.open(after);
  const close = () => source.close();
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  return { open, close };
}

const ports = new Set();
const recent = [];
let state = { state: "lost", tries: 0 };

function broadcast(message) {
  for (const port of ports) port.postMessage(message);
}

/** Send a tab the events since its page was rendered, or a reset if some are no longer stored. */
function catchUp(port, after) {
  port.postMessage({ state });
  const latest = recent.at(-1);
  if (!latest || latest.id === after) return;
  const [boot, seq] = [after?.replace(/-\d+$/, ""), Number(after?.split("-").at(-1))];
  const missed = recent.filter((e) => e.id.startsWith(`${boot}-`) && seqOf(e) > seq);
  const isComplete = latest.id.startsWith(`${boot}-`) && (seqOf(latest) <= seq || seqOf(recent[0]) <= seq + 1);
  for (const event of isComplete ? missed : [{ ...latest, type: "reset" }]) {
    port.postMessage({ event });
  }
}

const seqOf = (event) => Number(event.id.split("-").at(-1));

function serveTabs() {
  const source = new Source(
    (event) => {
      recent.push(event);
      if (recent.length > RING) recent.shift();
      broadcast({ event });
    },
    (now) => {
      state = now;
      broadcast({ state });
    },
  );
  self.onconnect = ({ ports: [port] }) => {
    port.onmessage = ({ data }) => {
      if (data.open) {
        ports.add(port);
        catchUp(port, data.after);
        source.open(data.after);
      } else {
        ports.delete(port);
        if (ports.size === 0) {
          source.close();
          recent.length = 0;
          source.last = null;
        }
      }
    };
  };
}

if (typeof SharedWorkerGlobalScope !== "undefined") serveTabs();
