// The measures of the threshold page in words, as web/threshold/texts.py has them.

const MISSING = "—";

export function formatRate(value) {
  if (value === null || value === undefined) return MISSING;
  const size = Math.abs(value);
  return rounded(value, size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : 2);
}

export function formatShare(value) {
  return value === null ? MISSING : `${rounded(value * 100, 1)} %`;
}

export function formatChange(kind, before, after) {
  if (before === null || after === null) return MISSING;
  if (kind === "share") return `${signed(rounded((after - before) * 100, 1))} points`;
  if (before === after) return "0 %";
  if (before === 0) return MISSING;
  const change = ((after - before) / before) * 100;
  return `${signed(rounded(change, Math.abs(change) >= 10 ? 0 : 1))} %`;
}

export function formatRange(low, high) {
  const unit = low.endsWith(" %") ? " %" : "";
  return `${low.replace(/ %$/, "")}–${high.replace(/ %$/, "")}${unit}`;
}

function rounded(value, digits) {
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value.toLocaleString("en-US", options).replace("-", "−");
}

function signed(text) {
  if (!/[1-9]/.test(text)) return text.replace("−", "");
  return text.startsWith("−") ? text : `+${text}`;
}
