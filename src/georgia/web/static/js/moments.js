// Detected moments: marked lines on the fraction's chart, a table, and what people say of each.
import { change, get, keepName, lastName, setToken, token } from "./api.js";
import { clockWithDay, css, element } from "./format.js";

const EVERY_MS = 30000;
const title = (moment) => moment.point || (moment.number > 1 ? `${moment.kind} (${moment.number})` : moment.kind);
const iso = (seconds) => (seconds === null ? null : new Date(1000 * seconds).toISOString());
const between = (low, high) => (low || high ? `${low ? clockWithDay(low) : "before the first frame"} – ${high ? clockWithDay(high) : "…"}` : "–");
const degrees = ({ value, low, high, unit }) => `${value.toFixed(1)} ${unit} (${low.toFixed(1)} to ${high.toFixed(1)})`;

export class MomentsView {
  constructor($, fractionChart) {
    this.$ = $;
    this.fraction = fractionChart;
    this.batch = null;
    this.found = null;
    this.readAt = 0;
    // The temperature that was chosen for a batch; without one that of the settings, or the only one.
    this.chosen = new Map();
    $("moments-temperature").addEventListener("change", (event) => this.#choose(event.target.value));
    setInterval(() => this.#tick(), 1000);
  }

  setBatch(id) {
    if (id === this.batch) return;
    this.batch = id;
    this.found = null;
    this.$("moments").hidden = true;
    this.load().catch(() => {});
  }

  async load() {
    const { batch } = this;
    if (!batch) return;
    this.readAt = Date.now();
    const chosen = this.#temperature;
    const found = await get(`api/batches/${batch}/moments?temperature=${encodeURIComponent(chosen)}`, EVERY_MS);
    if (batch !== this.batch || chosen !== this.#temperature) return;
    this.found = found;
    this.#show();
    this.fraction.plot?.redraw(false, true);
  }

  get #temperature() {
    return this.chosen.get(this.batch) ?? "";
  }

  #choose(name) {
    this.chosen.set(this.batch, name);
    this.load().catch((error) => {
      this.#tell(error.message);
      this.chosen.delete(this.batch);
    });
  }

  #showChoice() {
    const { temperature, temperatures } = this.found;
    const names = temperature ? temperatures : ["", ...temperatures];
    const select = this.$("moments-temperature");
    this.$("moments-choice").hidden = temperatures.length < 2;
    if (names.join("\n") !== [...select.options].map((option) => option.value).join("\n"))
      select.replaceChildren(...names.map((name) => element("option", { value: name, textContent: name || "none chosen" })));
    select.value = temperature ?? "";
    this.$("moments-table").href = `api/batches/${this.batch}/moments/export?format=csv&temperature=${encodeURIComponent(this.#temperature)}`;
  }

  #tick() {
    const { plot } = this.fraction;
    if (plot && !plot.hasMoments) {
      plot.hasMoments = true;
      plot.hooks.draw = [...(plot.hooks.draw || []), (shown) => this.#draw(shown)];
      plot.redraw(false, true);
    }
    if (this.batch && document.visibilityState === "visible" && Date.now() - this.readAt > EVERY_MS) this.load().catch(() => {});
  }

