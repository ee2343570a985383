// One EventSource that reconnects with jitter and continues after the last event.

export class Source {
  #events = null;
  #timer = 0;
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
    this.#timer = 0;
    this.#events?.close();
    this.#events = null;
  }

  #connect() {
    this.#timer = 0;
    const query = this.last ? `?after=${encodeURIComponent(this.last)}` : "";
    const events = new EventSource(`/api/v1/stream${query}`);
    this.#events = events;
    events.onopen = () => {
      this.#tries = 0;
      this.onState({ state: "live", tries: 0 });
    };
    for (const type of ["tick", "reset"]) {
      events.addEventListener(type, (event) => {
        this.last = event.lastEventId;
        this.onEvent({ type, id: event.lastEventId, data: JSON.parse(event.data) });
      });
    }
    // Not left to the browser: it gives up on a 503, and all clients would reconnect at once.
    events.onerror = () => {
      events.close();
      this.#events = null;
      this.#tries += 1;
      this.onState({ state: "lost", tries: this.#tries });
      this.#timer = setTimeout(() => this.#connect(), 500 + Math.random() * 2500);
    };
  }
}
