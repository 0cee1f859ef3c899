// The limits: which one counts, whose they are, what is marked on the chart, and those that wait to be confirmed.
import { get } from "./api.js";
import { moment, percent } from "./format.js";

const NAMES = { ewma: "EWMA", cusum: "CUSUM", p: "p-chart", limit: "fixed" };
const COLUMNS = { ewma: "ewma_limit", cusum: "cusum_limit", p: "p_limit", limit: "limit" };

// The limit that counts now: of the chart that leads, or the fixed one on the smoothed fraction.
export const limitName = (chart) => (chart?.leading ? `limit (${NAMES[chart.leading] || chart.leading})` : "limit");
export function limitValue(chart) {
  const value = chart?.[COLUMNS[chart.leading] || "ewma_limit"];
  if (chart?.leading !== "cusum") return percent(value);
  return value === null || value === undefined ? "–" : `${chart.cusum?.toFixed(1)} of ${value} σ`;
}

// What is marked on the chart, by its name in the audit log.
const TEXTS = {
  "model swapped": "model", "limits changed": "limits", "limits set": "limits learned", "limits dropped": "limits dropped",
  "limits confirmed": "limits confirmed", "settings changed": "settings", "monitor stopped": "stopped", "clock jumped": "clock set",
};
export const MARKED = Object.keys(TEXTS);
const FRACTIONS = ["limit", "mean", "sigma", "plausible_mean"];

function setting(name, value) {
  if (value === null || value === undefined) return "none";
  return FRACTIONS.includes(name) ? `${+(100 * value).toFixed(2)} %` : String(value);
}

export function nameMark({ action, detail }) {
  if (action === "limits set" && detail.from_batch) return "limits of a batch";
  const changes = Object.entries(detail.changes || {});
  const isShort = changes.length === 1 && (action === "limits changed" || changes[0][0] === "limit");
  return isShort ? `${changes[0][0]} ${changes[0][1].map((value) => setting(changes[0][0], value)).join(" → ")}` : TEXTS[action];
}

export class LimitsView {
  constructor({ text, ask, askText, form, change }) {
    Object.assign(this, { text, ask, askText, form, change, held: null });
  }

  async load(batch) {
    const limits = await get(`api/batches/${batch}/limits`);
    const lines = Object.entries(limits.changed).map(([name, change]) => describe(name, change));
    if (limits.mean !== null) lines.push(`Mean in control ${percent(limits.mean)}, spread ${percent(limits.sigma)}: ${limits.origin}${limits.confirmed_by ? `, confirmed by ${limits.confirmed_by}` : ""}.`);
    else if (limits.baseline_frames) lines.push(`Limits are being learned, from ${limits.baseline_frames} analysed frames.`);
    this.text.hidden = lines.length === 0;
    this.text.textContent = lines.join(" ");
    this.held = { limit: limits.limit };
    this.change.limit.placeholder = limits.limit === null ? "none" : +(100 * limits.limit).toFixed(2);
    this.ask.hidden = limits.is_confirmed || !limits.is_running;
    this.form.hidden = !limits.may_change;
    const how = limits.may_change ? "" : " Start the monitor with --confirm-limits NAME, or end the batch.";
    const plausible = limits.most_plausible === null ? "" : `; up to ${percent(limits.most_plausible)} is plausible`;
    this.askText.textContent = limits.is_confirmed ? "" : `Limits learned at ${percent(limits.mean)}${plausible}. Nobody has confirmed them, and the probe is not shown as in control.${how}`;
  }
}

function describe(name, change) {
  const why = change.reason ? ` (${change.reason})` : "";
  const over = change.is_carried ? `; carried over the restart, whose command gives ${setting(name, change.given)}` : "";
  return `${name} ${setting(name, change.value)}, set by ${change.who}, ${moment(change.at)}${why}${over}.`;
}
