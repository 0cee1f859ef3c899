// Frames and process data that are not of one time: said in words, since a chart over the frames' time is then empty.
import { clockWithDay } from "./format.js";

// Process data that go on after the newest frame, or end before it, are said where it is more than so many of
// their usual steps, of the frames' time, and of seconds.
const STEPS = 10;
const PART = 0.1;
const LEAST_S = 120;

const at = (seconds) => clockWithDay(new Date(1000 * seconds).toISOString());
const span = ([first, last]) => `from ${at(first)} to ${at(last)}`;
const isWithin = (time, [first, last]) => time >= first && time <= last;
const WRONG_CLOCK = "or a clock or a time zone is wrong";

function describeCause(values, frames) {
  if (values[0] > frames[1]) return `Frames of that time are not analysed yet, ${WRONG_CLOCK}.`;
  if (values[1] < frames[0]) return `Process data of that time are not read yet, ${WRONG_CLOCK}.`;
  return "";
}

// What is said of values that belong to no batch, none of them of this one's time.
export function describeElsewhere(values, frames) {
  if (!frames) return `Process data reach ${span(values)}; this batch has no frames yet.`;
  const causes = [describeCause(values, frames)].filter(Boolean);
  return [`No process data of this batch's time: they reach ${span(values)}; the frames ${span(frames)}.`, ...causes].join(" ");
}

// What is said of lines over the time that is shown, "" where nothing is to be said.
export function describeApart(series, frames, shown) {
  if (!frames || !shown || shown.some((each) => each === null || each === undefined)) return "";
  const said = [];
  for (const { name, time_s: times, value, step_s: step } of series) {
    const known = times.filter((_, place) => value[place] !== null);
    if (!known.length) {
      said.push(`${name}: no good value in this batch.`);
      continue;
    }
    const values = [known[0], known.at(-1)];
    const lag = values[1] - frames[1];
    const isFar = Math.abs(lag) > Math.max(STEPS * (step ?? 0), PART * (frames[1] - frames[0]), LEAST_S);
    if (!known.some((time) => isWithin(time, frames)) && (values[0] > frames[1] || values[1] < frames[0])) {
      said.push(`${name} is empty here: process data reach ${span(values)}; the frames ${span(frames)}. ${describeCause(values, frames)}`);
    } else if (!known.some((time) => isWithin(time, shown))) {
      said.push(`${name} has no value in the time that is shown; process data reach ${span(values)}.`);
    } else if (isFar) {
      said.push(lag > 0 ? `${name} goes on to ${at(values[1])}; the frames, and so the charts, to ${at(frames[1])}.` : `${name} ends at ${at(values[1])}; the frames reach to ${at(frames[1])}.`);
    }
  }
  return said.join(" ");
}
