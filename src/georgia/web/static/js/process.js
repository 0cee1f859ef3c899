// Process data: variables on charts below the fraction, over the same time; events as lines, laboratory results as
// points on the fraction itself. Without any, nothing of it is shown.
/* global uPlot */
import { change, get, keepName, lastName, setToken, token } from "./api.js";
import { PADDING, axis, follow, joinTables, timeAxis } from "./chart.js";
import { COLOURS, DASHES, ago, clockWithDay, css, element, zone } from "./format.js";
import { describeApart, describeElsewhere } from "./process-apart.js";

// The newest values every 5 s, lines every 15 s; where there are none, the store is asked twice a minute.
const NOW_MS = 5000;
const LINES_MS = 15000;
const NONE_MS = 30000;
const POINTS = 600;
// As in georgia.process.queries: a value is the present one for so many of its usual steps, and so many seconds.
const CURRENT_STEPS = 1.5;
const CURRENT_S = 10;
// A line breaks where values are missing for so many steps.
const GAP_STEPS = 5;
const FIRST_CHOSEN = 2;
const CHOSEN = "georgia-process";
const MOST_MARKS = 6;

const height = () => 150;
const keyOf = (variable) => `${variable.source}/${variable.name}`;
const amount = (value, unit) => (value === null || value === undefined ? "–" : `${+value.toPrecision(5)}${unit ? ` ${unit}` : ""}`);
const result = (entry) => `${entry.name} ${amount(entry.value, entry.unit)}${entry.sd === null ? "" : ` ± ${amount(entry.sd, "")}`}`;

// Columns of one variable, with a gap wherever values are missing for a while.
function withGaps(series) {
  const made = [[], [], [], []];
  const longest = GAP_STEPS * Math.max(series.step_s ?? 0, series.width_s);
  let before = null;
  series.time_s.forEach((at, place) => {
    if (before !== null && longest > 0 && at - before > longest) [(at + before) / 2, null, null, null].forEach((value, column) => made[column].push(value));
    [at, series.value[place], series.low[place], series.high[place]].forEach((value, column) => made[column].push(value));
    before = at;
  });
  return made;
}

export class ProcessView {
  constructor($, fractionChart) {
    this.$ = $;
    this.fraction = fractionChart;
    this.batch = null;
    this.found = null;
    this.plots = new Map();
    this.lines = new Map();
    this.shows = { events: true, results: true };
    this.readAt = 0;
    this.linesAt = 0;
    this.chosen = JSON.parse(localStorage.getItem(CHOSEN) || "null");
    setInterval(() => this.#tick(), 1000);
    for (const [id, path] of [["event-form", "events"], ["result-form", "laboratory"]]) this.#watchForm($(id), path);
    $("process-open").addEventListener("click", () => {
      $("process-entries").hidden = false;
      $("process-entries").open = true;
      $("process-entries").scrollIntoView({ block: "start" });
    });
  }

  setBatch(id) {
    if (id === this.batch) return;
    this.batch = id;
    this.found = null;
    this.lines.clear();
    this.linesAt = 0;
    this.$("process-table").href = `api/batches/${id}/process/export?format=csv`;
    this.load().catch(() => {});
  }

  async load() {
    const { batch } = this;
    if (!batch) return;
    this.readAt = Date.now();
    const found = await get(`api/batches/${batch}/process?variable=0`, NOW_MS);
    if (batch !== this.batch) return;
    this.found = { ...found, receivedAt: Date.now() };
    const isEmpty = !(found.variables.length || found.events.length || found.laboratory.length);
    this.isEmpty = isEmpty;
    this.$("process").hidden = isEmpty && !found.elsewhere;
    if (!isEmpty) this.$("process-entries").hidden = false;
    if (found.variables.length) {
      const warmFirst = [...found.variables].sort((a, b) => (b.unit === "°C") - (a.unit === "°C"));
      this.chosen ??= warmFirst.slice(0, FIRST_CHOSEN).map(keyOf);
    }
    this.#showVariables();
    this.#showMarks();
    if (Date.now() - this.linesAt >= LINES_MS) {
      await this.#loadLines();
      this.#showMarks();
    }
    this.#draw();
  }

  async #loadLines() {
    const { batch } = this;
    const wanted = this.#wanted();
    this.linesAt = Date.now();
    if (!wanted.length) {
      this.lines.clear();
      return;
    }
    const query = new URLSearchParams([["points", POINTS], ...wanted.map((variable) => ["variable", variable.id])]);
    const { series } = await get(`api/batches/${batch}/process?${query}`);
    if (batch !== this.batch) return;
    this.lines = new Map(series.map((each) => [each.id, each]));
  }

