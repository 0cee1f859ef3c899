// The newest frames as a strip, and the selected one with its windows.
import { get } from "./api.js";
import { COLOURS, clock, element, interval, percent } from "./format.js";

const MOST = 24;
const PATTERNS = [[], [7, 4], [2, 3], [9, 3, 2, 3]];

export class FrameView {
  constructor({ canvas, text, key, strip, boxes }) {
    Object.assign(this, { canvas, text, key, strip, boxes });
    this.frames = [];
    this.chosen = null;
    this.follows = true;
    boxes.addEventListener("change", () => this.draw());
    strip.addEventListener("keydown", (event) => this.#move(event));
  }

  set(frames) {
    this.frames = frames.slice(0, MOST);
    this.#list();
    if (this.follows && this.frames.length) this.choose(this.frames[0], true);
  }

  add(frame) {
    if (this.frames.some((other) => other.frame === frame.frame)) return;
    this.set([frame, ...this.frames]);
  }

  #list() {
    const focused = document.activeElement?.dataset?.frame;
    this.strip.replaceChildren(...this.frames.map((frame) => this.#button(frame)));
    if (focused) this.strip.querySelector(`[data-frame="${focused}"]`)?.focus();
    this.#mark();
  }

  #button(frame) {
    const value = frame.fraction === null ? frame.status : percent(frame.fraction);
    const image = element("img", { src: `/api/frames/${frame.frame}/picture`, alt: "", loading: "lazy" });
    image.addEventListener("error", () => image.removeAttribute("src"), { once: true });
    const button = element("button", { type: "button", className: frame.alarm ? "raised" : "" }, image, `${clock(frame.frame_time)} · ${value}${frame.alarm ? " ■" : ""}`);
    button.dataset.frame = frame.frame;
    button.setAttribute("aria-label", `Frame ${frame.ordinal} of ${clock(frame.frame_time)}: ${frame.impurity} ${value}, ${frame.state}`);
    button.addEventListener("click", () => {
      this.follows = frame.frame === this.frames[0].frame;
      this.choose(frame);
    });
    return element("li", {}, button);
  }

  #mark() {
    for (const button of this.strip.querySelectorAll("button")) {
      button.setAttribute("aria-current", String(Number(button.dataset.frame) === this.chosen?.frame));
    }
  }

  #move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const buttons = [...this.strip.querySelectorAll("button")];
    const next = buttons[buttons.indexOf(document.activeElement) + step];
    if (next) {
      event.preventDefault();
      next.focus();
      next.click();
    }
  }

  async choose(frame) {
    this.chosen = frame;
    this.#mark();
    const image = new Image();
    const [map] = await Promise.all([
      get(`/api/frames/${frame.frame}/map`).catch(() => null),
      new Promise((done) => {
        image.onload = image.onerror = done;
        image.src = `/api/frames/${frame.frame}/picture`;
      }),
    ]);
    if (this.chosen !== frame) return;
    this.image = image.naturalWidth ? image : null;
    this.map = map;
    this.draw();
  }

  draw() {
    const frame = this.chosen;
    if (!frame) return;
    const { canvas, image, map } = this;
    const width = map?.width_px || image?.naturalWidth || 640;
    const height = map?.height_px || image?.naturalHeight || 480;
    const scale = Math.min(1, 1112 / Math.max(width, height));
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const ctx = canvas.getContext("2d");
    if (image) ctx.drawImage(image, 0, 0, canvas.width, canvas.height);
    if (map && this.boxes.checked) this.#windows(ctx, map, scale);
    const value = frame.fraction === null ? frame.status : `${frame.impurity} ${percent(frame.fraction)} (${interval(frame.low, frame.high)}) of ${frame.n_judged} windows`;
    this.text.textContent = `${frame.file}, ${clock(frame.frame_time)}: ${value}; ${frame.state}.${image ? "" : " The image is not within reach."}`;
    canvas.setAttribute("aria-label", this.text.textContent);
    this.#legend(map);
  }

  #windows(ctx, map, scale) {
    // The middle half of each window, since windows overlap: sides that touch would hide one another.
    map.windows.forEach((box) => {
      const at = map.classes.indexOf(box.label);
      if (at < 0 && box.label !== "unknown") return;
      ctx.lineWidth = 2;
      ctx.strokeStyle = at < 0 ? "#ffffff" : COLOURS[at % COLOURS.length];
      ctx.setLineDash(at < 0 ? [2, 5] : PATTERNS[at % PATTERNS.length]);
      const inset = 0.27;
      ctx.strokeRect((box.left + inset * box.width) * scale, (box.top + inset * box.height) * scale, box.width * (1 - 2 * inset) * scale, box.height * (1 - 2 * inset) * scale);
    });
    ctx.setLineDash([]);
  }

  #legend(map) {
    const names = map ? [...map.classes, "unknown"] : [];
    const styles = ["solid", "dashed", "dotted", "double"];
    this.key.replaceChildren(
      ...names.map((name, at) => {
        const swatch = element("span", { className: "swatch" });
        const isClass = at < map.classes.length;
        swatch.style.borderColor = isClass ? COLOURS[at % COLOURS.length] : "#888";
        swatch.style.borderStyle = isClass ? styles[at % styles.length] : "dotted";
        const n = map.windows.filter((box) => box.label === name).length;
        return element("li", {}, swatch, `${name}: ${n} windows`);
      }),
    );
  }
}
