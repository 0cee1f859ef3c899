// Puts the page together: what the service sends goes to the element that shows it.
import { change, get, keepName, lastName, setToken, signature, takeToken, token } from "./api.js";
import { AlarmBanner } from "./alarms.js";
import { BatchTable } from "./batches.js";
import { CommissioningView } from "./commission.js";
import { CompareBy } from "./compare.js";
import { CompareChart, FractionChart, usualStep } from "./chart.js";
import { STATES, ago, clock, clockInZone, clockWithDay, describeChecked, element, interval, moment, percent, zone } from "./format.js";
import { FrameView } from "./frames.js";
import { InputChart, showUnlike } from "./input.js";
import { LimitsView, MARKED, limitName, limitValue, nameMark } from "./limits.js";
import { listen } from "./live.js";
import { People, isLoggedOut } from "./people.js";
import { MomentsView } from "./moments.js";
import { ProcessView } from "./process.js";
import { RecordTable } from "./record.js";
import { describeBand } from "./checked-band.js";
import { Spotcheck } from "./spotcheck.js";
import { watchDrop } from "./image.js";

const $ = (id) => document.getElementById(id);
const chart = new FractionChart($("chart"), $("chart-cusum"), $("chart-reset"));
const frames = new FrameView({ canvas: $("frame-canvas"), text: $("frame-text"), key: $("frame-key"), strip: $("strip"), boxes: $("show-boxes") });
const inputs = new InputChart($("chart-input"));
const batches = new BatchTable($("batches"), $("compare-text"), new CompareBy(new CompareChart($("compare")), $("compare-by"), $("compare-text")));
const record = new RecordTable({ form: $("record-form"), body: $("record-rows"), more: $("record-more"), text: $("record-text"), files: $("record-files") });
const spotcheck = new Spotcheck($);
const processView = new ProcessView($, chart);
const momentsView = new MomentsView($, chart);
const alarms = new AlarmBanner($("alarms"), $("ask"));
const limits = new LimitsView({ text: $("limits-text"), ask: $("unconfirmed"), askText: $("unconfirmed-text"), form: $("confirm-form"), change: $("limits-form") });
const commissioning = new CommissioningView(
  { verdict: $("commissioning-verdict"), lines: $("commissioning-lines"), page: $("commissioning-page"), running: $("commissioning-running"), form: $("commissioning-form"), cancel: $("commissioning-cancel") },
  (reason) => {
    view.held = reason;
    if (view.status) showUnlike({ place: $("unlike"), text: $("unlike-text") }, view.status, reason);
  },
);
// `skew` is how far the service's clock is before this one, ms; `step` the usual time between frames, s.
const view = { batch: null, points: 1000, last: null, isLoading: false, again: false, skew: 0, step: null, state: "connecting", isLive: false, events: [], trail: null, status: null, held: "", served: null, isLate: false, isAway: false };
const NO_CONNECTION = "no connection";
const LOG_IN = "log in";
// Values older than so many usual steps are not the present ones. The shortest time is the page's own patience.
const OLD_STEPS = 3;
const OLD_S = 15;
const SERIES_MS = 1000;

function showState(word) {
  if (isLoggedOut()) word = LOG_IN;
  if (word !== NO_CONNECTION && word !== LOG_IN) view.state = word;
  const [sign, kind] = STATES[word] || ["?", "care"];
  const place = $("state");
  if (place.querySelector(".word").textContent === word) return;
  place.dataset.kind = kind;
  place.querySelector(".sign").textContent = sign;
  place.querySelector(".word").textContent = word;
  document.title = `${sign} ${word} – ${view.probe ? `${view.probe} – ` : ""}Georgia`;
}

// Where the service has several probes, the page names its own.
function showProbe(name) {
  if (!name || view.probe) return;
  view.probe = name;
  $("probe").hidden = false;
  $("probe").querySelector("strong").textContent = name;
}

