// The labelling page: one crop, one key, on disk, the next crop. A key counts only for a crop that is shown.
import { change, get, keepName, lastName, session, setToken, takeToken, token } from "./api.js";
import { element, readablePath } from "./format.js";
import { isTyping, readKey } from "./label-keys.js";
import { History, NEITHER, UNCLEAR, nameButton, showProgress } from "./label-side.js";
import { People } from "./people.js";
import { TrainPanel } from "./label-train.js";
import { Tray } from "./label-tray.js";
import { Stage } from "./label-view.js";

const $ = (id) => document.getElementById(id);
const TIMEOUT_MS = 8000;
const POLL_MS = 1000;
// While nothing is trained, only every third time.
const CALM = 3;
const RETRY_MS = 1000;
const LIST_MS = 250;
// Statuses after which the same request is sent again: no connection, too many requests, not now.
const GONE = [0, 429, 502, 503];
// A key that comes sooner after a crop appeared is no response to what is seen.
// Source: simple visual reactions take 150 ms or more; Luce 1986, "Response Times".
const TOO_SOON_MS = 100;

const WHO = "georgia-label-who";
// No tab takes over the number of another, as a duplicated one would with sessionStorage.
const tab = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
const view = { mode: "connecting", state: null, who: "", pending: null };
const tray = new Tray(tab, () => show());
const stage = new Stage($("stage"));
const history = new History(
  { list: $("history"), dialog: $("ask-name"), image: $("ask-name-image"), text: $("ask-name-text"), choices: $("ask-name-choices"), fault: $("ask-name-error") },
  { onDone: (progress, text) => { setProgress(progress); tell(text); $("conflict").hidden = true; } },
);

const training = new TrainPanel($, { who: () => view.who, onToken: () => lock(), onLookAgain: (label) => history.ask(label) });

// A sign, a kind of colour and words: no mode is shown by colour alone.
const MODES = {
  connecting: ["○", "plain", "connecting"],
  ready: ["●", "calm", "ready"],
  saving: ["●", "calm", "ready"],
  offline: ["✕", "bad", "no connection"],
  locked: ["✕", "bad", "wrong token"],
  replaced: ["✕", "bad", "other source"],
};

function setMode(mode) {
  view.mode = mode;
  const [sign, kind, word] = MODES[mode];
  document.body.dataset.mode = mode;
  document.body.classList.toggle("offline", !["ready", "saving"].includes(mode));
  document.body.classList.toggle("saving", mode === "saving");
  const place = $("state");
  if (place.querySelector(".word").textContent !== word) {
    place.dataset.kind = kind;
    place.querySelector(".sign").textContent = sign;
    place.querySelector(".word").textContent = word;
    document.title = `${kind === "bad" ? `${sign} ${word} – ` : ""}Georgia – label`;
  }
  if (["ready", "saving"].includes(mode)) tellFault(view.state?.fault ? `The names are kept in the journal, but the table cannot be written: ${view.state.fault}` : "");
  enable();
}

const tell = (text) => ($("told").textContent = text);
function tellFault(text) {
  $("fault").hidden = !text;
  if ($("fault").textContent !== text) $("fault").textContent = text;
}

function enable() {
  const isUp = ["ready", "saving"].includes(view.mode);
  const hasCrop = Boolean(tray.current);
  const isSeen = hasCrop && tray.current.state === "ready";
  for (const button of $("names").querySelectorAll("button")) button.disabled = !isUp || !isSeen;
  for (const button of $("others").querySelectorAll("button")) button.disabled = !isUp || (button.dataset.action === "pass" && !hasCrop);
  for (const id of ["zoom-in", "zoom-out", "around"]) $(id).disabled = !isSeen;
  $("suggest").disabled = !hasCrop;
}

// What is shown

function show() {
  const entry = tray.current;
  stage.show(entry);
  $("crop-title").textContent = entry ? readablePath(entry.item.path) : "";
  $("crop-title").title = entry ? entry.item.path : "";
  $("around").setAttribute("aria-pressed", String(Boolean(stage.isAround)));
  showText(entry);
  showNext();
  showNothing();
  enable();
}

