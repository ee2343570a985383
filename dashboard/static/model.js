// The curves of the model page. Everything else on the page needs no JavaScript.
import { drawChart } from "./charts.js";
import { request } from "./request.js";

const place = document.getElementById("curves");
const percent = (share) => `${(share * 100).toFixed(share > 0 && share < 0.01 ? 1 : 0)} %`;

async function show() {
  const { version, against } = place.dataset;
  const query = against ? `?against=${encodeURIComponent(against)}` : "";
  const { curves } = await request(`/api/v1/models/${encodeURIComponent(version)}${query}`);
  const isKnown = [...curves.this.precision, ...curves.this.recall].some((value) => value !== null);
  if (!isKnown || !globalThis.uPlot) return;
  place.hidden = false;
  for (const [name, xs, label] of [
    ["precision", curves.recalls, "Recall"],
    ["recall", curves.budgets, "Share of transactions reviewed"],
  ]) {
    const found = [{ label: version, values: curves.this[name] }];
    if (curves.other) found.push({ label: against, values: curves.other[name], token: "--chart-2" });
    drawChart(document.getElementById(`curve-${name}`), {
      x: { label, format: percent },
      y: { format: percent, range: [0, 1] },
      data: [xs, ...found.map((one) => one.values)],
      series: found.map(({ label: title, token }) => ({ label: title, token })),
    });
  }
}

if (place) show().catch(({ message }) => {
  place.hidden = false;
  place.textContent = `The curves could not be loaded. ${message}`;
});
