// Commissioning: whether the frames are like the training images, how far a comparison is, and its verdict.
import { get } from "./api.js";
import { element, moment } from "./format.js";

const LEADS = {
  ok: "✓ The frames are like the images that the model was trained on.",
  caution: "▲ Use the fractions with caution: not all is like the training images, or known.",
  bad: "✕ The frames are unlike the images that the model was trained on: its fractions mean nothing.",
};
const KINDS = { ok: "calm", caution: "care", bad: "bad" };
const POLL_MS = 2000;

export class CommissioningView {
  // `onHeld` is told the reason for which the state is held, "" where it is not.
  constructor({ verdict, lines, page, running, form, cancel }, onHeld) {
    Object.assign(this, { verdict, lines, page, running, form, cancel, onHeld });
    this.timer = null;
  }

  async load() {
    clearTimeout(this.timer);
    const found = await get("api/commissioning");
    this.#showVerdict(found.verdict);
    this.#showRun(found);
    this.onHeld(found.is_held ? `Commissioned as bad by ${found.verdict.who}, ${moment(found.verdict.at)}: ${found.verdict.reason}.` : "");
    if (found.running) this.timer = setTimeout(() => this.load().catch(() => {}), POLL_MS);
  }

  #showVerdict(verdict) {
    this.page.hidden = !verdict;
    this.verdict.dataset.kind = verdict ? KINDS[verdict.verdict] : "";
    if (!verdict) {
      this.verdict.textContent = "Nobody has compared this probe with this model's training images. Until then the first frames of each batch are compared by themselves.";
      this.lines.replaceChildren();
      return;
    }
    const { override } = verdict;
    const over = override ? ` Overridden by ${override.who}, ${moment(override.at)}: ${override.reason}.` : "";
    this.verdict.textContent = `${LEADS[verdict.verdict]} ${verdict.n_frames} frames, compared by ${verdict.who}, ${moment(verdict.at)}.${over}`;
    const worse = (verdict.lines || []).filter((line) => line.remedy);
    this.lines.replaceChildren(...worse.map((line) => element("li", {}, `${line.name}: ${line.measured} (limit ${line.limit}). ${line.remedy}`)));
  }

  #showRun({ running, may_change: mayChange }) {
    this.form.hidden = !mayChange;
    this.running.hidden = !running && mayChange;
    this.cancel.hidden = !running;
    for (const field of this.form.querySelectorAll("input, button:not([type])")) field.disabled = Boolean(running);
    if (!mayChange) this.running.textContent = "The monitor runs in another process: start it with --commission, or start this service with --watch.";
    if (!running) return;
    const empty = running.n_read - running.n_compared;
    const without = empty ? `; ${empty} more had no window with detail: is there a slurry in front of the probe?` : "";
    this.running.textContent = `${running.who} has the frames since ${moment(running.started_at)} compared: ${running.n_compared} of ${running.n_frames}${without}`;
  }
}
