// How numbers, times and states read.

export const percent = (value, digits = 1) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`);
export const interval = (low, high) => (low === null || low === undefined ? "–" : `${(100 * low).toFixed(1)}–${(100 * high).toFixed(1)} %`);

export function moment(text) {
  return text ? new Date(text).toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" }) : "–";
}
export const clock = (text) => (text ? new Date(text).toLocaleTimeString() : "–");

// A sign, a kind of colour and the word itself: no state is shown by colour alone.
export const STATES = {
  "in control": ["●", "calm"],
  "warming up": ["◌", "plain"],
  warning: ["▲", "care"],
  alarm: ["■", "bad"],
  "no crystals": ["○", "plain"],
  "no frames": ["✕", "care"],
  "unknown material": ["?", "care"],
  "camera blind": ["✕", "care"],
  "not running": ["–", "plain"],
};

// Source: Okabe and Ito 2008, "Color universal design". Dashes tell lines apart as well.
export const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"];
export const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 5]];

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