function showFrame(frame) {
  view.last = frame;
  for (const place of document.querySelectorAll(".impurity")) place.textContent = frame.impurity;
  $("metric-fraction").textContent = frame.fraction === null ? frame.status : percent(frame.fraction);
  $("metric-interval").textContent = interval(frame.low, frame.high);
  $("metric-windows").textContent = `${frame.n_judged.toLocaleString()}${frame.n_skipped ? `; ${frame.n_skipped.toLocaleString()} left out` : ""}`;
  $("metric-ewma").textContent = percent(frame.chart?.ewma);
  $("metric-ewma-interval").textContent = interval(frame.chart?.ewma_low, frame.chart?.ewma_high);
  $("metric-limit-name").textContent = limitName(frame.chart);
  $("metric-limit").textContent = limitValue(frame.chart);
  $("metric-time").textContent = clockInZone(frame.frame_time);
  showAge();
}

// How old the values are: by the frame's own time, and by when it was analysed where that clock runs ahead.
function showAge() {
  const { last } = view;
  document.body.classList.toggle("stale", isLoggedOut() || !view.isLive || view.isLate || view.isAway);
  if (!last) return;
  const now = Date.now() + view.skew;
  const seconds = (now - Math.min(Date.parse(last.frame_time), Date.parse(last.judged_at || last.frame_time))) / 1000;
  const isOld = !view.isLive || view.isAway || seconds > Math.max(OLD_S, OLD_STEPS * (view.step ?? 0));
  document.querySelector(".metrics").classList.toggle("old", isOld);
  $("metric-age").textContent = isOld ? ago(seconds) : "now";
}

function showLine({ isLive, since }) {
  const wasLive = view.isLive;
  view.isLive = isLive;
  if (isLive) {
    $("link").textContent = "live";
    showState(view.state);
    if (!wasLive && view.batch) loadBatch();
    if (!wasLive) commissioning.load().catch(() => {});
  } else {
    const silent = (Date.now() - since) / 1000;
    $("link").textContent = `no word from the service since ${new Date(since).toLocaleTimeString()} (${ago(silent)}); the values are not the present ones`;
    showState(NO_CONNECTION);
  }
  showAge();
}

// What the service says of itself every two seconds.
function showBeat(beat) {
  view.skew = Date.parse(beat.at) - Date.now();
  const isLate = beat.late_s > 5;
  $("link").textContent = isLate ? `the record did not respond for ${Math.round(beat.late_s)} s` : "live";
  view.isLate = isLate;
  showAge();
}

function showStatus(status) {
  view.skew = Date.parse(status.at) - Date.now();
  showProbe(status.probe);
  showState(status.state);
  showHealth(status.health);
  $("fault").hidden = !status.fault;
  $("fault").textContent = status.fault;
  // While the store cannot be read, what was read of it before stays, greyed: an alarm, too.
  const wasAway = view.isAway;
  view.isAway = status.trail === null;
  showAge();
  if (view.isAway) return;
  showBeginning(status);
  alarms.show(status.open_alarms);
  showModels(status.model);
  view.status = status;
  showUnlike({ place: $("unlike"), text: $("unlike-text") }, status, view.held);
  const { batch } = status;
  $("batch-now").textContent = batch ? `batch ${batch.name}${batch.operator ? `, ${batch.operator}` : ""}${batch.ended_at ? " (ended)" : ""}` : "no batch yet";
  $("changes").hidden = !status.is_live || !status.may_change;
  if (status.last) showFrame(status.last);
  if (batch && batch.id !== view.batch) {
    view.batch = batch.id;
    view.trail = status.trail;
    loadBatch();
  } else if (batch && wasAway) {
    view.trail = status.trail;
    loadBatch();
  } else if (batch && status.trail !== undefined && status.trail !== view.trail) {
    view.trail = status.trail;
    commissioning.load().catch(() => {});
    processView.load().catch(() => {});
    loadAuditLog().then(loadSeries).catch(() => {}); // what does not come now comes with the next event
  }
}

// What the monitor says of itself: how much waits, what it could not read.
function showHealth(health) {
  if (!health) return;
  const counts = [
    [health.backlog, (n) => (n === 1 ? "1 frame waits" : `${n.toLocaleString()} frames wait`)],
    [health.n_unreadable, (n) => `${n.toLocaleString()} unreadable`],
    [health.n_missed, (n) => `at least ${n.toLocaleString()} written over unread`],
  ];
  $("health").textContent = counts.filter(([n]) => n > 0).map(([n, tell]) => tell(n)).join(" · ");
}

