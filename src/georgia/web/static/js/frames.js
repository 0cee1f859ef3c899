// The newest frames as a strip, and the selected one with its windows.
import { get } from "./api.js";
import { COLOURS, clock, clockWithDay, element, interval, percent } from "./format.js";

const MOST = 24;
const MARKS = ["□", "○", "◇", "△"];

export class FrameView {
  constructor({ canvas, text, key, strip, boxes }) {
    Object.assign(this, { canvas, text, key, strip, boxes });
    this.frames = [];
    this.chosen = null;
    this.follows = true;
    this.pointed = null;
    boxes.addEventListener("change", () => this.draw());
    for (const kind of ["pointermove", "pointerdown"]) canvas.addEventListener(kind, (event) => this.#point(event));
    canvas.addEventListener("pointerleave", () => {
      this.pointed = null;
      this.draw();
    });
    strip.addEventListener("keydown", (event) => this.#move(event));
  }

  set(frames, kept = new Map()) {
    this.frames = frames.slice(0, MOST);
    this.#list(kept);
    if (this.follows && this.frames.length) this.choose(this.frames[0], true);
  }

  add(frame) {
    if (this.frames.some((other) => other.frame === frame.frame)) return;
    // The rows of the other frames stay: made anew, each would load its image again with every frame.
    const kept = new Map([...this.strip.children].map((row) => [Number(row.firstElementChild.dataset.frame), row]));
    this.set([frame, ...this.frames], kept);
  }

  #list(kept) {
    const focused = document.activeElement?.dataset?.frame;
    const rows = this.frames.map((frame) => kept.get(frame.frame) ?? this.#button(frame));
    // An image that waits to be loaded, as outside the window, would keep its row for ever.
    for (const row of this.strip.children) if (!rows.includes(row)) row.querySelector("img").removeAttribute("src");
    this.strip.replaceChildren(...rows);
    if (focused) this.strip.querySelector(`[data-frame="${focused}"]`)?.focus();
    this.#mark();
  }

  #button(frame) {
    const value = frame.fraction === null ? frame.status : percent(frame.fraction);
    const image = element("img", { src: `api/frames/${frame.frame}/picture`, alt: "", loading: "lazy" });
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
      get(`api/frames/${frame.frame}/map`).catch(() => null),
      new Promise((done) => {
        image.onload = image.onerror = done;
        image.src = `api/frames/${frame.frame}/picture`;
      }),
    ]);
    if (this.chosen !== frame) return;
    // An image that cannot be shown is asked for again as text, which says why.
    const path = `api/frames/${frame.frame}/picture`;
    this.fault = image.naturalWidth ? "" : await get(path).then(() => "The image is not within reach.", (error) => error.message);
    if (this.chosen !== frame) return;
    this.image = image.naturalWidth ? image : null;
    this.map = map;
    this.pointed = null;
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
    if (map && this.boxes.checked) drawWindows(ctx, map, scale, frame.impurity, this.pointed);
    const value = frame.fraction === null ? frame.status : `${frame.impurity} ${percent(frame.fraction)} (${interval(frame.low, frame.high)}) of ${frame.n_judged} windows${frame.n_skipped ? `, ${frame.n_skipped} left out` : ""}`;
    this.text.textContent = `${frame.file}, ${clockWithDay(frame.frame_time)}: ${value}; ${frame.state}.${image ? "" : ` ${this.fault}`}`;
    const box = map?.windows[this.pointed ?? -1];
    if (box) this.text.textContent += ` Window at ${box.left}, ${box.top}: ${describe(box, map.classes)}.`;
    canvas.setAttribute("aria-label", this.text.textContent);
    this.#legend(map);
  }

  #point(event) {
    const { map, canvas } = this;
    if (!map) return;
    const place = canvas.getBoundingClientRect();
    const x = ((event.clientX - place.left) / place.width) * map.width_px;
    const y = ((event.clientY - place.top) / place.height) * map.height_px;
    // Of the windows that overlap there, the one whose middle is nearest.
    const far = ({ left, top, width, height }) => Math.max(Math.abs(x - left - width / 2) / width, Math.abs(y - top - height / 2) / height);
    let best = null;
    map.windows.forEach((box, number) => {
      if (far(box) <= 0.5 && (best === null || far(box) < far(map.windows[best]))) best = number;
    });
    if (best === this.pointed) return;
    this.pointed = best;
    this.draw();
  }

  #legend(map) {
    const names = map ? [...map.classes, "unknown"] : [];
    this.key.replaceChildren(
      ...names.map((name, at) => {
        const isClass = at < map.classes.length;
        const mark = element("span", { className: "mark", ariaHidden: "true", textContent: isClass ? MARKS[at % MARKS.length] : "✕" });
        mark.style.color = isClass ? COLOURS[at % COLOURS.length] : "";
        const n = map.windows.filter((box) => box.label === name).length;
        return element("li", {}, mark, `${name}: ${n} windows`);
      }),
    );
  }
}

// A mark in the middle of each window, and the whole window where it shows the impurity, is rejected, or lies
// under the pointer: windows overlap, and outlines of all would hide one another and the image.
// Each line lies on a dark and a light one, so that it is seen on any grey.
export function drawWindows(ctx, map, scale, impurity, pointed = null) {
  map.windows.forEach((box, number) => {
    const at = map.classes.indexOf(box.label);
    const isPointed = number === pointed;
    if (at < 0 && box.label !== "unknown" && !isPointed) return;
    const shape = new Path2D();
    const [x, y, width, height] = [box.left, box.top, box.width, box.height].map((each) => each * scale);
    if (isPointed || (at >= 0 && box.label === impurity)) shape.rect(x + 2, y + 2, width - 4, height - 4);
    if (!isPointed) addMark(shape, x + width / 2, y + height / 2, at);
    const colour = at < 0 ? "#8a8a8a" : COLOURS[at % COLOURS.length];
    for (const [line, thick] of [["rgba(0, 0, 0, 0.75)", 6], ["rgba(255, 255, 255, 0.9)", 4], [colour, 2]]) {
      ctx.strokeStyle = line;
      ctx.lineWidth = isPointed ? thick + 1 : thick;
      ctx.stroke(shape);
    }
  });
}

// Classes are told apart by their mark as well: square, circle, diamond, triangle; a cross is unknown.
function addMark(shape, x, y, at) {
  const r = 7;
  if (at < 0) {
    shape.moveTo(x - r, y - r);
    shape.lineTo(x + r, y + r);
    shape.moveTo(x + r, y - r);
    shape.lineTo(x - r, y + r);
  } else if (at % MARKS.length === 1) {
    shape.moveTo(x + r, y);
    shape.arc(x, y, r, 0, 2 * Math.PI);
  } else {
    const corners = { 0: [[-r, -r], [r, -r], [r, r], [-r, r]], 2: [[0, -r - 2], [r + 2, 0], [0, r + 2], [-r - 2, 0]], 3: [[0, -r], [r, r], [-r, r]] }[at % MARKS.length];
    corners.forEach(([dx, dy], number) => (number ? shape.lineTo(x + dx, y + dy) : shape.moveTo(x + dx, y + dy)));
    shape.closePath();
  }
}

function describe(box, classes) {
  if (box.label === "empty") return "empty";
  const values = classes.map((name, at) => `${name} ${percent(box.probabilities[at])}`).join(", ");
  return box.label === "unknown" ? `rejected as unknown (${values})` : values;
}