function showText(entry) {
  const parts = [];
  if (entry?.item.n_duplicates) parts.push(`${entry.item.n_duplicates} near-duplicates take the same name.`);
  if (entry?.item.name) parts.push(`Its name was ${entry.item.name}.`);
  if (entry && tray.isHinting) {
    const { suggestion, reason } = entry.item;
    parts.push(suggestion ? `The model says ${suggestion.label}, ${suggestion.probability > 0.99 ? "over 99" : (100 * suggestion.probability).toFixed(0)} %.` : "No model says anything of it.", `Why this crop: ${reason}.`);
  }
  $("crop-text").textContent = parts.join(" ");
}

function showNext() {
  const known = new Map([...$("next").children].map((item) => [item.dataset.path, item]));
  const wanted = tray.queue.slice(1, 9);
  $("next").replaceChildren(
    ...wanted.map((entry) => {
      const path = entry.item.path;
      const item = known.get(path) || element("li", {}, element("canvas", { width: 112, height: 112 }));
      item.dataset.path = path;
      item.title = path;
      item.setAttribute("aria-label", readablePath(path));
      if (entry.state === "ready" && !item.dataset.rendered) {
        item.dataset.rendered = "yes";
        const canvas = item.firstChild;
        const { naturalWidth: w, naturalHeight: h } = entry.image;
        const scale = 112 / Math.max(w, h, 1);
        canvas.getContext("2d").drawImage(entry.image, (112 - w * scale) / 2, (112 - h * scale) / 2, w * scale, h * scale);
      }
      return item;
    }),
  );
}

function setProgress(progress) {
  tray.progress = progress;
  showProgress({ text: $("progress-text"), body: $("counts").tBodies[0], wanted: $("wanted") }, view.state.classes, progress);
  const done = progress.n_labelled + progress.n_neither + progress.n_unclear;
  $("done").textContent = `${done.toLocaleString()} of ${progress.n_items.toLocaleString()}`;
}

// No crop is left, or there never was one: what to do next.
function showNothing() {
  const isEmpty = !tray.current && tray.wasEmpty && view.state && ["ready", "saving"].includes(view.mode);
  $("nothing").hidden = !isEmpty;
  $("work").hidden = Boolean(isEmpty);
  if (!isEmpty) return;
  const { source, out, n_empty: nEmpty, n_failures: nFailures } = view.state;
  const { n_items: n, n_left: left, n_unclear: unclear } = tray.progress;
  let title, text, steps;
  if (!n) {
    title = "No crop to name";
    text = `${source} holds no crop${nEmpty ? `; ${nEmpty.toLocaleString()} empty windows were set aside` : ""}${nFailures ? `; ${nFailures.toLocaleString()} files cannot be read` : ""}.`;
    steps = ["Put images there, or name another folder: frames as they come from the probe, or crops of crystals.", ["Then start again: ", `georgia label SOURCE --out ${out}`]];
  } else if (left) {
    title = "No crop for this page";
    text = `${left.toLocaleString()} are still to be named, and none can be shown here. Other pages hold them until they are closed, or for ten minutes; or their images cannot be read.`;
    steps = ["Go on in the other page, or close it: this page looks for crops by itself."];
  } else {
    title = "All crops are named";
    text = `${n.toLocaleString()} crops have a name${unclear ? `, ${unclear.toLocaleString()} of them unclear` : ""}.`;
    steps = [["Train a model: ", `georgia label ${source} --out ${out} --train runs/labelled`], ["Look for wrong labels: ", `georgia audit ${out}`], "Put more frames there and start again: what has a name keeps it."];
  }
  $("nothing-title").textContent = title;
  $("nothing-text").textContent = text;
  const key = title + text;
  if ($("nothing").dataset.key === key) return;
  $("nothing").dataset.key = key;
  $("nothing-steps").replaceChildren(...steps.map((step) => (Array.isArray(step) ? element("li", {}, step[0], element("code", {}, step[1])) : element("li", {}, step))));
}

// What is done

// Send what a key asks for; it counts when the response says that it is on disk.
async function send(pending) {
  view.pending = pending;
  setMode("saving");
  try {
    const found = await change(pending.route, pending.body, { timeout: TIMEOUT_MS });
    view.pending = null;
    setMode("ready");
    pending.done(found);
    setProgress(found.progress);
  } catch (error) {
    await fail(error, pending);
  }
}