function showBeginning(status) {
  $("begin").hidden = Boolean(status.last);
  if (!status.batch) $("spotcheck-result").textContent = "No batch yet: there is nothing to check.";
  $("begin-text").textContent = status.is_live
    ? "The monitor runs and waits for the first image in its folder: PNG, JPEG, TIFF, BMP or WebP. Frames appear here as soon as they are written."
    : "No monitor writes into this record now. Start one with “georgia serve MODEL --watch FOLDER”, or “georgia monitor MODEL --watch FOLDER --db STORE” beside this service; an image can be tried below without it.";
}

async function loadBatch() {
  processView.setBatch(view.batch);
  momentsView.setBatch(view.batch);
  await loadAuditLog();
  const [{ frames: found }] = await Promise.all([get(`api/frames?batch=${view.batch}&limit=24`), loadSeries(), batches.load()]);
  frames.set(found);
  record.setBatches(batches.all);
  showChecked(batches.checked.get(view.batch));
  spotcheck.setBatches(batches.all, view.batch);
}

// Frames may come faster than the series loads: one request at a time, and one more at the end.
async function loadSeries() {
  if (!view.batch) return;
  if (view.isLoading) {
    view.again = true;
    return;
  }
  view.isLoading = true;
  try {
    const after = view.points < 1000 && view.last ? Math.max(0, view.last.ordinal - view.points) : 0;
    const rows = await get(`api/batches/${view.batch}/series?points=1000&after=${after}`);
    view.step = usualStep(rows.frame_time_s.slice(-20).map((at) => at / rows.stride));
    inputs.show(rows);
    chart.show(rows, view.last?.impurity || "fraction", view.events);
    const known = rows.fraction.filter((value) => value !== null);
    const top = Math.max(...known);
    $("chart-text").textContent = known.length ? `${rows.ordinal.length.toLocaleString()} points${rows.stride > 1 ? `, each of ${rows.stride} frames` : ""}; highest ${percent(top)}. Wide band: 95 % confidence interval of each frame; narrow band: of the smoothed fraction, for the crystals in view (in a flow so slow that the same ones stay in view, the slurry may be elsewhere); red strip: alarm. Times in ${zone()}. Drag to zoom, double-click to see all.` : "No frame was analysed yet.";
  } finally {
    // A probe may be quicker than people look; the service has other viewers, too.
    setTimeout(() => {
      view.isLoading = false;
      if (view.again) {
        view.again = false;
        loadSeries();
      }
    }, SERIES_MS);
  }
}

async function loadAuditLog() {
  const { batch } = view;
  const wanted = new URLSearchParams([["limit", 100], ["batch", batch ?? 0], ...MARKED.map((action) => ["action", action])]);
  const [{ entries }, marked] = await Promise.all([get("api/trail?limit=50"), batch ? get(`api/trail?${wanted}`) : { entries: [] }, batch ? limits.load(batch) : null]);
  const marks = marked.entries.map((entry) => ({ entry, at: Date.parse(entry.at) / 1000, text: nameMark(entry) }));
  view.events = marks;
  $("marks").replaceChildren(...marks.slice(0, 6).map(({ entry, text }) => element("li", {}, `${clockWithDay(entry.at)} ${text} (${entry.who}${entry.detail.reason ? `: ${entry.detail.reason}` : ""})`)));
  $("audit-log").replaceChildren(
    ...entries.map((entry) => element("tr", {}, element("td", { className: "number" }, String(entry.seq)), element("td", {}, moment(entry.at)), element("td", {}, entry.who), element("td", {}, entry.action), element("td", { className: "detail" }, JSON.stringify(entry.detail)))),
  );
}

// The head names the model behind the values shown; the foot the one that classifies images dropped here.
function showModels(analysing, served = view.served) {
  const named = analysing ?? served;
  if (!named) return;
  const sha = named.sha256.slice(0, 12);
  const name = named.name || `unnamed model ${sha}`;
  $("model-name").textContent = name;
  $("model-name").title = `sha256 ${sha}`;
  $("demonstration").hidden = !named.is_demonstration;
  if (!served) return;
  const other = analysing && !analysing.is_served ? ` It classifies images that are tried here; the frames shown were analysed by ${name}, sha256 ${sha}.` : "";
  $("model-text").textContent = `Model ${served.name}: ${served.classes.join(", ")}; sha256 ${served.sha256.slice(0, 12)}. ${served.note}${other}`;
}

