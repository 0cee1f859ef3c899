// The crops that wait in this page, in order, with their images loaded ahead.
import { change, getImage } from "./api.js";

const WANTED = 14;
const REFILL_BELOW = 9;
const PRELOADED = 10;
// A browser opens six connections to one address; the rest stay free for names.
const AT_ONCE = 3;
const CROP_PX = 640;

export const imageUrl = (path, size = CROP_PX, around = false) => `api/label/image?path=${encodeURIComponent(path)}&size=${size}${around ? "&around=true" : ""}`;

class Entry {
  constructor(item) {
    this.item = item;
    this.image = null; // an <img> that is decoded
    this.fault = "";
    this.state = "waiting"; // loading, ready, failed
  }

  async load() {
    this.state = "loading";
    try {
      this.url = URL.createObjectURL(await getImage(imageUrl(this.item.path)));
      const image = new Image();
      image.alt = "";
      image.draggable = false;
      image.src = this.url;
      await image.decode();
      this.image = image;
      this.state = "ready";
    } catch (error) {
      this.fault = error.message;
      this.isGone = error.status === 0;
      this.state = "failed";
    }
  }

  free() {
    if (this.url) URL.revokeObjectURL(this.url);
  }
}

export class Tray {
  constructor(tab, onChange) {
    Object.assign(this, { tab, onChange });
    this.queue = [];
    this.passed = [];
    this.out = new Set(); // named or passed over here: an older response may still hold them
    this.progress = null;
    this.isHinting = false; // what the model says leads a person: only when asked for
  }

  get current() {
    return this.queue[0] || null;
  }

  // Ask for more where few are left, or in any case: after another start of the program, say.
  async refill(isForced = false) {
    if (this.isAsking || (!isForced && this.queue.length >= REFILL_BELOW)) return;
    this.isAsking = true;
    try {
      const { items, progress } = await change("api/label/tray", { tab: this.tab, n: WANTED, is_hinting: this.isHinting }, { timeout: 8000 });
      const known = new Map(this.queue.map((entry) => [entry.item.path, entry]));
      for (const item of items) {
        if (known.has(item.path)) known.get(item.path).item = item;
        else if (!this.out.has(item.path)) this.queue.push(new Entry(item));
      }
      this.progress = progress;
      this.wasEmpty = items.length === 0;
    } finally {
      this.isAsking = false;
    }
    this.#load();
    this.onChange();
  }

  // Take the first one away; the next one is first then.
  take(path) {
    this.out.add(path);
    const at = this.queue.findIndex(({ item }) => item.path === path);
    return at < 0 ? null : this.queue.splice(at, 1)[0];
  }

  pass(path) {
    const entry = this.take(path);
    if (entry) this.passed.push(entry);
    if (this.passed.length > 30) this.passed.shift().free();
    this.#load();
  }

  putFirst(item) {
    this.take(item.path)?.free();
    this.out.delete(item.path);
    this.queue.unshift(new Entry(item));
    this.#load();
  }

  // Bring the last one that was passed over back.
  recall() {
    const entry = this.passed.pop();
    if (!entry) return false;
    this.out.delete(entry.item.path);
    if (!this.queue.includes(entry)) this.queue.unshift(entry);
    return true;
  }

  // Passed over ones come back when the others are named.
  forgetPassed() {
    for (const entry of this.passed) this.out.delete(entry.item.path);
    this.passed = [];
  }

  loadAgain() {
    for (const entry of this.queue) if (entry.state === "failed" && entry.isGone) entry.state = "waiting";
    this.#load();
  }

  #load() {
    const ahead = this.queue.slice(0, PRELOADED);
    const loading = this.queue.filter(({ state }) => state === "loading").length;
    for (const entry of ahead.filter(({ state }) => state === "waiting").slice(0, Math.max(0, AT_ONCE - loading))) {
      entry.load().then(() => {
        this.#load();
        this.onChange();
      });
    }
  }
}