async function fail(error, pending) {
  if (GONE.includes(error.status)) return goOffline();
  if (error.status === 401) return lock();
  view.pending = null;
  setMode("ready");
  if (error.status === 409) {
    tellConflict(error.message, pending.body?.path);
    pending.conflict();
  } else {
    tellFault(`Not kept: ${error.message}`);
  }
  show();
}

// Nothing is overwritten: whoever means it changes the name that is there, having read whose it is.
async function tellConflict(message, path) {
  $("conflict-text").textContent = message;
  $("conflict").hidden = false;
  $("conflict-change").hidden = true;
  if (!path) return;
  const { labels } = await get(`api/label/history?n=1&path=${encodeURIComponent(path)}`, TIMEOUT_MS).catch(() => ({ labels: [] }));
  $("conflict-change").hidden = labels.length === 0;
  $("conflict-change").onclick = () => history.ask(labels[0]);
}

function giveName(name) {
  const entry = tray.current;
  if (view.mode !== "ready" || !entry || !stage.isShown) return;
  if ($("stage").getAttribute("aria-busy") === "true") return tell("That key came before the crop could be seen; it was left out.");
  const { path, n_duplicates: n } = entry.item;
  const next = () => {
    tray.take(path)?.free();
    show();
    refill();
  };
  send({
    route: "api/label/name",
    body: { path, name, who: view.who, tab },
    what: `${name} for ${readablePath(path)}`,
    done: () => {
      tell(`${name}: ${readablePath(path)}${n ? ` and ${n} like it` : ""}.`);
      next();
      listSoon();
    },
    conflict: next,
  });
}

// The list can wait a moment: the next key comes first.
function listSoon() {
  clearTimeout(view.list);
  view.list = setTimeout(() => history.load().catch(() => {}), LIST_MS);
}

function undo() {
  if (view.mode !== "ready") return;
  send({
    route: "api/label/undo",
    body: { who: view.who, tab },
    what: "",
    done: ({ item }) => {
      if (item) tray.putFirst(item);
      tell(item ? `${readablePath(item.path)} has no name again.` : "Nothing was named in this page; older names are changed in the list.");
      show();
      history.load().catch(() => {});
    },
    conflict: () => {},
  });
}

function pass() {
  const entry = tray.current;
  if (view.mode !== "ready" || !entry) return;
  const { path } = entry.item;
  send({
    route: "api/label/skip",
    body: { path, tab },
    what: "",
    done: () => {
      tray.pass(path);
      tell(`${readablePath(path)} was passed over; it comes back at the end.`);
      show();
      refill();
    },
    conflict: () => tray.take(path)?.free(),
  });
}

function recall() {
  if (view.mode !== "ready") return;
  tell(tray.recall() ? "Back to the one that was passed over." : "Nothing was passed over before.");
  show();
}

async function around() {
  try {
    await stage.toggleAround();
  } catch (error) {
    stage.isAround = false;
    tell(`The frame cannot be shown: ${error.message}`);
  }
  $("around").setAttribute("aria-pressed", String(Boolean(stage.isAround)));
}

async function suggest() {
  tray.isHinting = !tray.isHinting;
  $("suggest").setAttribute("aria-pressed", String(tray.isHinting));
  showText(tray.current);
  if (tray.isHinting) await refill(true);
}

const ACTIONS = {
  name: ({ at }) => giveName(view.state.classes[at].name),
  neither: () => giveName(NEITHER),
  unclear: () => giveName(UNCLEAR),
  undo, pass, recall, around, suggest,
  "zoom-in": () => stage.zoomBy(1.25),
  "zoom-out": () => stage.zoomBy(1 / 1.25),
};
const MAY_REPEAT = ["zoom-in", "zoom-out"];

function onKey(event) {
  if (!view.state || $("ask-who").open || $("login")?.open) return;
  const found = readKey(event, view.state.classes.length);
  if (!found || isTyping(event.target)) return;
  const isButton = event.target.closest?.("button, [role=button]");
  if (event.key === " " && isButton) {
    if (event.repeat) event.preventDefault();
    return;
  }
  event.preventDefault();
  if (event.repeat && !MAY_REPEAT.includes(found.action)) return;
  if ($("ask-name").open) {
    const name = { name: view.state.classes[found.at]?.name, neither: NEITHER, unclear: UNCLEAR }[found.action];
    if (name) history.press(name);
    return;
  }
  ACTIONS[found.action](found);
}