async function showModel() {
  view.served = await get("api/model");
  showModels(view.status?.model);
  $("report-link").hidden = !view.served.has_report;
  $("card-link").hidden = !view.served.has_card;
}

function askToken() {
  if (!token()) setToken(prompt("Token of the service (it was printed when the service started):") || "");
}

// What stood on the page when somebody began to fill in a form: what others change from then on is a conflict.
function notingExpected(id, look) {
  let expected;
  $(id).addEventListener("input", () => (expected ??= look()));
  return () => {
    const found = expected ?? look();
    expected = undefined;
    return found;
  };
}
const expectedLimit = notingExpected("limits-form", () => limits.held);
const expectedBatch = notingExpected("batch-form", () => view.batch);

function watchForm(id, path, read, told = $("change-text"), done = null) {
  $(id).addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target;
    keepName(form.who.value);
    askToken();
    try {
      await change(path, { ...read(form), ...signature(form) });
      told.textContent = "Done; it applies from the next frame on.";
      done?.();
      setTimeout(() => Promise.all([loadAuditLog(), batches.load()]), 1500);
    } catch (error) {
      if (error.status === 401) setToken("");
      told.textContent = error.message;
    } finally {
      if (form.password) form.password.value = "";
    }
  });
}

// Beside the model's fraction of the batch on the page stands what people found of it.
function showChecked(found) {
  $("spotcheck-metric").hidden = !found;
  chart.showChecked(found?.curve || []);
  $("checked-text").textContent = describeBand(found?.curve || [], found?.class);
  if (found) $("spotcheck-metric").querySelector("dd").textContent = `${describeChecked(found)}${found.is_part ? ", in part" : ""}`;
}
spotcheck.onChecked = (id, found) => {
  batches.setChecked(id, found);
  if (id === view.batch) showChecked(found);
};

takeToken();
const people = new People($, () => {
  showState(isLoggedOut() ? LOG_IN : view.state);
  showAge();
});
await people.start();
setInterval(showAge, 1000);
$("record").addEventListener("toggle", () => $("record").open && record.load());
for (const field of document.querySelectorAll('input[name="who"]')) field.value ||= lastName();
for (const button of document.querySelectorAll("[data-points]")) {
  button.addEventListener("click", () => {
    view.points = Number(button.dataset.points);
    chart.showAll();
    for (const other of document.querySelectorAll("[data-points]")) other.setAttribute("aria-pressed", String(other === button));
    loadSeries();
  });
}
watchDrop($("drop"), $("try-file"), $("try-prediction"));
watchForm("limits-form", "api/limits", (form) => ({ who: form.who.value, reason: form.reason.value, limit: Number(form.limit.value) / 100, expected: expectedLimit() }));
watchForm("confirm-form", "api/limits/confirm", (form) => ({ who: form.who.value, note: form.note.value }), $("confirm-told"));
watchForm("override-form", "api/commissioning/override", (form) => ({ who: form.who.value, reason: form.reason.value }), $("override-told"));
watchForm("commissioning-form", "api/commissioning", (form) => ({ who: form.who.value, frames: Number(form.frames.value) }), $("commissioning-told"), () => commissioning.load());
$("commissioning-cancel").addEventListener("click", async () => {
  askToken();
  const told = $("commissioning-told");
  try {
    await change("api/commissioning/cancel", {});
    told.textContent = "Stopped; there is no verdict of it.";
    await commissioning.load();
  } catch (error) {
    if (error.status === 401) setToken("");
    told.textContent = error.message;
  }
});
watchForm("batch-form", "api/batches", (form) => ({ who: form.who.value, name: form.name.value, operator: form.operator.value, expected: expectedBatch() }));
showModel().catch(() => {});
batches.load().catch(() => {});
listen({
  onStatus: showStatus,
  onFrame: (frame) => {
    if (frame.batch !== view.batch) return;
    showState(frame.state);
    showFrame(frame);
    frames.add(frame);
    loadSeries();
  },
  onBeat: showBeat,
  onEnd: () => people.check(),
  onLine: showLine,
});
