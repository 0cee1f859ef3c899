// The fraction over time and the smoothed line, each with its 95 % confidence interval, and all limits; the CUSUM below it;
// and a comparison of batches.
/* global uPlot */
import { drawChecked, topOf } from "./checked-band.js";
import { COLOURS, DASHES, css, percent } from "./format.js";

export const axis = () => ({ stroke: css("--muted"), grid: { stroke: css("--rule"), width: 1 }, ticks: { stroke: css("--rule"), width: 1 } });
const percents = (_, values) => values.map((value) => (value === null ? "" : `${+(100 * value).toFixed(1)} %`));
const shown = (_, value) => (value === null || value === undefined ? "–" : percent(value));
const plain = (_, value) => (value === null || value === undefined ? "–" : value.toFixed(2));
const fraction = (_, low, high) => {
  const top = Math.min(1, Math.max(0.1, (high ?? 0.1) * 1.15));
  return [0, top];
};

// Hours and minutes, with the day below the first label and wherever it changes.
function times(_, values, __, ___, step) {
  let day = "";
  return values.map((seconds) => {
    const at = new Date(1000 * seconds);
    const own = at.toLocaleDateString(undefined, { month: "short", day: "2-digit" });
    const text = step >= 86400 ? own : at.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", ...(step < 60 ? { second: "2-digit" } : {}) });
    const isNew = own !== day && step < 86400;
    day = own;
    return isNew ? `${text}\n${own}` : text;
  });
}
// At the right half of the last time has room; the same for all charts that lie below one another.
export const PADDING = [null, 42, null, null];
export const timeAxis = () => ({ ...axis(), values: times, space: (_, __, ___, ____, width) => Math.max(70, Math.min(110, width / 5)), size: 46 });

// Tables [x, y, …] on one x. Null is a gap up to the table's own neighbours, however many x others have between (mode 2).
export const joinTables = (tables) => uPlot.join(tables, tables.map((table) => table.map(() => 2)));

export function follow(plot, place, high = height) {
  new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: high(place) })).observe(place);
}
const height = (place) => (place.clientWidth < 600 ? 220 : 300);
export const lowHeight = () => 130;

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length ? sorted[Math.floor(sorted.length / 2)] : null;
}

// The usual time from one frame to the next, s; null where two frames are not there yet.
export function usualStep(seconds) {
  return median(seconds.slice(1).map((at, before) => at - seconds[before]).filter((step) => step > 0));
}

// Columns in the order of time, and a row without values wherever frames are missing: lines and bands break there.
const GAP_STEPS = 5;
export function withGaps(rows) {
  const names = Object.keys(rows).filter((name) => Array.isArray(rows[name]));
  const order = rows.frame_time_s.map((_, at) => at).sort((a, b) => rows.frame_time_s[a] - rows.frame_time_s[b]);
  const step = usualStep(order.map((at) => rows.frame_time_s[at]));
  const made = Object.fromEntries(names.map((name) => [name, []]));
  let before = null;
  for (const at of order) {
    const now = rows.frame_time_s[at];
    if (before !== null && step !== null && now - before > GAP_STEPS * step) {
      for (const name of names) made[name].push(name === "frame_time_s" ? (before + now) / 2 : null);
    }
    for (const name of names) made[name].push(rows[name][at]);
    before = now;
  }
  return made;
}

