// Puts the page together: what the service sends goes to the element that shows it.
import { change, get, keepName, lastName, setToken, takeToken, token } from "./api.js";
import { AlarmBanner } from "./alarms.js";
import { BatchTable } from "./batches.js";
import { CompareChart, FractionChart } from "./chart.js";
import { STATES, clock, element, interval, moment, percent } from "./format.js";
import { FrameView } from "./frames.js";
import { listen } from "./live.js";
import { watchDrop } from "./image.js";

const $ = (id) => document.getElementById(id);
const chart = new FractionChart($("chart"));
const frames = new FrameView({ canvas: $("frame-canvas"), text: $("frame-text"), key: $("frame-key"), strip: $("strip"), boxes: $("show-boxes") });
const batches = new BatchTable($("batches"), $("compare-text"), new CompareChart($("compare")));
const alarms = new AlarmBanner($("alarms"), $("ask"));
const view = { batch: null, points: 1000, last: null, isLoading: false, again: false };

function showState(word) {
  const [sign, kind] = STATES[word] || ["○", "plain"];
  const place = $("state");
  if (place.querySelector(".word").textContent === word) return;
  place.dataset.kind = kind;
  place.querySelector(".sign").textContent = sign;
  place.querySelector(".word").textContent = word;
  document.title = `${sign} ${word} – Georgia`;
}

function showFrame(frame) {
  view.last = frame;
  for (const place of document.querySelectorAll(".impurity")) place.textContent = frame.impurity;
  $("metric-fraction").textContent = frame.fraction === null ? frame.status : percent(frame.fraction);
  $("metric-interval").textContent = interval(frame.low, frame.high);
  $("metric-windows").textContent = frame.n_judged.toLocaleString();
  $("metric-ewma").textContent = percent(frame.chart?.ewma);
  $("metric-limit").textContent = percent(frame.chart?.ewma_limit);
  $("metric-time").textContent = clock(frame.frame_time);
}

function showStatus(status) {
  showState(status.state);
  alarms.show(status.open_alarms);
  $("fault").hidden = !status.fault;
  $("fault").textContent = status.fault;
  const { batch } = status;
  $("batch-now").textContent = batch ? `batch ${batch.name}${batch.operator ? `, ${batch.operator}` : ""}${batch.ended_at ? " (ended)" : ""}` : "no batch yet";
  $("changes").hidden = !status.is_live;
  if (status.last) showFrame(status.last);
  if (batch && batch.id !== view.batch) {
    view.batch = batch.id;
    loadBatch();
  }
}

async function loadBatch() {
  const [{ frames: found }] = await Promise.all([get(`/api/frames?batch=${view.batch}&limit=24`), loadSeries(), batches.load(), loadAuditLog()]);
  frames.set(found);
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
    const rows = await get(`/api/batches/${view.batch}/series?points=1000&after=${after}`);
    chart.show(rows, view.last?.impurity || "fraction");
    const known = rows.fraction.filter((value) => value !== null);
    const top = Math.max(...known);
    $("chart-text").textContent = known.length ? `${rows.ordinal.length.toLocaleString()} points${rows.stride > 1 ? `, each of ${rows.stride} frames` : ""}; highest ${percent(top)}. Band: 95 % confidence interval; red strip: alarm.` : "No frame was analysed yet.";
  } finally {
    view.isLoading = false;
    if (view.again) {
      view.again = false;
      loadSeries();
    }
  }
}

async function loadAuditLog() {
  const { entries } = await get("/api/trail?limit=50");
  $("audit-log").replaceChildren(
    ...entries.map((entry) => element("tr", {}, element("td", { className: "number" }, String(entry.seq)), element("td", {}, moment(entry.at)), element("td", {}, entry.who), element("td", {}, entry.action), element("td", { className: "detail" }, JSON.stringify(entry.detail)))),
  );
}

async function showModel() {
  const model = await get("/api/model");
  $("model-name").textContent = model.name;
  $("model-text").textContent = `Model ${model.name}: ${model.classes.join(", ")}; sha256 ${model.sha256.slice(0, 12)}. ${model.note}`;
  $("report-link").hidden = !model.has_report;
  $("card-link").hidden = !model.has_card;
}

function watchForm(id, path, read) {
  $(id).addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target;
    keepName(form.who.value);
    if (!token()) setToken(prompt("Token of the service (it was printed when the service started):") || "");
    try {
      await change(path, read(form));
      $("change-text").textContent = "Done; it applies from the next frame on.";
      setTimeout(() => Promise.all([loadAuditLog(), batches.load()]), 1500);
    } catch (error) {
      if (error.status === 401) setToken("");
      $("change-text").textContent = error.message;
    }
  });
}

takeToken();
for (const field of document.querySelectorAll('input[name="who"]')) field.value = lastName();
for (const button of document.querySelectorAll("[data-points]")) {
  button.addEventListener("click", () => {
    view.points = Number(button.dataset.points);
    for (const other of document.querySelectorAll("[data-points]")) other.setAttribute("aria-pressed", String(other === button));
    loadSeries();
  });
}
watchDrop($("drop"), $("try-file"), $("try-prediction"));
watchForm("limits-form", "/api/limits", (form) => ({ who: form.who.value, limit: Number(form.limit.value) / 100 }));
watchForm("batch-form", "/api/batches", (form) => ({ who: form.who.value, name: form.name.value, operator: form.operator.value }));
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
  onLine: (text, isLive) => {
    $("link").textContent = text;
    if (isLive && view.batch) loadBatch();
  },
});
