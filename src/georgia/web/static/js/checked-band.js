// What people found, over the chart of the fraction: for each part of the batch's time a step with the band of its interval.
import { css } from "./format.js";

// The chart reaches at least so high that each step is on it; a band may go beyond.
export function topOf(curve) {
  return Math.max(0, ...curve.map((span) => span.fraction));
}

export function drawChecked(plot, curve) {
  if (!curve.length) return;
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio || 1;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const span of curve) {
    const [from, to] = [span.from_s, span.to_s].map((at) => plot.valToPos(at, "x", true));
    const [low, at, high] = [span.low, span.fraction, span.high].map((value) => plot.valToPos(value, "y", true));
    const width = Math.max(2 * ratio, to - from);
    ctx.fillStyle = css("--checked-band");
    ctx.fillRect(from, high, width, Math.max(ratio, low - high));
    ctx.fillStyle = css("--checked");
    ctx.fillRect(from, at - ratio, width, 2 * ratio);
  }
  ctx.restore();
}

// One line below the chart; nothing where nobody has checked the batch.
export function describeBand(curve, name) {
  if (!curve.length) return "";
  const parts = curve.length > 1 ? `${curve.length} parts of the batch's time; their intervals hold all at once` : "the batch";
  return `Violet steps with their band: ${name} as people checked it, ${parts}, however wrong the model is.`;
}
