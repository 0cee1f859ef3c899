// The spot check: windows of a batch, sampled with known probabilities, each named with one key; what the model says
// of them stays hidden. A name is in the record before the next window appears.
import { change, get, getImage, keepName, lastName, setToken, token } from "./api.js";
import { clockWithDay, element, interval, moment, percent } from "./format.js";
import { isTyping, readKey } from "./label-keys.js";

const AHEAD = 3; // windows whose images are loaded before they are shown
const TOO_SOON_MS = 100; // a key pressed so soon after a window appeared was meant for the one before
const REFRESH_MS = 15000;
// The result takes the service longer than a name: asked for when a person pauses, and every few seconds.
const RESULT_MS = 400;
const LONGEST_MS = 3000;
const TIMEOUT_MS = 8000;
const OTHERS = [["neither", "0", "neither"], ["unclear", "U", "unclear"]];

export class Spotcheck {
  constructor($) {
    const names = ["batch", "result", "bar", "text", "links", "plan", "tray", "image", "window-text", "keys", "count", "told", "width", "more", "curve", "metric", "who", "wide", "undo", "go", "pause"];
    for (const name of names) this[name.replace("-text", "Text")] = $(`spotcheck-${name}`);
    Object.assign(this, { id: null, check: null, found: null, images: new Map(), isOpen: false, pending: null, shownAt: 0, isWide: false, onChecked: () => {} });
    this.batch.addEventListener("change", () => {
      this.isChosen = true;
      this.follow(Number(this.batch.value));
    });
    this.plan.addEventListener("submit", (event) => this.#plan(event));
    this.tray.addEventListener("keydown", (event) => this.#press(event));
    this.tray.addEventListener("focusin", () => this.#showFocus());
    this.tray.addEventListener("focusout", () => this.#showFocus());
    this.wide.addEventListener("click", () => this.#toggleWide());
    this.undo.addEventListener("click", () => this.#withdraw());
    this.pause.addEventListener("click", () => this.#close());
    this.go.addEventListener("click", () => this.#open());
    this.who.addEventListener("change", () => keepName(this.who.value));
    this.width.addEventListener("submit", (event) => this.#count(event));
    setInterval(() => !document.hidden && !this.isOpen && this.id && this.load().catch(() => {}), REFRESH_MS);
  }

  // The batches to choose from; `current` is the one on the page.
  setBatches(batches, current) {
    const options = batches.map((batch) => element("option", { value: String(batch.id), textContent: `${batch.name}${batch.ended_at ? "" : " (running)"}` }));
    this.batch.replaceChildren(...options);
    this.batch.parentElement.hidden = options.length === 0;
    if (!this.isChosen && current && !this.isOpen) this.follow(current);
    else if (this.id) this.batch.value = String(this.id);
  }

  follow(id) {
    if (id !== this.id) {
      this.#close();
      this.#forget();
      Object.assign(this, { id, check: null, found: null });
      this.told.textContent = "";
      this.more.textContent = "";
    }
    this.batch.value = String(id);
    return this.load().catch(() => {});
  }

  async load() {
    const id = this.id;
    if (!id) return;
    let found;
    try {
      found = await get(this.#path(), TIMEOUT_MS);
    } catch (error) {
      if (id === this.id && error.status >= 400 && error.status < 500) this.#showFault(error.message);
      throw error;
    }
    if (id !== this.id) return;
    this.found = found.result;
    // While a person names, what was said last by the service of the next window counts.
    if (!this.isOpen || !this.check || found.check?.check !== this.check.check) this.#take(found.check);
    else this.check = { ...this.check, is_part: found.check.is_part };
    this.#show();
  }

  // Somebody else may have begun another check, or extended this one: what is on the screen is of the one before.
  #take(check) {
    const isOther = this.check && check?.check !== this.check.check;
    this.check = check;
    if (!isOther) return;
    this.#forget();
    this.isShown = false;
    if (!this.isOpen) return;
    if (!check) return this.#close();
    this.told.textContent = `Check ${check.check} of this batch was begun by ${check.planned_by}: its windows are shown from here on.`;
    this.#next();
  }

  #path(rest = "") {
    return `api/batches/${this.id}/spotcheck${rest}`;
  }

  #show() {
    const { check, found } = this;
    this.result.textContent = found ? describeResult(found) : check ? "No window has a name yet." : "No person has checked this batch yet: what is shown above is what the model says.";
    this.result.classList.toggle("strong", Boolean(found));
    drawBar(this.bar, found);
    this.text.textContent = describeScope(check, found);
    this.links.hidden = this.width.hidden = !found;
    showCurve(this.curve, found?.curve || []);
    for (const link of this.links.querySelectorAll("a")) link.href = this.#path(link.dataset.path);
    const left = check ? check.n_sampled - check.n_named : 0;
    this.go.hidden = this.isOpen || !left;
    this.go.textContent = check?.n_named ? `Go on naming: ${left} left` : `Name ${left} windows`;
    // Another check where there is none, or where all windows are named; where the batch has gone on, the check goes on.
    const mayPlan = !this.isOpen && (!check || !left || check.is_part);
    this.plan.hidden = !mayPlan;
    const { reason, n } = this.plan.elements;
    const goesOn = Boolean(check?.is_part);
    reason.closest("label").hidden = !check || goesOn;
    reason.required = Boolean(check) && !goesOn;
    if (goesOn !== this.goesOn) {
      this.goesOn = goesOn;
      n.required = !goesOn;
      n.placeholder = goesOn ? "as before" : "";
      n.value = goesOn ? "" : "60";
    }
    this.plan.querySelector("button").textContent = goesOn ? "Extend the check by the new frames" : check ? "Sample windows for another check" : "Sample windows";
    this.tray.hidden = !this.isOpen;
    this.onChecked(this.id, found);
  }

  // A record that was altered is no check: nothing of it is shown.
  #showFault(message) {
    this.result.textContent = message;
    this.result.classList.remove("strong");
    for (const place of [this.curve, this.bar, this.links, this.width, this.go, this.plan, this.tray]) place.hidden = true;
    this.text.textContent = "";
    this.onChecked(this.id, null);
  }

  // A plan

  async #plan(event) {
    event.preventDefault();
    const { who, n, reason } = this.plan.elements;
    keepName(who.value);
    this.who.value = who.value;
    askToken();
    this.told.textContent = "Sampling …";
    try {
      this.check = await change(this.#path(), { who: who.value, n: Number(n.value) || null, reason: reason.value, extend: Boolean(this.check?.is_part) });
      reason.value = "";
      this.told.textContent = "";
      this.#forget();
      this.#open();
    } catch (error) {
      this.#fail(error);
    }
  }

  // Naming

  #open() {
    this.isOpen = true;
    this.who.value ||= lastName();
    const names = this.check.classes.map((name, at) => [name, at < 9 ? String(at + 1) : "", name]);
    this.keys.replaceChildren(...[...names, ...OTHERS].map(([name, key, text]) => this.#button(name, key, text)));
    this.#show();
    this.tray.focus({ preventScroll: true });
    this.tray.scrollIntoView({ block: "nearest" });
    this.#showFocus();
    this.#next();
  }

  #close() {
    this.isOpen = false;
    this.tray.hidden = true;
    if (this.id && this.check) this.load().catch(() => {});
  }

  #button(name, key, text) {
    const button = element("button", { type: "button" }, ...(key ? [element("kbd", { textContent: key })] : []), ` ${text}`);
    button.dataset.name = name;
    button.addEventListener("click", () => this.#name(name));
    return button;
  }

  #showFocus() {
    const isOn = this.tray.contains(document.activeElement) && !isTyping(document.activeElement);
    this.tray.classList.toggle("on", isOn);
    this.count.textContent = this.check ? `Window ${Math.min(this.check.n_named + 1, this.check.n_sampled)} of ${this.check.n_sampled}.${isOn ? "" : " Click on it to name with keys."}` : "";
  }

  #press(event) {
    if (event.key === "Escape") return this.#close();
    if (isTyping(event.target)) return;
    const found = readKey(event, Math.min(9, this.check.classes.length));
    const act = found && { name: () => this.#name(this.check.classes[found.at]), neither: () => this.#name("neither"), unclear: () => this.#name("unclear"), undo: () => this.#withdraw(), around: () => this.#toggleWide() }[found.action];
    if (!act) return;
    event.preventDefault();
    if (!event.repeat) act();
  }

  async #name(name) {
    const { check } = this;
    if (this.pending || !check?.next) return;
    if (!this.who.value.trim()) {
      this.told.textContent = "Your name is needed first: it stands beside each name in the record.";
      return this.who.focus();
    }
    if (!this.isShown || performance.now() - this.shownAt < TOO_SOON_MS) return;
    await this.#change("/names", { check: check.check, position: check.next.position, name, who: this.who.value.trim() });
  }

  async #withdraw() {
    const { last, check } = this.check || {};
    if (this.pending || !last) return;
    const isDone = await this.#change("/withdrawals", { check, position: last.position, who: this.who.value.trim() || lastName() });
    if (isDone) this.told.textContent = `“${last.name}” of window ${last.position} was taken back; the record keeps both.`;
  }

  async #change(path, body) {
    askToken();
    this.pending = body;
    this.tray.classList.add("saving");
    try {
      const progress = await change(this.#path(path), body, { timeout: TIMEOUT_MS });
      this.pending = null;
      if (this.check?.check !== progress.check) return true; // meanwhile another check is on the screen
      this.check = { ...this.check, ...progress };
      this.told.textContent = "";
      this.#next();
      this.#measure();
      return true;
    } catch (error) {
      this.pending = null;
      this.#fail(error);
      return false;
    } finally {
      this.tray.classList.remove("saving");
    }
  }

  async #fail(error) {
    if (error.status === 401) setToken("");
    this.told.textContent = error.status === 409 ? error.message : `Not in the record: ${error.message} ${this.isOpen ? "Press the key again." : ""}`;
    if (error.status !== 409 && error.status !== 404) return;
    const found = await get(this.#path(), TIMEOUT_MS).catch(() => null);
    if (!found?.check) return;
    this.found = found.result;
    const isSame = found.check.check === this.check?.check;
    this.#take(found.check);
    if (this.isOpen && isSame) this.#next();
    this.#show();
  }

  #measure() {
    clearTimeout(this.timer);
    this.waitsSince ??= performance.now();
    const wait = Math.max(0, Math.min(RESULT_MS, this.waitsSince + LONGEST_MS - performance.now()));
    this.timer = setTimeout(async () => {
      this.waitsSince = null;
      if (this.isMeasuring) return this.#measure();
      this.isMeasuring = true;
      try {
        await this.load();
      } catch {
        // the next one brings it
      } finally {
        this.isMeasuring = false;
      }
    }, wait);
  }

  async #count(event) {
    event.preventDefault();
    const points = Number(this.width.elements.points.value);
    this.more.textContent = "Counting …";
    try {
      const { n_more_for_width: n } = await get(this.#path(`?width=${points / 100}`), 60000);
      this.more.textContent = n === 0 ? "It is that narrow already." : n === null ? "More than 2,000 names in all." : `About ${n.toLocaleString()} more names.`;
    } catch (error) {
      this.more.textContent = error.message;
    }
  }

  // Images

  #forget() {
    for (const entry of this.images.values()) entry.then(({ url }) => url && URL.revokeObjectURL(url));
    this.images.clear();
  }

  #fetch(position, isWide = false) {
    const key = `${position}${isWide ? "w" : ""}`;
    if (!this.images.has(key)) {
      const path = this.#path(`/windows/${position}?check=${this.check.check}&wide=${isWide}`);
      const load = getImage(path).then((blob) => ({ url: URL.createObjectURL(blob) }), (error) => ({ fault: error.message }));
      this.images.set(key, load);
    }
    return this.images.get(key);
  }

