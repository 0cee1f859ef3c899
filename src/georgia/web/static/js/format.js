// How numbers, times and states read.

export const percent = (value, digits = 1) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`);
export const interval = (low, high) => (low === null || low === undefined ? "–" : `${(100 * low).toFixed(1)}–${(100 * high).toFixed(1)} %`);

export const describeChecked = (found) => `${percent(found.fraction)} (${interval(found.low, found.high)})`;

// Dates as the browser's language writes them, the month in letters, so that no reader takes it for the day.
const DAY = { year: "numeric", month: "short", day: "2-digit" };
const TIME = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
export function moment(text) {
  return text ? new Date(text).toLocaleString(undefined, { ...DAY, ...TIME, timeZoneName: "short" }) : "–";
}
export const clock = (text) => (text ? new Date(text).toLocaleTimeString(undefined, TIME) : "–");
export const clockWithDay = (text) => (isToday(text) ? clock(text) : moment(text));
const isToday = (text) => Boolean(text) && new Date(text).toDateString() === new Date().toDateString();

// With the zone, which a moment of another day names already.
export const clockInZone = (text) => (isToday(text) ? `${clock(text)} ${zone()}` : moment(text));

export function zone() {
  const part = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" }).formatToParts(new Date()).find((each) => each.type === "timeZoneName");
  return part ? part.value : "local time";
}

// How long ago something was, as people say it.
export function ago(seconds) {
  const steps = [[86400, "d"], [3600, "h"], [60, "min"]];
  const [length, unit] = steps.find(([size]) => seconds >= 1.5 * size) || [1, "s"];
  return `${Math.max(0, Math.round(seconds / length))} ${unit} ago`;
}

// A sign, a kind of colour and the word itself: no state is shown by colour alone.
export const STATES = {
  "in control": ["●", "calm"],
  "log in": ["○", "care"],
  "warming up": ["◌", "plain"],
  "limits unconfirmed": ["?", "care"],
  warning: ["▲", "care"],
  alarm: ["■", "bad"],
  "no crystals": ["○", "plain"],
  "unlike training": ["?", "bad"],
  "input drift": ["▲", "care"],
  "no frames": ["✕", "care"],
  "unknown material": ["?", "care"],
  "camera blind": ["✕", "care"],
  "frozen camera": ["✕", "care"],
  "unreadable frames": ["✕", "care"],
  "folder away": ["✕", "care"],
  "store away": ["✕", "care"],
  clear: ["○", "plain"],
  dark: ["✕", "care"],
  fouled: ["✕", "care"],
  "not running": ["✕", "care"],
  "no connection": ["✕", "bad"],
  connecting: ["○", "plain"],
};

// Source: Okabe and Ito 2008, "Color universal design". Dashes tell lines apart as well.
// In the dark its blue is too faint: a lighter one, and its yellow, which is too faint on white, for the sky blue.
const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
export const COLOURS = isDark ? ["#3d9bdc", "#e69f00", "#009e73", "#cc79a7", "#f0e442"] : ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"];
export const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 5]];

// A window of a frame reads as its frame and place: "f.png#xywh=10,20,64,64" is "f.png at 10, 20".
export const readablePath = (path) => path.replace(/#xywh=(\d+),(\d+),\d+,\d+$/, " at $1, $2");

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
