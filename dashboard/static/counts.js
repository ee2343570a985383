// The distribution of scores as a table. Loaded when it is first opened.

import { html, render } from "./vendor/htm/standalone.module.js";
import { formatCount } from "./view.js";

export function drawCounts({ hist, listed }) {
  const range = (i) => `${(i / hist.length).toFixed(2)} to ${((i + 1) / hist.length).toFixed(2)}`;
  const rows = hist.map((count, i) => count > 0 && html`<tr><th scope="row">${range(i)}</th>${[count, listed.open[i], listed.decided[i]].map((each) => html`<td class="num">${formatCount(each)}</td>`)}</tr>`);
  render(rows, document.querySelector("#dist tbody"));
}