// The line to the service

function goOffline() {
  setMode("offline");
  const kept = view.pending?.what;
  tellFault(`No connection to the program since ${new Date().toLocaleTimeString()}: is “georgia label” still running? Keys do nothing until it responds. ${kept ? `Your last one (${kept}) will be sent again; what was named before is on disk.` : "Everything that was named is on disk."}`);
  clearTimeout(view.retry);
  view.retry = setTimeout(reconnect, RETRY_MS);
}

function lock() {
  setMode("locked");
  if (session.people) {
    const kept = view.pending?.what ? ` Your last one (${view.pending.what}) is sent then, if it is you.` : "";
    return tellFault(`Your session has ended. Keys do nothing until you have logged in again.${kept}`);
  }
  tellFault(`${token() ? "The token of this page is not the program's" : "This page has no token"}: open the address that “georgia label” printed when it started, with all that stands behind the #. Keys do nothing. ${view.pending?.what ? `Your last one (${view.pending.what}) is sent then, if you open it in this tab.` : ""}`);
}

async function reconnect() {
  let state;
  try {
    state = await get("api/label", TIMEOUT_MS);
  } catch {
    if (view.mode === "offline") view.retry = setTimeout(reconnect, RETRY_MS);
    return;
  }
  if (isOther(state)) return replace();
  const isNew = state.start !== view.state.start;
  view.state = state;
  tray.loadAgain();
  const { pending } = view;
  if (pending?.what || pending?.route === "api/label/skip") return send(pending).then(() => isNew && refill(true));
  // A name may have been taken back or not: only the list knows, so it is not sent twice.
  if (pending) tell("The connection broke while a name was taken back: look at the list whether it was.");
  view.pending = null;
  setMode("ready");
  await refill(true);
  history.load().catch(() => {});
}

// Whether another pool is labelled at this address now: a name for a path of the old one would be wrong there.
function isOther(state) {
  const known = view.state;
  return known && ["source", "out"].some((name) => known[name] !== state[name]) || known && JSON.stringify(known.classes) !== JSON.stringify(state.classes);
}

function replace() {
  setMode("replaced");
  tellFault(`This address labels something else now. ${view.pending?.what ? `Your last key (${view.pending.what}) was not kept. ` : ""}Load the page again to go on there.`);
  view.pending = null;
}

async function refill(isForced = false) {
  try {
    await tray.refill(isForced);
    if (!tray.current && tray.passed.length) {
      tray.forgetPassed();
      await tray.refill(true);
    }
    if (tray.progress) setProgress(tray.progress);
  } catch (error) {
    if (view.mode !== "saving") tellGone(error); // a name that is being sent says it itself
  }
}

function tellGone(error) {
  if (error.status === 401) lock();
  else if (GONE.includes(error.status)) goOffline();
  else tellFault(error.message);
}

// Others label, too: counts, the last names, and crops that they let go.
async function poll() {
  view.ticks = (view.ticks ?? 0) + 1;
  if (document.hidden || view.mode !== "ready" || (!training.isBusy && view.ticks % CALM)) return;
  try {
    const state = await get("api/label", TIMEOUT_MS);
    if (view.mode !== "ready") return;
    if (isOther(state)) return replace();
    const isNew = state.start !== view.state.start;
    view.state = state;
    if (state.fault) setMode("ready");
    setProgress(state.progress);
    await Promise.all([history.load(), training.update(state.training, state.progress)]);
    if (isNew || !tray.current || tray.isHinting) await refill(true);
  } catch (error) {
    if (view.mode === "ready") tellGone(error);
  }
}

// The beginning

// Where people log in, names are given under the name of whoever has logged in, and no other is asked for.
function logIn() {
  view.people ??= new People($, takePerson);
  return view.people.start();
}

function takePerson() {
  if (!session.user) return view.state && lock();
  const isOther = view.who && view.state && view.who !== session.user;
  showWho(session.user);
  $("you").hidden = true;
  if (isOther) {
    // What somebody else has pressed last is given under no other name, and everybody has crops of the own page.
    view.pending = null;
    location.reload();
  } else if (view.mode === "locked" && view.state) reconnect();
}

