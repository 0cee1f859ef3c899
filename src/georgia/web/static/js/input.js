// What comes in: rejected windows, light and detail over time, each in units of its limit; and frames that are
// unlike the training images, until somebody goes on by name and reason.
/* global uPlot */
import { COLOURS, DASHES, css } from "./format.js";
import { PADDING, axis, follow, lowHeight, timeAxis, withGaps } from "./chart.js";

const LINES = ["rejected windows", "light", "detail"];

export class InputChart {
  constructor(place) {
    this.place = place;
    this.plot = null;
  }

  show(found) {
    if (!found.rejected) return;
    const rows = withGaps(found);
    const rejected = rows.rejected.map((value, at) => (value === null ? null : value / rows.rejected_limit[at]));
    const size = (values) => values.map((value) => (value === null ? null : Math.abs(value)));
    const data = [rows.frame_time_s, rejected, size(rows.light_drift), size(rows.detail_drift), rows.frame_time_s.map(() => 1)];
    this.place.hidden = !rejected.some((value) => value !== null);
    if (this.place.hidden) return;
    if (this.plot) this.plot.setData(data);
    else this.#make(data);
  }

  #make(data) {
    const value = (_, number) => (number === null || number === undefined ? "–" : `${number.toFixed(2)} of the limit`);
    const line = (label, stroke, more) => ({ label, stroke, value, spanGaps: false, points: { show: false }, width: 1.5, ...more });
    this.plot = new uPlot(
      {
        width: this.place.clientWidth,
        height: lowHeight(),
        cursor: { sync: { key: "course" }, drag: { x: false, y: false } },
        scales: { y: { range: (_, __, high) => [0, Math.max(1.25, 1.1 * (high ?? 1))] } },
        padding: PADDING,
        axes: [timeAxis(), { ...axis(), size: 46, label: "input, limit = 1", labelSize: 16 }],
        series: [
          { label: "time", class: "aside" },
          ...LINES.map((label, at) => line(label, [css("--ink"), COLOURS[1], COLOURS[2]][at], { dash: DASHES[at] })),
          line("limit", css("--bad"), { dash: [8, 4], class: "aside" }),
        ],
      },
      data,
      this.place,
    );
    follow(this.plot, this.place, lowHeight);
  }
}

// `held` is the commissioning's reason, where its verdict is bad and nobody has overridden it.
export function showUnlike({ place, text }, status, held) {
  const isUnlike = status.state === "unlike training";
  place.hidden = !(isUnlike || held) || !status.may_change;
  text.textContent = (isUnlike && status.reason) || held || "The frames do not look like the images that the model was trained on, so that its fractions mean nothing. The monitor's own output says what differs.";
}