function marks(plot, rows, events) {
  // Frames in alarm: a strip along the foot of the chart, and a triangle where each alarm begins.
  const { ctx, bbox } = plot;
  const isInside = (x) => x >= bbox.left && x <= bbox.left + bbox.width;
  ctx.save();
  ctx.fillStyle = css("--bad");
  rows.alarm.forEach((isOn, at) => {
    if (!isOn) return;
    const x = plot.valToPos(rows.frame_time_s[at], "x", true);
    if (!isInside(x)) return;
    ctx.fillRect(x - 1, bbox.top + bbox.height - 5, Math.max(2, bbox.width / rows.alarm.length), 5);
    if (!rows.alarm[at - 1]) {
      ctx.beginPath();
      ctx.moveTo(x - 6, bbox.top);
      ctx.lineTo(x + 6, bbox.top);
      ctx.lineTo(x, bbox.top + 11);
      ctx.fill();
    }
  });
  // What was changed or went wrong: a line with its name, one under the other.
  const ratio = devicePixelRatio || 1;
  ctx.font = `${11 * ratio}px sans-serif`;
  ctx.textAlign = "left";
  ctx.strokeStyle = ctx.fillStyle = css("--muted");
  ctx.setLineDash([3 * ratio, 3 * ratio]);
  events.forEach(({ at, text }, number) => {
    const x = plot.valToPos(at, "x", true);
    if (!isInside(x)) return;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const width = ctx.measureText(text).width + 6 * ratio;
    ctx.fillText(text, x + width > bbox.left + bbox.width ? x - width : x + 4 * ratio, bbox.top + (14 + 13 * (number % 4)) * ratio);
  });
  ctx.restore();
}

export class FractionChart {
  constructor(place, below, reset) {
    Object.assign(this, { place, below, reset });
    this.plot = this.cusum = this.rows = null;
    this.events = [];
    this.checked = [];
    reset.addEventListener("click", () => this.showAll());
  }

  show(found, impurity, events = []) {
    const rows = (this.rows = withGaps(found));
    this.events = events;
    const none = rows.frame_time_s.map(() => null);
    const column = (name) => rows[name] || none;
    const data = [rows.frame_time_s, rows.low, rows.high, rows.fraction, rows.ewma, rows.ewma_limit, rows.p_limit, column("limit"), column("ewma_low"), column("ewma_high")];
    const below = [rows.frame_time_s, rows.cusum, rows.cusum_limit];
    this.limits = [5, 6, 7].filter((at) => data[at].some((value) => value !== null));
    this.below.hidden = !rows.cusum.some((value) => value !== null);
    if (this.plot && this.impurity === impurity) {
      this.#showLimits();
      for (const [plot, values] of [[this.plot, data], [this.cusum, below]]) {
        plot.setData(values, !this.isZoomed);
        if (this.isZoomed) plot.redraw();
      }
      return;
    }
    this.impurity = impurity;
    this.plot?.destroy();
    this.cusum?.destroy();
    this.#mark(false);
    this.#make(data, below, impurity);
    this.#showLimits();
  }

  // What people found of the batch that is shown: parts of its time, [] where nobody has checked it.
  showChecked(curve) {
    if (curve.length === 0 && this.checked.length === 0) return;
    this.checked = curve;
    this.plot?.setData(this.plot.data, !this.isZoomed);
    if (this.isZoomed) this.plot?.redraw();
  }

