// What charts draw on the canvas besides their lines, in the colours of the page.

let probe = null;

/** What a custom property with a colour is now, such as `rgb(11, 92, 173)`. */
export function colour(token) {
  if (!probe) {
    probe = document.createElement("span");
    probe.hidden = true;
    document.body.append(probe);
  }
  probe.style.color = `var(${token})`;
  return getComputedStyle(probe).color;
}

/** The same colour, seen through. */
export function alpha(rgb, share) {
  const [red, green, blue] = rgb.match(/[\d.]+/g) ?? [128, 128, 128];
  return `rgba(${red}, ${green}, ${blue}, ${share})`;
}

/** Hatched areas: [{from, to, text}]. */
export function drawShades(plot, shades = []) {
  for (const { from, to, text } of shades) {
    const { left, top, width, height } = plot.bbox;
    const clip = (x) => Math.min(left + width, Math.max(left, plot.valToPos(x, "x", true)));
    const [start, end] = [clip(from), clip(to)];
    if (end > start) drawShade(plot.ctx, { start, end, top, height, text });
  }
}

function drawShade(ctx, { start, end, top, height, text }) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(start, top, end - start, height);
  ctx.clip();
  ctx.strokeStyle = alpha(colour("--dim"), 0.35);
  ctx.lineWidth = devicePixelRatio;
  ctx.beginPath();
  for (let x = start - height; x < end; x += 10 * devicePixelRatio) {
    ctx.moveTo(x, top + height);
    ctx.lineTo(x + height, top);
  }
  ctx.stroke();
  write(ctx, text, (start + end) / 2, top + height / 2, end - start);
  ctx.restore();
}

/** Text on the colour of the panel, so that lines behind it do not disturb. */
function write(ctx, text, x, y, room) {
  const size = 12 * devicePixelRatio;
  ctx.font = `${size}px system-ui, sans-serif`;
  const width = ctx.measureText(text).width + size;
  if (width > room) return;
  ctx.fillStyle = colour("--panel");
  ctx.fillRect(x - width / 2, y - size, width, size * 2);
  ctx.fillStyle = colour("--text");
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.fillText(text, x, y);
}

/** Vertical lines, [{x, label, token, isDashed}], and single points, [{x, y, token, isHollow}]. */
export function drawMarks(plot, marks = [], points = []) {
  const { ctx } = plot;
  const middle = marks.length > 1 ? marks.reduce((sum, { x }) => sum + x, 0) / marks.length : Infinity;
  ctx.save();
  marks.forEach((mark, row) => drawMark(plot, mark, row, middle));
  ctx.setLineDash([]);
  for (const { x, y, token, isHollow } of points) {
    if (x == null || y == null) continue;
    ctx.strokeStyle = ctx.fillStyle = colour(token ?? "--text");
    ctx.lineWidth = 2 * devicePixelRatio;
    ctx.beginPath();
    ctx.arc(plot.valToPos(x, "x", true), plot.valToPos(y, "y", true), 5 * devicePixelRatio, 0, 7);
    if (isHollow) ctx.stroke();
    else ctx.fill();
  }
  ctx.restore();
}

/** A line with its label beside it: away from the other marks, where there is room. */
function drawMark(plot, { x, label = "", token, isDashed }, row, middle) {
  const { ctx, bbox } = plot;
  const at = plot.valToPos(x, "x", true);
  if (!(at >= bbox.left && at <= bbox.left + bbox.width)) return;
  const size = 12 * devicePixelRatio;
  ctx.strokeStyle = ctx.fillStyle = colour(token ?? "--text");
  ctx.lineWidth = 1.5 * devicePixelRatio;
  ctx.setLineDash(isDashed ? [4 * devicePixelRatio, 3 * devicePixelRatio] : []);
  ctx.beginPath();
  ctx.moveTo(at, bbox.top);
  ctx.lineTo(at, bbox.top + bbox.height);
  ctx.stroke();
  ctx.font = `600 ${size}px system-ui, sans-serif`;
  const width = ctx.measureText(label).width + size;
  const hasRoom = { left: at - width > bbox.left, right: at + width < bbox.left + bbox.width };
  const isLeft = x < middle ? hasRoom.left : !hasRoom.right;
  ctx.textAlign = isLeft ? "right" : "left";
  ctx.fillText(label, at + (isLeft ? -size / 3 : size / 3), bbox.top + size * (1 + 1.3 * row));
}
