// Shared by all tabs: browsers allow six connections per site, so the tabs share one stream.

import { Source } from "./source.js";

const RING = 60;
const ports = new Set();
const recent = [];
let state = { state: "lost", tries: 0 };

function broadcast(message) {
  for (const port of ports) port.postMessage(message);
}

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
