// Training beside the labelling: what is missing, how far it is, what came out, and which model is in use.
/* global uPlot */
import { change, get } from "./api.js";
import { axis, follow } from "./chart.js";
import { css, element, moment, readablePath } from "./format.js";

const TIMEOUT_MS = 8000;
// Names to look at again that are shown; all are in learned.json.
const MOST_SUSPECTED = 12;
const score = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
const range = ([low, high]) => `${score(low)}–${score(high)}`;
const count = (number, word) => `${number.toLocaleString()} ${word}${number === 1 ? "" : "s"}`;

export class TrainPanel {
  constructor(find, { who, onToken, onLookAgain }) {
    Object.assign(this, { find, who, onToken, onLookAgain });
    this.version = -1;
    this.found = null;
    this.plot = null;
    find("train-start").addEventListener("click", () => this.#ask("", {}));
    find("train-stop").addEventListener("click", () => this.#ask("/stop", {}));
    find("model-use").addEventListener("click", () => this.#ask("/use", { model: this.newest.name, who: who() }));
    find("go-back").addEventListener("click", () => this.#ask("/back", { who: who() }));
    find("override").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask("/use", { model: this.newest.name, who: who(), reason: event.target.reason.value, override: true });
    });
  }

  get isBusy() {
    return ["running", "stopping"].includes(this.state);
  }

  get newest() {
    return this.found?.models[0] || null;
  }

  // What every poll brings; models and figures are asked for where something has changed.
  async update(training, progress) {
    this.#showState(training, progress);
    if (training.version === this.version) return;
    this.version = training.version;
    this.found = await get("api/label/training", TIMEOUT_MS);
    this.#showModels();
  }

  async #ask(what, body) {
    this.#tellFault("");
    try {
      await change(`api/label/training${what}`, body, { timeout: TIMEOUT_MS });
      this.version = -1;
      const state = await get("api/label", TIMEOUT_MS);
      await this.update(state.training, state.progress);
    } catch (error) {
      if (error.status === 401) this.onToken();
      this.#tellFault(error.message);
    }
  }

  #tellFault(text) {
    this.find("train-fault").hidden = !text;
    this.find("train-fault").textContent = text;
  }