function askWho() {
  const dialog = $("ask-who");
  const form = dialog.querySelector("form");
  form.who.value = view.who || lastName();
  return new Promise((done) => {
    dialog.addEventListener("cancel", (event) => view.who || event.preventDefault());
    dialog.addEventListener("close", () => {
      const who = form.who.value.trim();
      if (dialog.returnValue === "ok" && who) setWho(who);
      done();
    }, { once: true });
    dialog.showModal();
  });
}

// What a person says here outlasts what the command said; other tabs keep their own.
function setWho(who) {
  keepName(who);
  sessionStorage.setItem(WHO, who);
  showWho(who);
}

function showWho(who) {
  view.who = who;
  $("who").textContent = who;
}

function makeButtons() {
  const press = (action) => (event) => {
    // After a click of the pointer the keys belong to the crop again.
    if (event.detail > 0) $("stage").focus({ preventScroll: true });
    action();
  };
  const { classes } = view.state;
  const names = classes.map(({ name, key }) => nameButton(classes, name, key, press(() => giveName(name))));
  names.push(nameButton(classes, NEITHER, "0", press(() => giveName(NEITHER))), nameButton(classes, UNCLEAR, "u", press(() => giveName(UNCLEAR))));
  $("names").replaceChildren(...names);
  const others = [["undo", "z", "Take back"], ["recall", "←", "Back"], ["pass", "→", "Pass over"]];
  $("others").replaceChildren(
    ...others.map(([action, key, text]) => {
      const button = element("button", { type: "button" }, element("kbd", { textContent: key.toUpperCase() }), text);
      button.dataset.action = action;
      button.addEventListener("click", press(ACTIONS[action]));
      return button;
    }),
  );
  for (const id of ["zoom-in", "zoom-out", "around", "suggest"]) $(id).addEventListener("click", press(ACTIONS[id]));
}

async function begin() {
  takeToken();
  setMode("connecting");
  let state;
  try {
    state = await get("api/label", TIMEOUT_MS);
    if (state.people) await logIn();
  } catch (error) {
    if ([401, 403].includes(error.status)) {
      await logIn(); // 403: with a one-time password, which is replaced first
      return begin();
    }
    tellFault("No connection to the program: is “georgia label” still running? This page goes on as soon as it responds.");
    setTimeout(begin, RETRY_MS);
    return;
  }
  tellFault("");
  view.state = state;
  $("source").textContent = state.source.split(/[/\\]/).pop() || state.source;
  $("source").title = state.source;
  $("out").textContent = state.out;
  $("pool-text").textContent = [state.n_empty && `${state.n_empty.toLocaleString()} empty windows set aside.`, state.n_failures && `${state.n_failures.toLocaleString()} files cannot be read.`, state.n_damaged && `${state.n_damaged.toLocaleString()} lines of the journal are damaged: the names in them are lost, and their crops are asked for again.`].filter(Boolean).join(" ");
  makeButtons();
  history.begin({ classes: state.classes, tab, who: () => view.who });
  setProgress(state.progress);
  const who = session.user || sessionStorage.getItem(WHO) || state.who || lastName();
  if (who) showWho(who);
  setMode("ready");
  await refill(true);
  history.load().catch(() => {});
  training.update(state.training, state.progress).catch(() => {});
  if (!view.who) await askWho();
  $("stage").focus({ preventScroll: true });
}

$("stage").addEventListener("shown", () => {
  clearTimeout(view.busy);
  $("stage").setAttribute("aria-busy", "true");
  view.busy = setTimeout(() => $("stage").setAttribute("aria-busy", "false"), TOO_SOON_MS);
});
$("who-change").addEventListener("click", askWho);
$("conflict-ok").addEventListener("click", () => {
  $("conflict").hidden = true;
  $("stage").focus({ preventScroll: true });
});
document.addEventListener("keydown", onKey);
// The address with the right token may be opened in this tab: only what is behind the # changes then.
addEventListener("hashchange", () => {
  takeToken();
  if (view.mode === "locked") reconnect();
});
addEventListener("beforeunload", (event) => {
  if (view.pending) event.preventDefault();
});
addEventListener("pagehide", () => {
  if (view.state) change("api/label/leave", { tab }, { keepalive: true }).catch(() => {});
});
addEventListener("pageshow", (event) => event.persisted && refill(true));
setInterval(poll, POLL_MS);
begin();