  #show() {
    const { moments, zones, no_zone, no_temperature, through } = this.found;
    this.$("moments").hidden = !moments.length;
    this.#showChoice();
    this.$("moments-rows").replaceChildren(...moments.map((moment) => this.#makeRow(moment)));
    const widths = zones.map((zone) => `Metastable zone width ${zone.width.toFixed(1)} ${zone.unit} (${zone.low.toFixed(1)} to ${zone.high.toFixed(1)}).`);
    const lacking = [no_temperature ? `No temperature: ${no_temperature}.` : "", zones.length ? "" : `No metastable zone width: ${no_zone}.`];
    this.$("moments-text").textContent = [...widths, ...lacking, `Known up to the frame of ${clockWithDay(through)}; later frames may change what is suggested.`].filter(Boolean).join(" ");
  }

  #makeRow(moment) {
    const { decision, finding } = moment;
    const low = iso(moment.shown_low_s);
    const high = iso(moment.shown_high_s);
    const isShown = moment.shown_s !== null;
    const said = decision ? `${moment.state} by ${decision.who}, ${clockWithDay(decision.at)}${decision.note ? `: ${decision.note}` : ""}` : moment.state || finding;
    const isSame = !decision || iso(moment.shown_s) === moment.time;
    const cells = [
      title(moment),
      isShown && finding !== "taken back" ? clockWithDay(iso(moment.shown_s)) : "–",
      isShown && finding !== "taken back" ? between(low, high) : "–",
      moment.temperature && isSame ? degrees(moment.temperature) : "–",
      said,
      [moment.text, ...moment.notes].join("; "),
      this.#makeButtons(moment),
    ];
    return element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));
  }

  #makeButtons(moment) {
    const place = element("span", { className: "moment-buttons" });
    if (moment.finding === "taken back") return place;
    const choices = moment.finding === "found" ? [["confirmed", "Confirm"], ["corrected", "Correct"], ["dismissed", "Dismiss"]] : [["corrected", "Give a time"]];
    for (const [decision, name] of choices) {
      const button = element("button", { type: "button", textContent: name });
      button.addEventListener("click", () => this.#decide(moment, decision));
      place.append(button);
    }
    return place;
  }

  async #decide(moment, decision) {
    const body = { kind: moment.kind, number: moment.number, decision, expected: moment.decision?.seq ?? 0, temperature: this.#temperature };
    if (decision === "corrected") {
      const typed = prompt("When was it? (ISO 8601 or the way this machine writes times)", moment.time || this.found.through || "");
      if (!typed) return;
      const at = new Date(typed);
      if (Number.isNaN(at.valueOf())) return this.#tell(`“${typed}” is no time.`);
      body.time = at.toISOString();
    }
    if (decision !== "confirmed") {
      body.note = prompt("Reason")?.trim();
      if (!body.note) return;
    }
    body.who = prompt("Your name", lastName())?.trim();
    if (!body.who) return;
    keepName(body.who);
    if (!token()) setToken(prompt("Token of the service (it was printed when the service started):") || "");
    try {
      await change(`api/batches/${this.batch}/moments`, body);
      this.#tell(`Written: ${title(moment)} ${decision}.`);
      await this.load();
    } catch (error) {
      if (error.status === 401) setToken("");
      this.#tell(error.message);
    }
  }

  #tell(text) {
    this.$("moments-told").textContent = text;
  }

  #draw(plot) {
    if (!this.found) return;
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio || 1;
    const shown = this.found.moments.filter((moment) => moment.shown_s !== null && moment.finding !== "taken back" && !moment.kind.includes("growth"));
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.font = `${11 * ratio}px sans-serif`;
    shown.forEach((moment, number) => {
      const [x, low, high] = [moment.shown_s, moment.shown_low_s ?? moment.shown_s, moment.shown_high_s ?? moment.shown_s].map((at) => plot.valToPos(at, "x", true));
      ctx.fillStyle = ctx.strokeStyle = css("--accent");
      ctx.globalAlpha = 0.12;
      ctx.fillRect(low, bbox.top, Math.max(1, high - low), bbox.height);
      ctx.globalAlpha = 1;
      ctx.lineWidth = 1.5 * ratio;
      ctx.setLineDash(moment.state === "suggested" ? [6 * ratio, 4 * ratio] : []);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      const text = `${title(moment)}${moment.state === "suggested" ? "?" : ""}`;
      const width = ctx.measureText(text).width;
      const left = x + width + 5 * ratio > bbox.left + bbox.width ? x - width - 4 * ratio : x + 4 * ratio;
      const y = bbox.top + (26 + 14 * (number % 3)) * ratio;
      ctx.setLineDash([]);
      ctx.strokeStyle = css("--paper");
      ctx.lineWidth = 4 * ratio;
      ctx.lineJoin = "round";
      ctx.strokeText(text, left, y);
      ctx.fillText(text, left, y);
    });
    ctx.restore();
  }
}
