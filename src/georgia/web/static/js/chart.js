// The fraction over time with its 95 % confidence interval, the smoothed line and the limit; and a comparison of batches.
/* global uPlot */
import { COLOURS, DASHES, css, percent } from "./format.js";

const axis = () => ({ stroke: css("--muted"), grid: { stroke: css("--rule"), width: 1 }, ticks: { stroke: css("--rule"), width: 1 } });
const percents = (_, values) => values.map((value) => (value === null ? "" : `${+(100 * value).toFixed(1)} %`));
const shown = (_, value) => (value === null || value === undefined ? "–" : percent(value));
const fraction = (_, low, high) => {
  const top = Math.min(1, Math.max(0.1, (high ?? 0.1) * 1.15));
  return [0, top];
};

function follow(plot, place) {
  new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: height(place) })).observe(place);
}
const height = (place) => (place.clientWidth < 600 ? 220 : 300);

function marks(plot, rows) {
  // Frames in alarm: a strip along the foot of the chart, and a triangle where each alarm begins.
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.fillStyle = css("--bad");
  rows.alarm.forEach((isOn, at) => {
    if (!isOn) return;
    const x = plot.valToPos(rows.frame_time_s[at], "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) return;
    ctx.fillRect(x - 1, bbox.top + bbox.height - 5, Math.max(2, bbox.width / rows.alarm.length), 5);
    if (!rows.alarm[at - 1]) {
      ctx.beginPath();
      ctx.moveTo(x - 6, bbox.top);
      ctx.lineTo(x + 6, bbox.top);
      ctx.lineTo(x, bbox.top + 11);
      ctx.fill();
    }
  });
  ctx.restore();
}

export class FractionChart {
  constructor(place) {
    this.place = place;
    this.plot = null;
    this.rows = null;
  }

  show(rows, impurity) {
    this.rows = rows;
    const data = [rows.frame_time_s, rows.low, rows.high, rows.fraction, rows.ewma, rows.ewma_limit];
    if (this.plot && this.impurity === impurity) {
      this.plot.setData(data);
      return;
    }
    this.impurity = impurity;
    this.plot?.destroy();
    const line = (label, colour, more = {}) => ({ label, stroke: colour, value: shown, spanGaps: false, ...more });
    this.plot = new uPlot(
      {
        width: this.place.clientWidth,
        height: height(this.place),
        scales: { y: { range: fraction } },
        axes: [axis(), { ...axis(), values: percents, size: 62 }],
        series: [
          { label: "time" },
          line("low", "transparent", { class: "aside", points: { show: false } }),
          line("high", "transparent", { class: "aside", points: { show: false } }),
          line(impurity, COLOURS[0], { width: 1, points: { size: 5, fill: COLOURS[0] } }),
          line("smoothed", css("--ink"), { width: 2, points: { show: false } }),
          line("limit", css("--bad"), { width: 2, dash: [8, 4], points: { show: false } }),
        ],
        bands: [{ series: [2, 1], fill: "rgba(0, 114, 178, 0.20)" }],
        hooks: { draw: [(plot) => marks(plot, this.rows)] },
      },
      data,
      this.place,
    );
    follow(this.plot, this.place);
  }
}

export class CompareChart {
  constructor(place) {
    this.place = place;
    this.plot = null;
  }

  show(batches) {
    this.plot?.destroy();
    this.plot = null;
    this.place.hidden = batches.length === 0;
    if (!batches.length) return;
    const tables = batches.map(({ rows }) => [rows.ordinal, rows.ewma.map((value, at) => value ?? rows.fraction[at])]);
    const series = batches.map(({ name }, at) => ({
      label: name, stroke: COLOURS[at], dash: DASHES[at], width: 2, value: shown, spanGaps: true, points: { show: false },
    }));
    this.plot = new uPlot(
      {
        width: this.place.clientWidth,
        height: height(this.place),
        scales: { x: { time: false }, y: { range: fraction } },
        axes: [{ ...axis(), label: "frame of the batch", labelSize: 22 }, { ...axis(), values: percents, size: 62 }],
        series: [{ label: "frame" }, ...series],
      },
      uPlot.join(tables),
      this.place,
    );
    follow(this.plot, this.place);
  }
}
