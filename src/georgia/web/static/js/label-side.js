// Beside the crop: how far it is, and the last names with a way to change them.
import { change, get } from "./api.js";
import { clockWithDay, element, readablePath } from "./format.js";
import { imageUrl } from "./label-tray.js";

// Source: Okabe and Ito 2008, "Color universal design"; the key and the name stand beside each colour.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a900", "#8c6bb1", "#7f7f7f"];
export const NEITHER = "neither";
export const UNCLEAR = "unclear";
export const colourOf = (classes, name) => {
  const at = classes.findIndex((each) => each.name === name);
  return at < 0 ? "" : COLOURS[at % COLOURS.length];
};

export function nameButton(classes, name, key, onPress) {
  const button = element("button", { type: "button" });
  if (key) button.append(element("kbd", { textContent: key.toUpperCase() }));
  button.append(element("span", { className: "name", textContent: name }));
  if (key) button.setAttribute("aria-keyshortcuts", key.toUpperCase());
  button.style.setProperty("--class", colourOf(classes, name) || "var(--muted)");
  button.dataset.name = name;
  button.addEventListener("click", onPress);
  return button;
}

const count = (number, word) => `${number.toLocaleString()} ${word}${number === 1 ? "" : "s"}`;

export function showProgress({ text, body, wanted }, classes, progress) {
  const { n_items: n, n_named: named, n_left: left, n_labelled: labelled, n_neither: neither, n_unclear: unclear } = progress;
  text.textContent = `${labelled + neither + unclear} of ${count(n, "crop")} named with ${count(named, "key")}; ${left ? `${count(left, "more key")} would name the rest` : "all are named"}.`;
  const rows = [...classes.map(({ name }) => [name, progress.by_class[name] || 0, progress.n_wanted[name] || 0]), [NEITHER, neither, 0], [UNCLEAR, unclear, 0]];
  body.replaceChildren(
    ...rows.map(([name, number, more]) => {
      const swatch = element("span", { className: "swatch" });
      swatch.style.setProperty("--class", colourOf(classes, name) || "var(--rule)");
      const meter = element("meter", { min: 0, max: Math.max(1, number + more), value: number });
      meter.setAttribute("aria-label", `${name}: ${number} of ${number + more} wanted`);
      const isClass = classes.some((each) => each.name === name);
      return element("tr", {}, element("th", { scope: "row" }, swatch, name), element("td", {}, isClass ? meter : ""), element("td", { className: "number" }, String(number)));
    }),
  );
  const missing = classes.map(({ name }) => [name, progress.n_wanted[name] || 0]).filter(([, more]) => more > 0);
  const isKnown = Object.keys(progress.n_wanted).length > 0;
  wanted.textContent = missing.length ? `Before training: ${missing.map(([name, more]) => `${more} more of ${name}`).join(", ")}.` : isKnown ? "Enough of each class for a training." : "";
}

export class History {
  constructor({ list, dialog, image, text, choices, fault }, { onDone, busy }) {
    Object.assign(this, { list, dialog, image, text, choices, fault, onDone, busy });
    this.labels = [];
  }

  begin({ classes, tab, who }) {
    Object.assign(this, { classes, tab, who });
  }

  async load() {
    const { labels } = await get("api/label/history?n=10", 8000);
    if (JSON.stringify(labels) === JSON.stringify(this.labels)) return;
    this.labels = labels;
    const focused = document.activeElement?.closest?.("#history button")?.dataset.path;
    const known = new Map([...this.list.children].map((item) => [item.dataset.key, item]));
    this.list.replaceChildren(...labels.map((label) => known.get(keyOf(label)) || this.#row(label)));
    if (focused) [...this.list.querySelectorAll("button")].find((button) => button.dataset.path === focused)?.focus();
  }

  #row(label) {
    // The same image as before in the large view: the program has it at hand.
    const image = element("img", { src: imageUrl(label.path), alt: "", loading: "lazy" });
    image.addEventListener("error", () => image.replaceWith(element("span", { className: "gone" })), { once: true });
    const more = label.n_duplicates ? ` and ${label.n_duplicates} like it` : "";
    const mark = element("i", { className: "swatch" });
    mark.style.setProperty("--class", colourOf(this.classes, label.name) || "var(--muted)");
    const title = element("span", {}, mark, element("strong", {}, label.name), more);
    const text = element("div", { className: "text small" }, title, element("span", { className: "muted" }, `${label.who}, ${clockWithDay(label.at)}`));
    const button = element("button", { type: "button" }, image, text);
    button.dataset.path = label.path;
    button.title = label.path;
    button.setAttribute("aria-label", `${readablePath(label.path)}: ${label.name}, by ${label.who}, ${clockWithDay(label.at)}. Change the name`);
    button.addEventListener("click", () => this.ask(label));
    const row = element("li", {}, button);
    row.dataset.key = keyOf(label);
    return row;
  }

  ask(label) {
    this.label = label;
    this.fault.hidden = true;
    this.image.src = imageUrl(label.path);
    this.image.alt = `Crop ${readablePath(label.path)}`;
    this.text.textContent = `${readablePath(label.path)}: ${label.name}, named by ${label.who}, ${clockWithDay(label.at)}.${label.n_duplicates ? ` ${label.n_duplicates} near-duplicates change with it.` : ""}`;
    const keys = [...this.classes, { name: NEITHER, key: "0" }, { name: UNCLEAR, key: "u" }];
    this.choices.replaceChildren(
      ...keys.map(({ name, key }) => {
        const button = nameButton(this.classes, name, key, () => this.#change(name));
        button.disabled = name === label.name;
        return button;
      }),
    );
    this.dialog.showModal();
  }

  press(name) {
    [...this.choices.children].find((button) => button.dataset.name === name && !button.disabled)?.click();
  }

  async #change(name) {
    const { label } = this;
    if (!label || this.isChanging) return;
    this.isChanging = true;
    try {
      const { progress } = await change("api/label/name", { path: label.path, name, who: this.who(), tab: this.tab, replaces: label.number }, { timeout: 8000 });
      this.dialog.close();
      this.onDone(progress, `${readablePath(label.path)} is ${name} now.`);
    } catch (error) {
      this.fault.textContent = `Not changed: ${error.message}`;
      this.fault.hidden = false;
    } finally {
      this.isChanging = false;
    }
    await this.load().catch(() => {});
  }
}

const keyOf = (label) => `${label.number} ${label.name} ${label.path}`;
