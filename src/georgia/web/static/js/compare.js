// Batches over one another: by elapsed time, by the number of the frame, by a variable such as the temperature, or since an
// event; with the band of released batches. The service puts them on one x; gaps and what cannot be compared come with them.
import { get } from "./api.js";
import { element } from "./format.js";

const ELAPSED = "elapsed";
const FRAME = "frame";

function nameChoice(by) {
  if (by === ELAPSED) return "time since the first frame";
  if (by === FRAME) return "number of the frame";
  return by.startsWith("@") ? `time since ${by.slice(1)}` : by.slice(1);
}

export class CompareBy {
  constructor(chart, label, text) {
    Object.assign(this, { chart, label, text });
    this.select = label.querySelector("select");
    this.batches = [];
    this.by = ELAPSED;
    this.select.addEventListener("change", () => {
      this.by = this.select.value;
      this.#draw().catch((error) => this.#tell(error.message));
    });
  }

  async show(batches) {
    this.batches = batches;
    this.label.hidden = !batches.length;
    if (!batches.length) {
      this.chart.show(null);
      return;
    }
    await this.#draw().catch((error) => this.#tell(error.message));
  }

  async #draw() {
    const { batches, by } = this;
    const query = new URLSearchParams([...batches.map(({ id }) => ["batch", id]), ["by", by]]);
    let found;
    try {
      found = await get(`api/compare?${query}`);
    } catch (error) {
      if (error.status !== 400 || by === ELAPSED) throw error;
      this.by = ELAPSED; // not all of these batches have that variable
      if (batches === this.batches) await this.#draw();
      return;
    }
    if (batches !== this.batches || by !== this.by) return;
    this.select.replaceChildren(...found.choices.map((value) => element("option", { value, textContent: nameChoice(value) })));
    this.select.value = by;
    this.chart.show(found);
    const links = ["csv", "parquet"].map((format) => element("a", { href: `api/compare/export?${query}&format=${format}`, textContent: format === "csv" ? "CSV" : "Parquet", download: "" }));
    this.#tell(this.#describe(found), ...links.flatMap((link) => [" ", link]));
  }

  #describe(found) {
    const way = found.by.startsWith("=") ? ", whichever way it went" : "";
    const band = found.band.x.length
      ? `The band is from the 10 to the 90 % quantile of ${found.n_released} released batches, the line in it their median; it ends where fewer than ${found.least_batches} have frames.`
      : "";
    const rest = found.notes.map((note) => `${note[0].toUpperCase()}${note.slice(1)}.`);
    return [`Fraction of all windows in each interval of ${nameChoice(found.by)}${way}; a line breaks where frames are missing.`, band, ...rest].filter(Boolean).join(" ");
  }

  #tell(text, ...more) {
    if (this.batches.length) this.text.replaceChildren(text, ...more);
  }
}