  #showState(training, progress) {
    const { find } = this;
    this.state = training.state;
    const { isBusy } = this;
    const missing = Object.entries(progress.n_wanted).filter(([, more]) => more > 0);
    const isReady = missing.length === 0;
    find("train-start").disabled = isBusy || !isReady;
    find("train-start").hidden = isBusy;
    find("train-stop").hidden = !isBusy;
    find("train-stop").disabled = training.state === "stopping";
    find("train-text").textContent = isBusy ? "Go on naming meanwhile: what is named now counts in the next training." : isReady ? `Learns from the ${count(Object.values(progress.by_class).reduce((sum, n) => sum + n, 0), "crop")} that have a class.` : `Needs ${missing.map(([name, more]) => `${more} more of ${name}`).join(" and ")}.`;
    const bar = find("train-bar");
    bar.hidden = !isBusy;
    if (training.n_total) Object.assign(bar, { max: training.n_total, value: training.n_done });
    else bar.removeAttribute("value");
    const what = training.task === "promote" ? "Comparing with the model in use" : "Training";
    const stage = isBusy ? `${what}: ${training.state === "stopping" ? "stopping" : training.stage}${training.n_total ? `, ${training.n_done} of ${training.n_total}` : ""} (${Math.round(training.seconds)} s)` : { stopped: training.message, done: training.task === "train" ? `Trained in ${Math.round(training.seconds)} s.` : "" }[training.state] || "";
    if (find("train-stage").textContent !== stage) find("train-stage").textContent = stage;
    if (training.version !== this.version) this.#tellFault(["failed", "done"].includes(training.state) ? training.message : "");
  }

  #showModels() {
    const { find, newest } = this;
    const { in_use: used, state, task, result } = this.found;
    find("train-model").hidden = !newest;
    if (newest) this.#showModel(newest);
    const isClosed = task === "promote" && state === "done" && !result.is_promoted;
    find("override").hidden = !isClosed || !newest || newest.is_in_use;
    if (isClosed) find("override-text").textContent = `Not put in use – ${result.summary}. Name more crops of frames that the model in use has not learned from (those chosen evenly count, those chosen by a model's doubt do not), train again and ask again. Or override it: your name and reason are kept with the model.`;
    for (const place of document.querySelectorAll(".who-name")) place.textContent = this.who();
    find("in-use").textContent = used ? describeUse(used, this.found.models.find((model) => model.is_in_use)) : newest ? "No model is in use yet." : "";
    find("go-back").hidden = !used?.can_go_back;
  }

  #showModel(model) {
    const { find } = this;
    // Evenly sampled crops tell how it is on the whole pool; those that were chosen because they are hard make it too low.
    const metrics = model.evenly_drawn || model.cross_validated;
    const { macro, per_class: classes } = metrics;
    find("model-title").textContent = `${model.name}${model.is_in_use ? " (in use)" : ""}, from ${count(model.n_labels, "label")}`;
    find("model-f1").textContent = `macro F1 ${score(macro.f1)} (${range(macro.f1_ci95)})`;
    const absent = Object.entries(classes).filter(([, row]) => !row.support).map(([name]) => name);
    find("model-note").textContent = `Cross-validated: each crop was predicted by a model that learned from none of its frame. ${model.evenly_drawn ? `Of the ${count(metrics.n, "evenly sampled crop")}, so it holds for the pool.` : "Too few crops were sampled evenly, so it is not the pool's figure."}${model.n_even_without_class ? ` ${count(model.n_even_without_class, "evenly sampled crop")} of no class, or unclear, are not in it.` : ""}${model.n_even_missing ? ` ${count(model.n_even_missing, "evenly sampled crop")} passed over or not named yet: not in it, and perhaps hard ones.` : ""}${absent.length ? ` No ${absent.join(" or ")} is among them: what holds there is not known.` : ""}`;
    find("model-rows").tBodies[0].replaceChildren(
      ...Object.entries(classes).map(([name, row]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", { className: "number" }, String(row.support)), element("td", { className: "number" }, row.support ? score(row.f1) : "–"), element("td", { className: "number" }, row.support ? range(row.f1_ci95) : "–"))),
    );
    this.#showSuspected(model.suspected || []);
    find("model-report").hidden = !model.has_report;
    find("model-report").href = `api/label/training/report?model=${encodeURIComponent(model.name)}`;
    find("model-use").hidden = model.is_in_use;
    find("model-use").disabled = Boolean(model.gate);
    if (model.gate) this.#tellFault(`This model cannot be used: ${model.gate}`);
    this.#showCurve(model.curve);
  }

  #showSuspected(suspected) {
    const place = this.find("model-suspected");
    place.hidden = suspected.length === 0;
    place.querySelector("ol").replaceChildren(
      ...suspected.slice(0, MOST_SUSPECTED).map(({ path, name, looks_like: other }) => {
        const button = element("button", { type: "button", className: "plain" }, `${readablePath(path)}: ${name}, looks like ${other}`);
        button.addEventListener("click", async () => {
          try {
            const { labels } = await get(`api/label/history?n=1&path=${encodeURIComponent(path)}`, TIMEOUT_MS);
            if (labels.length) this.onLookAgain(labels[0]);
            else this.#tellFault(`${readablePath(path)} has no name now.`);
          } catch (error) {
            this.#tellFault(error.message);
          }
        });
        return element("li", {}, button);
      }),
    );
  }

  #showCurve(curve) {
    const { find } = this;
    const points = [...curve.points.map((point) => ({ ...point, now: point.f1 })), ...curve.forecast.map((point) => ({ ...point, then: point.f1 }))];
    find("curve-figure").hidden = curve.points.length < 2;
    find("curve-text").textContent = curve.text;
    if (curve.points.length < 2) return;
    const last = curve.points.at(-1);
    const column = (name) => points.map((point) => point[name] ?? null);
    const forecast = points.map((point) => (point.then !== undefined || point.n === last.n ? point.f1 : null));
    const data = [column("n"), column("now"), curve.forecast.length ? forecast : points.map(() => null), points.map((point) => point.f1_ci95[0]), points.map((point) => point.f1_ci95[1])];
    const text = points.map((point) => `${point.n}: ${score(point.f1)}`).join(", ");
    find("curve").setAttribute("aria-label", `Macro F1 by number of labels: ${text}`);
    this.plot?.destroy();
    const width = find("curve").clientWidth || 280;
    const edge = { stroke: "transparent", points: { show: false }, width: 0 };
    this.plot = new uPlot(
      {
        width, height: 170, legend: { show: false }, cursor: { drag: { x: false, y: false } },
        scales: { x: { time: false }, y: { range: (_, low, high) => [Math.max(0, low - 0.02), Math.min(1.005, high + 0.02)] } },
        axes: [{ ...axis(), size: 34, label: "labels", labelSize: 18, labelGap: 0 }, { ...axis(), size: 46, values: (_, values) => values.map((value) => value.toFixed(2)) }],
        series: [{}, { label: "macro F1", stroke: css("--ink"), width: 2, points: { show: true, size: 6 } }, { label: "estimate", stroke: css("--accent"), width: 2, dash: [6, 4], points: { show: true, size: 6 } }, edge, edge],
        bands: [{ series: [4, 3], fill: css("--band") }],
      },
      data,
      find("curve"),
    );
    follow(this.plot, find("curve"), () => 170);
  }
}

function describeUse(used, model) {
  const what = model ? model.name : used.folder;
  const how = { first: "the first one", promoted: "shown to be not worse", overridden: `against the gate: ${used.reason}`, back: "gone back to" }[used.decision] || "";
  return `In use: ${what}${how ? ` – ${how}` : ""}${used.who ? `, ${used.who}, ${moment(used.at)}` : ""}. In ${used.folder}; a monitor that runs takes it between two frames.`;
}