  #wanted() {
    return this.found ? this.found.variables.filter((variable) => this.chosen?.includes(keyOf(variable))) : [];
  }

  #tick() {
    this.#attach();
    if (!this.batch || document.visibilityState === "hidden") return;
    if (Date.now() - this.readAt >= (this.isEmpty ? NONE_MS : NOW_MS)) this.load().catch(() => {});
    else if (this.found && !this.isEmpty) this.#showAges();
  }

  // The colours of a variable stay, whichever others are shown.
  #style(variable) {
    const place = this.found.variables.findIndex((each) => each.id === variable.id);
    const colours = [...COLOURS.slice(1), css("--ink")]; // the first is the fraction's
    return { stroke: colours[place % colours.length], dash: DASHES[Math.floor(place / colours.length) % DASHES.length] };
  }

  #showVariables() {
    const list = this.$("process-variables");
    const { variables, events, laboratory } = this.found;
    const names = JSON.stringify([variables.map((variable) => [variable.id, variable.title]), events.length > 0, laboratory.length > 0]);
    if (list.dataset.names !== names) {
      list.dataset.names = names;
      list.replaceChildren(...variables.map((variable) => this.#makeVariable(variable)), ...this.#makeSwitches());
    }
    this.#showAges();
  }

  #makeVariable(variable) {
    const box = element("input", { type: "checkbox", checked: this.chosen.includes(keyOf(variable)) });
    box.addEventListener("change", () => {
      this.chosen = box.checked ? [...this.chosen, keyOf(variable)] : this.chosen.filter((key) => key !== keyOf(variable));
      localStorage.setItem(CHOSEN, JSON.stringify(this.chosen));
      this.#loadLines().then(() => this.#draw()).catch(() => {});
    });
    const { stroke, dash } = this.#style(variable);
    const line = element("span", { className: "line" });
    line.style.color = stroke;
    line.style.borderTopStyle = dash.length ? "dashed" : "solid";
    const label = element("label", { title: `source ${variable.source}` }, box, line, element("span", {}, variable.name), element("span", { className: "value" }), element("span", { className: "age muted" }));
    return element("li", { id: `process-variable-${variable.id}` }, label);
  }

  #makeSwitches() {
    const { events, laboratory } = this.found;
    const kinds = [["events", "events", events], ["results", "laboratory results", laboratory]].filter(([, , entries]) => entries.length);
    return kinds.map(([kind, name]) => {
      const box = element("input", { type: "checkbox", checked: this.shows[kind] });
      box.addEventListener("change", () => {
        this.shows[kind] = box.checked;
        this.#draw();
      });
      const sign = element("span", { className: kind === "events" ? "mark-event" : "mark-result", textContent: kind === "events" ? "┊" : "◆" });
      return element("li", {}, element("label", {}, box, sign, element("span", {}, name)));
    });
  }

  // No value is "now" for longer than it is the present one, whether or not the service is heard.
  #showAges() {
    const passed = (Date.now() - this.found.receivedAt) / 1000;
    for (const variable of this.found.variables) {
      const place = this.$(`process-variable-${variable.id}`);
      if (!place) continue;
      const age = variable.age_s === null ? null : variable.age_s + passed;
      const isGood = variable.last_quality === "good";
      const isNow = isGood && age !== null && age <= CURRENT_STEPS * (variable.step_s ?? 0) + CURRENT_S && !document.body.classList.contains("stale");
      place.classList.toggle("old", !isNow);
      place.querySelector(".value").textContent = amount(variable.last_value, variable.unit);
      place.querySelector(".age").textContent = (age === null ? "no value" : isNow ? "now" : ago(age)) + (isGood ? "" : `, ${variable.last_quality}`);
    }
  }

  #showMarks() {
    const { events, laboratory } = this.found;
    const newest = [...events, ...laboratory].sort((a, b) => b.time_s - a.time_s);
    this.$("process-marks").replaceChildren(
      ...newest.slice(0, MOST_MARKS).map((entry) => element("li", {}, `${clockWithDay(entry.time)} ${entry.kind === "event" ? entry.name : result(entry)} (${entry.who})`)),
    );
    const asFraction = laboratory.filter((entry) => entry.fraction === null).length;
    const suspect = [...this.lines.values()].some((series) => series.suspect_time_s?.length) ? " × are values that the server calls bad or uncertain." : "";
    const aside = asFraction ? ` ${asFraction} laboratory results are no fraction and stand in the list only.` : "";
    const choose = this.isEmpty ? "Times" : "Select what is shown; times";
    this.$("process-text").textContent = `${choose} in ${zone()}.${aside}${suspect}`;
    this.$("process-rows").replaceChildren(...newest.map((entry) => this.#makeRow(entry)));
  }

  #makeRow(entry) {
    const withdraw = element("button", { type: "button", textContent: "Withdraw" });
    withdraw.addEventListener("click", () => this.#withdraw(entry));
    const shown = entry.kind === "event" ? [entry.name, "–"] : [entry.name, result(entry).slice(entry.name.length + 1)];
    const cells = [clockWithDay(entry.time), entry.kind, ...shown, entry.who, entry.note || "–", withdraw];
    return element("tr", {}, ...cells.map((cell, at) => element("td", { className: at === 3 ? "number" : "" }, cell)));
  }

  async #withdraw(entry) {
    const reason = prompt(`Why is “${entry.name}” withdrawn? The record keeps it.`);
    const who = reason?.trim() ? prompt("Your name", lastName()) : null;
    if (!who?.trim()) return;
    keepName(who);
    await this.#send(`api/process/entries/${entry.id}/withdraw`, { who, reason }, "Withdrawn.");
  }

  #watchForm(form, path) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      keepName(form.who.value);
      const body = { who: form.who.value, name: form.name.value, note: form.note.value };
      if (form.time.value) body.time = new Date(form.time.value).toISOString();
      if (path === "laboratory") Object.assign(body, { value: Number(form.value.value), unit: form.unit.value }, form.sd.value ? { sd: Number(form.sd.value) } : {});
      if (await this.#send(`api/batches/${this.batch}/process/${path}`, body, "Written.")) {
        for (const name of ["note", "time", "value", "sd"]) if (form[name]) form[name].value = "";
      }
    });
  }

  async #send(path, body, done) {
    const told = this.$("process-told");
    if (!token()) setToken(prompt("Token of the service (it was printed when the service started):") || "");
    try {
      await change(path, body);
      told.textContent = done;
      await this.load();
      return true;
    } catch (error) {
      if (error.status === 401) setToken("");
      told.textContent = error.message;
      return false;
    }
  }

  // One chart for each unit, so that every line has its axis and all lie below the fraction's.
  #draw() {
    const wanted = this.#wanted().filter((variable) => this.lines.has(variable.id));
    const units = [...new Set(wanted.map((variable) => variable.unit))];
    for (const [unit, made] of this.plots) {
      if (units.includes(unit)) continue;
      made.plot.destroy();
      made.place.remove();
      this.plots.delete(unit);
    }
    for (const unit of units) this.#drawUnit(unit, wanted.filter((variable) => variable.unit === unit));
    this.#attach();
    this.fraction.plot?.redraw(false, true);
    this.#align();
  }

  #drawUnit(unit, variables) {
    const data = joinTables(variables.map((variable) => withGaps(this.lines.get(variable.id))));
    const names = JSON.stringify(variables.map((variable) => variable.id));
    const known = this.plots.get(unit);
    if (known && known.names === names) {
      known.plot.setData(data, !this.fraction.plot);
      return;
    }
    known?.plot.destroy();
    const place = known?.place ?? element("div", { className: "chart low" });
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", `${variables.map((variable) => variable.name).join(", ")} over time, ${unit || "no unit"}`);
    if (!known) this.$("process-charts").append(place);
    this.plots.set(unit, { place, names, plot: this.#make(unit, variables, data, place) });
  }

  #make(unit, variables, data, place) {
    const value = (_, number) => (number === null || number === undefined ? "–" : amount(number, unit));
    const series = variables.flatMap((variable) => [
      { label: variable.name, ...this.#style(variable), width: 1.7, value, spanGaps: false, points: { show: false } },
      { label: "low", stroke: "transparent", class: "aside", points: { show: false } },
      { label: "high", stroke: "transparent", class: "aside", points: { show: false } },
    ]);
    const bands = variables.map((variable, at) => ({ series: [3 * at + 3, 3 * at + 2], fill: `${this.#style(variable).stroke}33` }));
    const plot = new uPlot(
      {
        width: place.clientWidth || this.fraction.place.clientWidth,
        height: height(),
        cursor: { sync: { key: "course" }, drag: { x: true, y: false } },
        scales: { y: { range: (_, low, high) => uPlot.rangeNum(low ?? 0, high ?? 1, 0.1, true) } },
        // Label and numbers are as wide as the numbers of the fraction, so that one time lies below the other.
        padding: PADDING,
        axes: [timeAxis(), { ...axis(), size: 46, label: unit || "no unit", labelSize: 16 }],
        series: [{ label: "time", class: "aside" }, ...series],
        bands,
        hooks: { draw: [(shown) => this.shows.events && this.#drawEvents(shown, false), (shown) => this.#drawSuspect(shown, variables)] },
      },
      data,
      place,
    );
    plot.over.addEventListener("dblclick", () => this.fraction.showAll());
    follow(plot, place, height);
    return plot;
  }

  // The fraction's chart is made anew where its impurity changes.
  #attach() {
    const { plot } = this.fraction;
    if (!plot || plot.hasProcess) return;
    plot.hasProcess = true;
    plot.hooks.draw = [...(plot.hooks.draw || []), (shown) => this.#drawOnFraction(shown)];
    plot.hooks.setScale = [...(plot.hooks.setScale || []), (_, key) => key === "x" && this.#align()];
    const range = plot.scales.y.range;
    plot.scales.y.range = (...given) => {
      const [low, high] = range(...given);
      return [low, Math.min(1, Math.max(high, 1.08 * this.#highest()))];
    };
    this.#align(); // until now each chart showed its own time
  }

  #results() {
    return this.found && this.shows.results ? this.found.laboratory.filter((entry) => entry.fraction !== null) : [];
  }

  #highest() {
    return Math.max(0, ...this.#results().map((entry) => entry.fraction + 1.96 * (entry.fraction_sd ?? 0)));
  }

  // Why a chart is empty, or ends before the others do.
  #showApart() {
    const { plot } = this.fraction;
    const times = plot?.data[0] ?? [];
    const frames = times.length ? [times[0], times.at(-1)] : null;
    const shown = plot ? [plot.scales.x.min, plot.scales.x.max] : null;
    const series = this.#wanted().map((variable) => this.lines.get(variable.id)).filter(Boolean);
    const text = this.found?.elsewhere ? describeElsewhere(this.found.elsewhere, frames) : describeApart(series, frames, shown);
    const place = this.$("process-apart");
    if (place.textContent !== text) place.textContent = text;
    place.hidden = !text;
  }

  // All charts show the time that the fraction's does.
  #align() {
    this.#showApart();
    const { min, max } = this.fraction.plot?.scales.x ?? {};
    if (min === undefined || min === null || min === max) return;
    for (const { plot } of this.plots.values()) plot.setScale("x", { min, max });
  }

  #drawOnFraction(plot) {
    if (!this.found) return;
    if (this.shows.events) this.#drawEvents(plot, true);
    this.#drawResults(plot);
  }

  #drawEvents(plot, hasNames) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio || 1;
    ctx.save();
    ctx.font = `${11 * ratio}px sans-serif`;
    ctx.textAlign = "left";
    ctx.strokeStyle = ctx.fillStyle = css("--accent");
    ctx.lineWidth = ratio;
    ctx.setLineDash([2 * ratio, 3 * ratio]);
    this.found.events.forEach((entry, number) => {
      const x = plot.valToPos(entry.time_s, "x", true);
      if (!(x >= bbox.left && x <= bbox.left + bbox.width)) return;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      if (!hasNames) return;
      const text = entry.name.length > 24 ? `${entry.name.slice(0, 23)}…` : entry.name;
      const width = ctx.measureText(text).width + 6 * ratio;
      // At the foot: the head is for what was changed of the monitor.
      const y = bbox.top + bbox.height - (10 + 13 * (number % 3)) * ratio;
      const left = x + width > bbox.left + bbox.width ? x - width : x + 4 * ratio;
      ctx.save();
      ctx.setLineDash([]);
      ctx.strokeStyle = css("--paper"); // a rim, so that it reads on lines and bands
      ctx.lineWidth = 4 * ratio;
      ctx.lineJoin = "round";
      ctx.strokeText(text, left, y);
      ctx.restore();
      ctx.fillText(text, left, y);
    });
    ctx.restore();
  }

  // Values that the server calls bad or uncertain: crosses beside the line, which they are no part of.
  #drawSuspect(plot, variables) {
    const { ctx, bbox } = plot;
    const size = 3.5 * (devicePixelRatio || 1);
    ctx.save();
    ctx.lineWidth = size / 2.5;
    for (const { id } of variables) {
      const series = this.lines.get(id);
      const variable = this.found.variables.find((each) => each.id === id);
      if (!series || !variable) continue;
      ctx.strokeStyle = this.#style(variable).stroke;
      ctx.beginPath();
      series.suspect_time_s.forEach((at, place) => {
        const x = plot.valToPos(at, "x", true);
        const y = Math.min(Math.max(plot.valToPos(series.suspect_value[place], "y", true), bbox.top), bbox.top + bbox.height);
        if (!(x >= bbox.left && x <= bbox.left + bbox.width)) return;
        ctx.moveTo(x - size, y - size);
        ctx.lineTo(x + size, y + size);
        ctx.moveTo(x - size, y + size);
        ctx.lineTo(x + size, y - size);
      });
      ctx.stroke();
    }
    ctx.restore();
  }

  #drawResults(plot) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio || 1;
    const size = 5.5 * ratio;
    ctx.save();
    ctx.strokeStyle = css("--ink");
    ctx.fillStyle = css("--paper");
    ctx.lineWidth = 2 * ratio;
    for (const entry of this.#results()) {
      const x = plot.valToPos(entry.time_s, "x", true);
      const y = plot.valToPos(entry.fraction, "y", true);
      if (!(x >= bbox.left && x <= bbox.left + bbox.width)) continue;
      if (entry.fraction_sd) {
        const [low, high] = [-1.96, 1.96].map((steps) => plot.valToPos(entry.fraction + steps * entry.fraction_sd, "y", true));
        ctx.beginPath();
        ctx.moveTo(x, Math.min(low, bbox.top + bbox.height));
        ctx.lineTo(x, Math.max(high, bbox.top));
        ctx.stroke();
      }
      ctx.beginPath();
      ctx.moveTo(x, y - size);
      ctx.lineTo(x + size, y);
      ctx.lineTo(x, y + size);
      ctx.lineTo(x - size, y);
      ctx.closePath();
      ctx.fill();
      ctx.stroke();
    }
    ctx.restore();
  }
}
