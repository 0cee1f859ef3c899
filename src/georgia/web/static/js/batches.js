// All batches, and a chart that compares up to five of them.
import { get } from "./api.js";
import { describeChecked, element, moment } from "./format.js";

const MOST = 5;

export class BatchTable {
  constructor(body, text, chart) {
    Object.assign(this, { body, text, chart });
    this.chosen = new Map();
    this.all = [];
    this.checked = new Map();
  }

  async load() {
    const { batches } = await get("api/batches?limit=50");
    this.all = batches;
    if (batches.length) this.body.replaceChildren(...batches.map((batch) => this.#row(batch)));
    await this.#showChecked();
  }

  // What people found comes after the rows: it may take a while to compute.
  async #showChecked() {
    const { checked, faults } = await get("api/spotchecks?limit=50").catch(() => ({ checked: [], faults: [] }));
    this.checked = new Map(checked.map((found) => [found.batch, found]));
    for (const batch of this.all) this.setChecked(batch.id, this.checked.get(batch.id));
    for (const { batch } of faults) {
      const cell = this.body.querySelector(`[data-checked="${batch}"]`);
      if (cell) cell.textContent = "altered: see georgia verify";
    }
  }

  setChecked(id, found) {
    const cell = this.body.querySelector(`[data-checked="${id}"]`);
    if (cell) cell.textContent = found ? `${found.class} ${describeChecked(found)}${found.is_part ? ", in part" : ""}` : "–";
  }

  #row(batch) {
    const box = element("input", { type: "checkbox", checked: this.chosen.has(batch.id) });
    box.setAttribute("aria-label", `Compare batch ${batch.name}`);
    box.addEventListener("change", () => this.#choose(batch, box));
    const link = element("a", { href: `api/batches/${batch.id}/export?format=csv`, textContent: "CSV" });
    const report = element("a", { href: `api/batches/${batch.id}/report`, textContent: "report", download: "" });
    const files = element("span", {}, report, " ", link);
    const cells = [box, batch.name, batch.operator || "–", moment(batch.started_at), batch.ended_at ? moment(batch.ended_at) : "running", batch.n_frames.toLocaleString(), "–", files];
    const row = element("tr", {}, ...cells.map((cell, at) => element("td", { className: at === 5 || at === 6 ? "number" : "" }, cell)));
    row.children[6].dataset.checked = batch.id;
    return row;
  }

  async #choose(batch, box) {
    if (!box.checked) this.chosen.delete(batch.id);
    else if (this.chosen.size >= MOST) {
      box.checked = false;
      this.text.textContent = `At most ${MOST} batches at once; clear one first.`;
      return;
    } else this.chosen.set(batch.id, { id: batch.id, name: batch.name });
    this.text.textContent = `Select up to ${MOST} batches to compare them in one chart.`;
    await this.chart.show([...this.chosen.values()]);
  }
}
