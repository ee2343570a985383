// Subscribes the page to ticks, through the worker that all tabs share. Without SharedWorker the
// page opens a stream for itself, and closes it while the page is hidden.

export async function subscribe(after, onEvent, onState) {
  let last = after;
  const note = (event) => {
    last = event.id;
    onEvent(event);
  };
  const { open, close } = globalThis.SharedWorker
    ? shared(note, onState)
    : await separate(note, onState);
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open(last));
  open(last);
}

function shared(onEvent, onState) {
  const worker = new SharedWorker("/static/stream-worker.js", { type: "module", name: "stream" });
  worker.port.onmessage = ({ data }) => (data.event ? onEvent(data.event) : onState(data.state));
  return {
    open: (after) => worker.port.postMessage({ open: true, after }),
    close: () => worker.port.postMessage({ open: false }),
  };
}

async function separate(onEvent, onState) {
  const { Source } = await import("./source.js");
  const source = new Source(onEvent, onState);
  const open = (after) => source.open(after);
  const close = () => source.close();
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  return { open, close };
}
