// The curve that the server calculated for the threshold page. The numbers are its own; here they are
// only looked up. Nothing here has effects.

import { formatRange, formatRate, formatShare } from "./threshold-text.js";

const NOT_ESTIMABLE = "Not estimable";
const FEW = 50;

export class Curve {
  constructor({ curve, thresholds, scores, at_least: atLeast }) {
    Object.assign(this, curve, { scores, atLeast, live: thresholds.review });
    this.liveAt = this.threshold.indexOf(this.live);
    const decimals = this.live.toFixed(6).replace(/0+$/, "").split(".")[1] ?? "";
    this.digits = Math.max(3, decimals.length);
  }

  /** The slider has no position between two multiples of 0.001: the nearest is the one in use. */
  nearLive(value) {
    return Math.abs(value - this.live) <= 0.0005 ? this.live : value;
  }

  /** The index of a threshold. */
  nearest(value) {
    if (value === this.live) return this.liveAt;
    return this.threshold.indexOf(Math.min(999, Math.max(0, Math.round(value * 1000))) / 1000);
  }

  /** One or ten thousandths on; from the threshold in use to the next multiple of 0.001. */
  move(at, step) {
    const now = this.threshold[at] * 1000;
    const next = step > 0 ? Math.floor(now + 1e-9) : Math.ceil(now - 1e-9);
    return this.nearest((next + Math.round(step * 1000)) / 1000);
  }

  text(at) {
    return this.threshold[at].toFixed(this.digits);
  }

  share(at) {
    return this.scores ? this.alerts[at] / this.scores : 0;
  }

  value(key, at, minutes) {
    return key === "hours" ? (this.alerts_per_day[at] * minutes) / 60 : this[key][at];
  }

  /** A measure in words: `{main, ends, n, isFew}`. */
  cell(key, kind, at, minutes) {
    const value = this.value(key, at, minutes);
    const low = this[`${key}_low`];
    if (!low && value !== null) return { main: (this.atLeast.includes(key) ? "≥ " : "") + formatRate(value) };
    if (!low || low[at] === null) return { main: NOT_ESTIMABLE };
    const format = kind === "share" ? formatShare : formatRate;
    const ends = formatRange(format(low[at]), format(this[`${key}_high`][at]));
    const count = this[`${key}_n`][at];
    const isFew = count < FEW;
    const n = `n = ${count.toLocaleString("en-US")}${isFew ? ", too few" : ""}`;
    return value === null ? { main: ends, n, isFew } : { main: format(value), ends, n, isFew };
  }

  /** Where the curve of the precision rests on few labels, or on none. */
  get shades() {
    const from = this.precision_n.findIndex((count, i) => i >= this.liveAt && count < FEW);
    const shades = from < 0 ? [] : [{ from: this.threshold[from], to: 1, text: "few labels" }];
    const isBlind = this.precision_low.slice(0, this.liveAt).every((low) => low === null);
    return isBlind ? [...shades, { from: 0, to: this.live, text: "no labels here" }] : shades;
  }

  /** Indexes from the highest threshold down, so that recall rises along the axis. */
  get down() {
    return this.threshold.map((_, i) => i).reverse()
      .filter((i) => this.recall[i] !== null && this.precision[i] !== null);
  }
}
