// The charts of the queue as tables. Loaded when the first one is opened.

import { html, render } from "./vendor/htm/standalone.module.js";
import { formatCount, formatTime } from "./view.js";

export function drawCounts({ hist, listed }) {
  const range = (i) => `${(i / hist.length).toFixed(2)} to ${((i + 1) / hist.length).toFixed(2)}`;
  const rows = hist.map((count, i) => count > 0 && html`<tr><th scope="row">${range(i)}</th>${[count, listed.open[i], listed.decided[i]].map((each) => html`<td class="num">${formatCount(each)}</td>`)}</tr>`);
  render(rows, document.querySelector("#dist tbody"));
}

export function drawPoints(points) {
  const rows = points.toReversed().map(([at, each]) => html`<tr><th scope="row">${formatTime(at)}</th><td class="num">${each.toFixed(2)}</td></tr>`);
  render(rows, document.querySelector("#spark tbody"));
}