  async #next() {
    const { check } = this;
    this.isWide = false;
    this.isShown = false;
    this.#showFocus();
    this.undo.disabled = !check.last;
    if (!check.next) return this.#finish();
    const { position } = check.next;
    for (let at = position + 1; at <= Math.min(check.n_sampled, position + AHEAD); at += 1) this.#fetch(at);
    for (const [key, entry] of this.images) {
      if (parseInt(key, 10) >= position - 1) continue;
      entry.then(({ url }) => url && URL.revokeObjectURL(url));
      this.images.delete(key);
    }
    await this.#put(position, false);
  }

  async #put(position, isWide) {
    const number = this.check.check;
    const isOld = () => this.check?.check !== number || this.check.next?.position !== position || this.isWide !== isWide;
    const entry = await this.#fetch(position, isWide);
    if (isOld()) return;
    const { next } = this.check;
    const place = this.image;
    place.replaceChildren();
    if (entry.fault) {
      place.append(element("p", { className: "missing", textContent: `${entry.fault} Press U: it counts as unclear, which makes the interval wider and keeps it valid.` }));
      this.images.delete(`${position}${isWide ? "w" : ""}`); // the frame may come back
    } else {
      const image = element("img", { src: entry.url, alt: `Window ${position}`, draggable: false });
      await image.decode().catch(() => {});
      if (isOld()) return;
      place.append(image);
      if (isWide) place.append(outline(next));
      const [, , width, height] = isWide ? next.around : next.box;
      place.style.setProperty("--ratio", String(width / height));
    }
    this.windowText.textContent = `${next.file}, ${clockWithDay(next.frame_time)}, at ${next.box[0]}, ${next.box[1]}.`;
    this.wide.setAttribute("aria-pressed", String(isWide));
    place.dataset.position = String(position);
    this.isShown = true;
    this.shownAt = performance.now();
  }

  async #toggleWide() {
    if (!this.check?.next) return;
    this.isWide = !this.isWide;
    await this.#put(this.check.next.position, this.isWide);
  }

  #finish() {
    this.image.replaceChildren(element("p", { className: "missing", textContent: "All windows of this check are named. Thank you." }));
    delete this.image.dataset.position;
    this.windowText.textContent = "";
    this.count.textContent = `${this.check.n_sampled} of ${this.check.n_sampled}.`;
  }
}

