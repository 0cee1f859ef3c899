// The overview of several probes: a tile each, asked for every two seconds.
import { get, takeToken } from "./api.js";
import { startPeople } from "./probes-people.js";
import { STATES, ago, element, interval, percent } from "./format.js";

const EVERY_MS = 2000;
const SILENT_S = 5; // what is older is not of now; the pages of the probes have the same patience
const OLD_S = 15;
const NO_CONNECTION = "no connection";
const places = new Map();
// `skew` is how far the service's clock is before this one, ms.
const view = { heardAt: Date.now(), probes: [], skew: 0, isLive: false };

// The worst that is known of any probe, for the head and for the title of the tab.
const RANK = { bad: 3, care: 2, plain: 1, calm: 0 };
const OWN = { starting: ["◌", "plain"], "log in": ["○", "plain"] };
const lookOf = (state) => OWN[state] || STATES[state] || ["?", "care"];

const isSilent = (probe) => probe.read_s === null || probe.read_s + (Date.now() - view.heardAt) / 1000 > SILENT_S;
const isRaised = (probe) => probe.alarm === true;

function makeTile(probe) {
  const tile = element("a", { className: "card tile", href: probe.path });
  const parts = {
    name: element("h2", { textContent: probe.name }),
    state: element("p", { className: "state" }),
    value: element("p", { className: "value" }),
    range: element("p", { className: "range" }),
    alarm: element("p", { className: "alarmed" }),
    when: element("p", { className: "when small" }),
    rest: element("p", { className: "muted small" }),
    why: element("p", { className: "why small" }),
  };
  tile.append(...Object.values(parts));
  return { tile, parts };
}

function ageOf(probe) {
  if (!probe.last_frame) return null;
  return Math.max(0, (Date.now() + view.skew - Date.parse(probe.last_frame)) / 1000);
}

function showTile(probe) {
  const { tile, parts } = places.get(probe.name);
  const silent = isSilent(probe);
  const [sign, kind] = lookOf(probe.state);
  tile.dataset.kind = kind;
  tile.classList.toggle("raised", isRaised(probe));
  parts.state.dataset.kind = kind;
  parts.state.textContent = `${sign} ${probe.state}`;
  const age = ageOf(probe);
  const isOld = silent || !probe.is_live || !view.isLive || age === null || age > OLD_S;
  tile.classList.toggle("old", isOld);
  parts.value.textContent = probe.fraction === null ? probe.status || "–" : percent(probe.fraction);
  parts.range.textContent = probe.fraction === null ? "" : `${probe.impurity}, 95\u00a0% confidence interval ${interval(probe.low, probe.high).replaceAll(" ", "\u00a0")}`;
  parts.range.hidden = probe.fraction === null;
  const told = isOld ? " (not of now)" : "";
  parts.alarm.textContent = isRaised(probe) ? `■ alarm${told}` : probe.n_alarms ? `${probe.n_alarms} not acknowledged${told}` : "";
  parts.alarm.hidden = !parts.alarm.textContent;
  // Of a record that was never read, or that one may not read, nothing is known.
  const isKnown = probe.read_s !== null && probe.state !== "log in";
  parts.when.textContent = age === null ? "no frame yet" : `last frame ${ago(age)}`;
  parts.when.hidden = !isKnown;
  const waits = probe.backlog === 1 ? "1 frame waits" : `${probe.backlog.toLocaleString()} frames wait`;
  parts.rest.textContent = [!isKnown ? "" : probe.batch ? `batch ${probe.batch}` : "no batch yet", probe.backlog ? waits : ""].filter(Boolean).join(" · ");
  const mute = silent && probe.read_s !== null && view.isLive ? `its record did not respond for ${Math.round(probe.read_s)} s` : "";
  parts.why.textContent = [probe.fault || probe.reason, mute].filter(Boolean).join(" · ");
  parts.why.hidden = !parts.why.textContent;
}

function showAll() {
  const place = document.getElementById("tiles");
  for (const probe of view.probes) {
    if (!places.has(probe.name)) places.set(probe.name, makeTile(probe));
  }
  const tiles = view.probes.map((probe) => places.get(probe.name).tile);
  if (tiles.some((tile, at) => place.children[at] !== tile) || tiles.length !== place.children.length) place.replaceChildren(...tiles);
  view.probes.forEach(showTile);
  showHead();
}

function showHead() {
  const raised = view.probes.filter(isRaised);
  const worst = view.probes.reduce((found, probe) => (found === null || RANK[lookOf(probe.state)[1]] > RANK[lookOf(found.state)[1]] ? probe : found), null);
  let word = "connecting";
  if (!view.isLive) word = NO_CONNECTION;
  else if (raised.length) word = `alarm: ${raised.map((probe) => probe.name).join(", ")}`;
  else if (worst) word = RANK[lookOf(worst.state)[1]] > 1 ? `${worst.state}: ${worst.name}` : `${view.probes.length} probes`;
  const [sign, kind] = !view.isLive ? STATES[NO_CONNECTION] : raised.length ? STATES.alarm : worst ? lookOf(worst.state) : STATES.connecting;
  const head = document.getElementById("state");
  head.dataset.kind = kind;
  if (head.querySelector(".word").textContent !== word) {
    head.querySelector(".sign").textContent = sign;
    head.querySelector(".word").textContent = word;
  }
  document.title = `${sign} ${word} – Georgia`;
  const text = raised.map((probe) => probe.name).join(", ");
  const banner = document.getElementById("alarms");
  if (banner.dataset.shown !== text) {
    banner.dataset.shown = text;
    banner.replaceChildren(...raised.map((probe) => element("a", { className: "alarm", href: probe.path }, element("strong", {}, "■ Alarm"), ` ${probe.name}`)));
  }
}

function showLine() {
  const silent = (Date.now() - view.heardAt) / 1000;
  if (silent > SILENT_S) view.isLive = false;
  document.body.classList.toggle("stale", !view.isLive);
  document.getElementById("link").textContent = view.isLive ? "live" : `no word from the service since ${new Date(view.heardAt).toLocaleTimeString()} (${ago(silent)}); the values are not the present ones`;
  showAll();
}

async function ask() {
  try {
    const { probes, at } = await get("api/probes", SILENT_S * 1000);
    Object.assign(view, { probes, heardAt: Date.now(), skew: Date.parse(at) - Date.now(), isLive: true });
  } catch {
    // The line says for how long nothing was heard.
  }
  showLine();
  setTimeout(ask, EVERY_MS);
}

takeToken();
startPeople();
setInterval(showLine, 1000);
ask();
