// The record as a table: frames by batch, state and time, newest first, and the same as a file.
import { get } from "./api.js";
import { STATES, element, interval, moment, percent } from "./format.js";

const PAGE = 50;

export class RecordTable {
  constructor({ form, body, more, text, files }) {
    Object.assign(this, { form, body, more, text, files });
    this.before = null;
    for (const name of Object.keys(STATES)) {
      if (name !== "connecting" && name !== "no connection") form.state.append(element("option", { textContent: name }));
    }
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => this.load());
    more.addEventListener("click", () => this.#next());
  }

  setBatches(batches) {
    const chosen = this.form.batch.value;
    const options = batches.map((batch) => element("option", { value: String(batch.id), textContent: `${batch.name} (${batch.n_frames})` }));
    this.form.batch.replaceChildren(element("option", { value: "", textContent: "all" }), ...options);
    this.form.batch.value = chosen || (batches.length ? String(batches[0].id) : "");
  }

  async load() {
    this.before = null;
    this.asked = {}; // what an earlier choice brings late is not of this one
    this.body.replaceChildren();
    await this.#next();
  }

  #query() {
    const { state, since, until } = this.form;
    const query = new URLSearchParams();
    if (state.value) query.append("state", state.value);
    if (since.value) query.append("since", new Date(since.value).toISOString());
    if (until.value) query.append("until", new Date(until.value).toISOString());
    return query;
  }

  async #next() {
    const { asked } = this;
    const query = this.#query();
    const batch = this.form.batch.value;
    this.files.hidden = !batch;
    for (const link of this.files.querySelectorAll("a")) link.href = `api/batches/${batch}/export?${new URLSearchParams([...query, ["format", link.dataset.format]])}`;
    if (batch) query.append("batch", batch);
    if (this.before) query.append("before", this.before);
    query.append("limit", PAGE);
    try {
      const { frames, next_before } = await get(`api/frames?${query}`);
      if (asked !== this.asked) return;
      this.before = next_before;
      this.body.append(...frames.map(row));
      this.text.textContent = this.body.children.length ? "" : "No frame of that kind.";
    } catch (error) {
      if (asked !== this.asked) return;
      this.text.textContent = error.message;
    }
    this.more.hidden = !this.before;
  }
}

function row(frame) {
  const value = frame.fraction === null ? frame.status : percent(frame.fraction);
  const cells = [moment(frame.frame_time), frame.file, frame.state, value, interval(frame.low, frame.high), String(frame.n_judged), percent(frame.chart?.ewma), frame.error || ""];
  return element("tr", {}, ...cells.map((cell, at) => element("td", { className: at >= 3 && at <= 6 ? "number" : "" }, cell)));
}