// Where the window lies in its surroundings.
function outline({ box, around }) {
  const mark = element("span", { className: "outline" });
  Object.assign(mark.style, {
    left: `${(100 * (box[0] - around[0])) / around[2]}%`,
    top: `${(100 * (box[1] - around[1])) / around[3]}%`,
    width: `${(100 * box[2]) / around[2]}%`,
    height: `${(100 * box[3]) / around[3]}%`,
  });
  return mark;
}

function askToken() {
  if (!token()) setToken(prompt("Token of the service (it was printed when the service started):") || "");
}

function describeResult(found) {
  const level = +(100 * found.confidence).toFixed(1);
  return `${found.class} ${percent(found.fraction)}, ${level} % interval ${interval(found.low, found.high)}, from ${found.n} name${found.n === 1 ? "" : "s"}${found.n_unclear ? `, ${found.n_unclear} of them unclear` : ""}.`;
}

function describeScope(check, found) {
  const parts = [];
  if (found) {
    parts.push(`The model alone: ${percent(found.raw_fraction)} of the windows that it gave a class${found.error === null ? "" : `; its label is not the person's on ${percent(found.error)} (${interval(found.error_low, found.error_high)}) of them`}.`);
    const isLow = found.fraction <= found.low && found.low > 0;
    const isHigh = found.fraction >= found.high && found.high < 1;
    if (found.low < found.high && (isLow || isHigh)) parts.push(`The fraction lies on its ${isHigh ? "upper" : "lower"} limit: the last names point ${isHigh ? "higher" : "lower"}, those before rule that out. The interval holds; a few more names settle it.`);
    if (found.n_more) parts.push(`About ${found.n_more.toLocaleString()} more names would halve the interval.`);
  }
  const of = found && check && found.check !== check.check ? found : check;
  if (!check) {
    parts.push("Windows are sampled at random with known probabilities, and you name each with one key. The interval then holds for this batch however wrong the model is.");
    return parts.join(" ");
  }
  if (of !== check) parts.push(`That is of check ${found.check}; check ${check.check}${check.extends.length ? ", which goes on with it," : ""} counts from its first name on.`);
  const frames = of.n_frames.toLocaleString();
  parts.push(of.is_part ? `The batch has gone on: this is of its first ${of.through_ordinal.toLocaleString()} frames, until ${clockWithDay(of.through_time)}, and of none after.` : `It is of ${frames} frames: all of the batch${of.n_frames_without ? " that still have windows" : ""}.`);
  if (of.n_skipped) parts.push(`${of.n_skipped.toLocaleString()} windows were left out by the monitor and are not in it.`);
  if (of.n_frames_without) parts.push(`${of.n_frames_without.toLocaleString()} frames had no windows any more and are not in it.`);
  if (check.is_part && check.n_named < check.n_sampled) parts.push("When it is extended, the windows that have no name yet stay without one.");
  parts.push(`Planned by ${check.planned_by}, ${moment(check.planned_at)}, seed ${check.seed}${check.n_checks > 1 ? `; ${check.n_checks} checks of this batch are in the record` : ""}.`);
  return parts.join(" ");
}

// The fraction in parts of the batch's time, with intervals that hold all at once.
function showCurve(place, curve) {
  place.hidden = curve.length < 2;
  const rows = curve.map((span) => {
    const [from, to] = [span.from_s, span.to_s].map((at) => clockWithDay(new Date(1000 * at).toISOString()));
    const cells = [from, to, percent(span.fraction), interval(span.low, span.high), percent(span.raw_fraction), `${span.n} of ${span.n_windows.toLocaleString()}`];
    return element("tr", {}, ...cells.map((cell, at) => element("td", { className: at > 1 ? "number" : "" }, cell)));
  });
  place.querySelector("tbody").replaceChildren(...rows);
}

// The interval on a line from 0 to 100 %, or to what makes it visible, with the model's own fraction.
function drawBar(place, found) {
  place.hidden = !found;
  if (!found) return;
  const top = Math.min(1, Math.max(0.1, 1.25 * Math.max(found.high, found.raw_fraction ?? 0)));
  const [span, at, model] = place.children;
  Object.assign(span.style, { left: `${(100 * found.low) / top}%`, width: `${Math.max(0.5, (100 * (found.high - found.low)) / top)}%` });
  at.style.left = `${(100 * found.fraction) / top}%`;
  model.hidden = found.raw_fraction === null;
  model.style.left = `${(100 * (found.raw_fraction ?? 0)) / top}%`;
  place.dataset.top = percent(top, 0);
  place.setAttribute("aria-label", `0 to ${percent(top, 0)}: interval ${interval(found.low, found.high)}, fraction ${percent(found.fraction)}, the model alone ${percent(found.raw_fraction)}`);
}