  // Limits that are not set yet have no line and no entry in the legend.
  #showLimits() {
    const entries = this.place.querySelectorAll(".u-legend .u-series");
    for (const at of [5, 6, 7]) entries[at]?.classList.toggle("aside", !this.limits.includes(at));
  }

  showAll() {
    this.#mark(false);
    for (const plot of [this.plot, this.cusum]) plot?.setData(plot.data, true);
  }

  #mark(isZoomed) {
    this.isZoomed = isZoomed;
    this.reset.hidden = !isZoomed;
  }

  #make(data, below, impurity) {
    const line = (label, colour, more = {}) => ({ label, stroke: colour, value: shown, spanGaps: false, points: { show: false }, ...more });
    const limit = (label, dash) => line(label, css("--bad"), { width: 1.5, dash });
    const cursor = { sync: { key: "course" }, drag: { x: true, y: false } };
    this.plot = new uPlot(
      {
        width: this.place.clientWidth,
        height: height(this.place),
        cursor,
        scales: { y: { range: (_, low, high) => fraction(_, low, Math.max(high ?? 0.1, topOf(this.checked))) } },
        padding: PADDING,
        axes: [timeAxis(), { ...axis(), values: percents, size: 62 }],
        series: [
          { label: "time", value: (_, seconds) => (seconds === null ? "–" : new Date(1000 * seconds).toLocaleTimeString()) },
          line("low", "transparent", { class: "aside" }),
          line("high", "transparent", { class: "aside" }),
          line(impurity, COLOURS[0], { width: 1, points: { size: 5, fill: COLOURS[0] } }),
          line("smoothed (EWMA)", css("--ink"), { width: 2 }),
          limit("limit of the EWMA", [8, 4]),
          limit("limit of one frame (p-chart)", [2, 4]),
          limit("fixed limit", []),
          line("smoothed, low", "transparent", { class: "aside" }),
          line("smoothed, high", "transparent", { class: "aside" }),
        ],
        bands: [{ series: [2, 1], fill: "rgba(0, 114, 178, 0.16)" }, { series: [9, 8], fill: css("--band") }],
        hooks: { drawAxes: [(plot) => drawChecked(plot, this.checked)], draw: [(plot) => marks(plot, this.rows, this.events)], setSelect: [(plot) => plot.select.width > 0 && this.#mark(true)] },
      },
      data,
      this.place,
    );
    this.cusum = new uPlot(
      {
        width: this.below.clientWidth || this.place.clientWidth,
        height: lowHeight(),
        cursor,
        scales: { y: { range: (_, __, high) => [0, 1.15 * (high ?? 1)] } },
        padding: PADDING,
        axes: [timeAxis(), { ...axis(), size: 46, label: "CUSUM, σ", labelSize: 16 }],
        series: [{ label: "time", class: "aside" }, line("CUSUM", css("--ink"), { width: 2, value: plain }), { ...limit("limit of the CUSUM", [8, 4]), value: plain }],
        hooks: { setSelect: [(plot) => plot.select.width > 0 && this.#mark(true)] },
      },
      below,
      this.below,
    );
    for (const plot of [this.plot, this.cusum]) plot.over.addEventListener("dblclick", () => this.showAll());
    follow(this.plot, this.place);
    follow(this.cusum, this.below, lowHeight);
  }
}

export class CompareChart {
  constructor(place) {
    this.place = place;
    this.plot = null;
  }

  // What `api/compare` gives: lines over one x, null where frames are missing, and the band of released batches.
  show(found) {
    this.plot?.destroy();
    this.plot = null;
    this.place.hidden = !found;
    if (!found) return;
    const { band, lines } = found;
    const tables = lines.map(({ x, y }) => [x, y]);
    const series = lines.map(({ name, differs }, at) => ({
      label: differs.length ? `${name} (not comparable)` : name,
      stroke: COLOURS[at % COLOURS.length], dash: DASHES[at % DASHES.length], width: 2, value: shown, spanGaps: false, points: { show: false },
    }));
    const bands = [];
    if (band.x.length) {
      tables.push([band.x, band.low, band.median, band.high]);
      const aside = { stroke: "transparent", class: "aside", spanGaps: false, points: { show: false } };
      series.push({ label: "10 %", ...aside }, { label: `median of ${found.n_released} released`, stroke: css("--ink"), width: 1, value: shown, spanGaps: false, points: { show: false } }, { label: "90 %", ...aside });
      bands.push({ series: [series.length, series.length - 2], fill: `${css("--muted")}44` });
    }
    this.plot = new uPlot(
      {
        width: this.place.clientWidth,
        height: height(this.place),
        scales: { x: { time: false }, y: { range: fraction } },
        axes: [{ ...axis(), label: found.label, labelSize: 22 }, { ...axis(), values: percents, size: 62 }],
        series: [{ label: found.label }, ...series],
        bands,
      },
      joinTables(tables),
      this.place,
    );
    follow(this.plot, this.place);
  }
}
