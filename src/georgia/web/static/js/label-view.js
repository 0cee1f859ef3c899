// The large crop: shown, zoomed, moved, and the frame around it with its box.
import { get, getImage } from "./api.js";
import { css, element, readablePath } from "./format.js";
import { imageUrl } from "./label-tray.js";

const STEP = 1.25;
const MOST = 12;
const FRAME_PX = 1400;

export class Stage {
  constructor(place) {
    this.place = place;
    this.entry = null;
    this.zoom = 1;
    this.x = this.y = 0;
    place.addEventListener("wheel", (event) => {
      if (event.ctrlKey) return; // the browser's own zoom
      event.preventDefault();
      this.zoomBy(event.deltaY < 0 ? STEP : 1 / STEP, event);
    }, { passive: false });
    place.addEventListener("pointerdown", (event) => this.#grab(event));
    place.addEventListener("dblclick", () => this.zoomBy(1 / this.zoom));
  }

  get isShown() {
    return this.entry?.state === "ready" && this.place.dataset.path === this.entry.item.path;
  }

  show(entry) {
    if (entry === this.entry && (this.isShown || this.shownState === entry?.state)) return;
    if (entry !== this.entry) {
      this.isAround = false;
      this.x = this.y = 0;
    }
    this.entry = entry;
    this.shownState = entry?.state;
    delete this.place.dataset.path;
    if (!entry) return this.place.replaceChildren();
    const { path, n_duplicates: n } = entry.item;
    this.place.setAttribute("aria-label", `Crop ${readablePath(path)}${n ? `, with ${n} near-duplicates` : ""}`);
    if (entry.state !== "ready") {
      const text = entry.state === "failed" ? entry.fault : "Loading …";
      this.place.setAttribute("aria-label", text);
      return this.place.replaceChildren(element("p", { className: "missing", textContent: text }));
    }
    this.#put(entry.image);
    this.place.dataset.path = path;
    this.place.dispatchEvent(new CustomEvent("shown"));
  }

  #put(shown) {
    const small = Math.max(shown.naturalWidth || 0, shown.naturalHeight || 0);
    shown.classList.toggle("small-image", Boolean(small) && 8 * small < this.place.clientHeight);
    this.content = shown;
    this.place.replaceChildren(shown);
    this.#move();
  }

  zoomBy(factor, event = null) {
    const box = this.place.getBoundingClientRect();
    const px = event ? event.clientX - box.left : box.width / 2;
    const py = event ? event.clientY - box.top : box.height / 2;
    const zoom = Math.min(MOST, Math.max(1, this.zoom * factor));
    // What lies under the pointer stays there.
    this.x = px - ((px - this.x) * zoom) / this.zoom;
    this.y = py - ((py - this.y) * zoom) / this.zoom;
    this.zoom = zoom;
    this.#move();
  }

  #move() {
    const { clientWidth: width, clientHeight: height } = this.place;
    this.x = Math.min(0, Math.max(width * (1 - this.zoom), this.x));
    this.y = Math.min(0, Math.max(height * (1 - this.zoom), this.y));
    this.place.classList.toggle("zoomed", this.zoom > 1);
    if (this.content) this.content.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.zoom})`;
  }

  #grab(event) {
    if (this.zoom === 1 || event.button !== 0) return;
    const from = { x: event.clientX - this.x, y: event.clientY - this.y };
    const move = (next) => {
      this.x = next.clientX - from.x;
      this.y = next.clientY - from.y;
      this.#move();
    };
    const end = () => {
      this.place.classList.remove("dragging");
      this.place.removeEventListener("pointermove", move);
    };
    this.place.classList.add("dragging");
    this.place.setPointerCapture(event.pointerId);
    this.place.addEventListener("pointermove", move);
    for (const kind of ["pointerup", "pointercancel"]) this.place.addEventListener(kind, end, { once: true });
  }

  // The frame with the crop's box, or the crop again.
  async toggleAround() {
    const { entry } = this;
    if (!entry || entry.state !== "ready") return;
    this.isAround = !this.isAround;
    this.zoom = 1;
    if (!this.isAround) return this.#put(entry.image);
    if (!entry.around) entry.around = await loadAround(entry.item.path);
    if (!entry.around.box) {
      this.isAround = false;
      throw new Error("the crop is a file of its own.");
    }
    if (this.isAround && this.entry === entry) this.#put(drawAround(entry.around));
  }
}

async function loadAround(path) {
  const [blob, found] = await Promise.all([getImage(imageUrl(path, FRAME_PX, true)), get(`api/label/surroundings?path=${encodeURIComponent(path)}`, 8000)]);
  return { image: await createImageBitmap(blob), ...found };
}

function drawAround({ image, box, width_px: width, height_px: height }) {
  const made = element("canvas", { width: image.width, height: image.height });
  const ctx = made.getContext("2d");
  ctx.drawImage(image, 0, 0);
  if (!box) return made;
  const [sx, sy] = [image.width / width, image.height / height];
  const [x, y, w, h] = [box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy];
  // A line on a dark and a light one is seen on any grey.
  for (const [colour, thick] of [["rgba(0, 0, 0, .75)", 8], ["#ffffff", 5], [css("--accent") || "#005f96", 2]]) {
    ctx.strokeStyle = colour;
    ctx.lineWidth = thick;
    ctx.strokeRect(x, y, w, h);
  }
  return made;
}
