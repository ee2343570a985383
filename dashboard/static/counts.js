// What the queue shows on demand: its charts as tables, and the names of reasons.

import { html, render } from "./vendor/htm/standalone.module.js";
import { featureTexts, formatCount, formatTime } from "./view.js";

export function drawCounts({ hist, listed }) {
  const range = (i) => `${(i / hist.length).toFixed(2)} to ${((i + 1) / hist.length).toFixed(2)}`;
  const rows = hist.map((count, i) => count > 0 && html`<tr><th scope="row">${range(i)}</th>${[count, listed.open[i], listed.decided[i]].map((each) => html`<td class="num">${formatCount(each)}</td>`)}</tr>`);
  render(rows, document.querySelector("#dist tbody"));
}

export function drawPoints(points) {
  const rows = points.toReversed().map(([at, each]) => html`<tr><th scope="row">${formatTime(at)}</th><td class="num">${each.toFixed(2)}</td></tr>`);
  render(rows, document.querySelector("#spark tbody"));
}

export function fillReasons() {
  const options = [...featureTexts()].map(([name, text]) => html`<option value=${name}>${text}</option>`);
  render(options, document.getElementById("reason-names"));
}
