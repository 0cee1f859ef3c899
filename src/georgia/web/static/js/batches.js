// All batches, and a chart that compares up to five of them.
import { get } from "./api.js";
import { element, moment } from "./format.js";

const MOST = 5;

export class BatchTable {
  constructor(body, text, chart) {
    Object.assign(this, { body, text, chart });
    this.chosen = new Map();
  }

  async load() {
    const { batches } = await get("/api/batches?limit=50");
    if (batches.length) this.body.replaceChildren(...batches.map((batch) => this.#row(batch)));
  }

  #row(batch) {
    const box = element("input", { type: "checkbox", checked: this.chosen.has(batch.id) });
    box.setAttribute("aria-label", `Compare batch ${batch.name}`);
    box.addEventListener("change", () => this.#choose(batch, box));
    const link = element("a", { href: `/api/batches/${batch.id}/export?format=csv`, textContent: "CSV" });
    const cells = [box, batch.name, batch.operator || "–", moment(batch.started_at), batch.ended_at ? moment(batch.ended_at) : "running", batch.n_frames.toLocaleString(), link];
    return element("tr", {}, ...cells.map((cell, at) => element("td", { className: at === 5 ? "number" : "" }, cell)));
  }

  async #choose(batch, box) {
    if (!box.checked) this.chosen.delete(batch.id);
    else if (this.chosen.size >= MOST) {
      box.checked = false;
      this.text.textContent = `At most ${MOST} batches at once; clear one first.`;
      return;
    } else this.chosen.set(batch.id, { name: batch.name, rows: await get(`/api/batches/${batch.id}/series?points=800`) });
    this.chart.show([...this.chosen.values()]);
    this.text.textContent = this.chosen.size ? "Smoothed fraction by the number of the frame in its batch." : `Select up to ${MOST} batches to compare them in one chart.`;
  }
}
