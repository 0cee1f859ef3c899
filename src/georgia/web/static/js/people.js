// People: who is logged in, the log-in dialog, what a role sees, and signatures on batches.
import { change, get, session } from "./api.js";
import { element, moment } from "./format.js";

// The dialogs of people, which every page with a log-in has.
const DIALOGS = `
  <dialog id="login" aria-labelledby="login-title">
    <form method="dialog">
      <h2 id="login-title">Log in</h2>
      <p id="login-text" class="small"></p>
      <label class="name">Name <input name="name" required maxlength="120" autocomplete="username"></label>
      <label>Password <input name="password" type="password" required autocomplete="current-password"></label>
      <label class="new" hidden>New password, 15 characters or more <input name="next" type="password" autocomplete="new-password"></label>
      <label class="new" hidden>New password once more <input name="again" type="password" autocomplete="new-password"></label>
      <p id="login-link" hidden><a href="#">Log in with the account of the site</a></p>
      <p id="login-error" class="fault" role="alert" hidden></p>
      <menu>
        <button class="main" id="login-ok">Log in</button>
        <button type="button" id="login-cancel" hidden>Cancel</button>
      </menu>
    </form>
  </dialog>
  <dialog id="anew" aria-labelledby="anew-title">
    <form method="dialog">
      <h2 id="anew-title">You sign this</h2>
      <p id="anew-what"></p>
      <dl id="anew-content" class="small"></dl>
      <p id="anew-text" class="small"></p>
      <menu>
        <button value="ok" class="main">Log in anew, and do it</button>
        <button value="cancel" formnovalidate>Give it up</button>
      </menu>
    </form>
  </dialog>`;

const USE_MS = 60000; // a sign of somebody at the page is sent at most so often
const MEANINGS = {
  responsibility: "responsibility: I ran this batch",
  review: "review: I checked its record",
  approval: "approval",
  release: "release of the batch",
  rejection: "rejection: the batch is not released",
};

// Why nothing was signed or done by a new log-in elsewhere.
const OUTCOMES = {
  cancelled: "the new log-in was cancelled.",
  "other-user": "another person came back from the log-in than the one who is logged in here. That was recorded.",
  "other-role": "the account of the site gives you another role now. Log out, and log in again.",
  "not-anew": "the log-in of the site asked for no password anew. That was recorded. Tell the administrator: the provider ignores prompt=login.",
  "no-time": "the log-in of the site does not say when it was. Tell the administrator: its tokens need auth_time.",
  "too-late": "it took too long. Begin again.",
  "logged-out": "your session ended meanwhile. Log in and begin again.",
  failed: "you have signed it, and then it could not be done. The audit log has the reason.",
  rejected: "it was rejected. The audit log has the reason.",
};
const DONE = {
  acknowledge: "Signed and done: the alarm is acknowledged.",
  shelve: "Signed and done: the alarm is shelved.",
  close: "Signed and done: the alarm is closed.",
  limits: "Signed and done: the limits apply from the next frame on.",
  override: "Signed and done: the probe goes on against the commissioning.",
  promote: "Signed: what became of it stands under “Train” below.",
};

export const isLoggedOut = () => session.people && !session.user;

export class People {
  constructor($, onChange) {
    Object.assign(this, { $, onChange });
    document.body.insertAdjacentHTML("beforeend", DIALOGS);
    session.logInAnew = (action) => this.#logInAnew(action);
    this.form = $("login").querySelector("form");
    this.usedAt = 0;
    this.waiting = [];
    this.signatures = $("signatures") ? new Signatures($) : null; // the labelling page has none
    $("login").addEventListener("cancel", (event) => event.preventDefault());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    $("log-out").addEventListener("click", () => this.#logOut());
    $("new-password").addEventListener("click", () => this.#ask("Choose another password.", true));
    $("login-cancel").addEventListener("click", () => $("login").close());
    for (const kind of ["pointerdown", "keydown"]) document.addEventListener(kind, () => this.#use(), { passive: true });
    addEventListener("georgia-logged-out", () => this.check());
    // What the page asked for of itself as somebody logged out, or had a one-time password, is rejected; the dialog
    // says so, wherever it was asked.
    const isOfLogIn = (error) => error?.status === 401 || (error?.status === 403 && /one-time password/.test(error.message));
    addEventListener("unhandledrejection", (event) => session.people && isOfLogIn(event.reason) && event.preventDefault());
  }

  // Ask who is logged in; where nobody is, and people log in, wait until somebody has.
  async start() {
    await this.check();
    if (isLoggedOut() || this.needsPassword) await new Promise((done) => this.waiting.push(done));
  }

  async check() {
    let state;
    try {
      state = await get("api/session", 5000);
    } catch {
      return; // the service is away: the line of the connection says so
    }
    const hadUser = session.user;
    this.#take(state);
    // More than one request may find out; the dialog opens once.
    if (isLoggedOut() && !state.needs_password && !this.$("login").open) this.#ask(hadUser ? "Your session has ended. What is behind is not the present state." : "");
  }

  #take(state) {
    this.needsPassword = state.needs_password;
    this.signed = state.signed;
    this.$("login-link").hidden = !state.login_link;
    if (state.login_link) this.$("login-link").firstElementChild.href = state.login_link;
    session.people = state.people;
    session.user = state.needs_password ? null : state.user;
    session.signed = session.user && !state.reauthenticates ? state.signed_actions : [];
    for (const row of document.querySelectorAll(".sign[data-for]")) {
      row.hidden = !session.signed.includes(row.dataset.for);
      row.querySelector("input").required = !row.hidden;
    }
    const { body } = document;
    body.classList.toggle("people", state.people);
    body.classList.toggle("logged-in", Boolean(session.user));
    body.classList.toggle("no-operate", state.people && !state.rights.includes("operate"));
    body.classList.toggle("no-decide", state.people && !state.rights.includes("decide"));
    this.$("person").hidden = !session.user;
    this.$("person-name").textContent = session.user ? `${state.user}, ${state.role}` : "";
    for (const field of document.querySelectorAll('input[name="who"]')) {
      if (session.user) field.value = session.user;
      field.readOnly = Boolean(session.user);
    }
    if (session.user) this.signatures?.start(state.meanings, state.reauthenticates, state.signed);
    if (session.user) this.#comeBack();
    this.onChange();
    if (state.needs_password) this.#ask("This is a one-time password: choose your own now.", true);
    else if (session.user) for (const done of this.waiting.splice(0)) done();
  }

  // What is to be signed is shown once more before the page is left for the log-in elsewhere.
  async #logInAnew({ place, within_s, what, content }) {
    const { $ } = this;
    const dialog = $("anew");
    $("anew-what").textContent = `${what[0].toUpperCase()}${what.slice(1)}.`;
    const said = Object.entries(content).filter(([name, value]) => value !== "" && name !== "expected");
    $("anew-content").replaceChildren(...said.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))]));
    $("anew-text").textContent = `You log in anew with the account of the site, and come back here. It is done then, under your name; within ${Math.round(within_s / 60)} minutes, or not at all.`;
    dialog.returnValue = "cancel";
    dialog.showModal();
    await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
    if (dialog.returnValue !== "ok") return change("api/session/reauthentication/cancel", {}).catch(() => {});
    location.assign(place);
    return new Promise(() => {}); // until the page is left
  }

  // From the log-in elsewhere: the address says what became of an action, by a word of ours.
  #comeBack() {
    const back = new URLSearchParams(location.hash.slice(1));
    const line = this.$("signed-told");
    if (!back.has("outcome") || !back.has("action") || !line) return;
    history.replaceState(null, "", location.pathname + location.search);
    const outcome = back.get("outcome");
    // An address can be written by anybody: only the service says that something was signed.
    if (outcome === "signed" && this.signed?.action !== back.get("action")) return;
    line.textContent = outcome === "signed" ? DONE[back.get("action")] || "Signed and done." : `Not done: ${OUTCOMES[outcome] || OUTCOMES.rejected}`;
    line.dataset.kind = outcome === "signed" ? "calm" : "care";
    line.hidden = false;
  }

  #ask(text, isNew = false) {
    this.isNew = isNew;
    const { form, $ } = this;
    $("login-title").textContent = isNew ? "Choose a password" : "Log in";
    $("login-text").textContent = text;
    $("login-ok").textContent = isNew ? "Choose it" : "Log in";
    for (const row of form.querySelectorAll(".new")) row.hidden = !isNew;
    form.querySelector(".name").hidden = isNew;
    form.name.required = !isNew;
    form.next.required = form.again.required = isNew;
    $("login-cancel").hidden = !(isNew && session.user);
    if (!$("login").open) {
      $("login-error").hidden = true;
      form.password.value = form.next.value = form.again.value = "";
      $("login").showModal();
    }
    (isNew || form.name.value ? form.password : form.name).focus();
  }

  async #send() {
    const { form, $ } = this;
    const line = $("login-error");
    line.hidden = true;
    try {
      if (this.isNew && form.next.value !== form.again.value) throw new Error("The two new passwords are not the same.");
      const body = this.isNew ? { password: form.password.value, new: form.next.value } : { name: form.name.value, password: form.password.value };
      const state = await change(this.isNew ? "api/session/password" : "api/session", body);
      if (!state.needs_password) $("login").close();
      const first = form.password.value;
      form.password.value = form.next.value = form.again.value = "";
      this.#take(state);
      if (state.needs_password) form.password.value = first; // it was typed a moment ago
    } catch (error) {
      line.textContent = error.message;
      line.hidden = false;
      form.password.select();
    }
  }

  async #logOut() {
    await change("api/session/end", {}).catch(() => {});
    session.user = null;
    await this.check();
    this.$("login-text").textContent = "You have logged out.";
  }

  #use() {
    const now = Date.now();
    if (!session.user || (now >= this.usedAt && now - this.usedAt < USE_MS)) return;
    this.usedAt = now;
    change("api/session/use", {}).catch(() => {});
  }
}

class Signatures {
  constructor($) {
    this.$ = $;
    this.form = $("sign-form");
    this.told = "";
    $("sign-batch").addEventListener("change", () => this.#show(""));
    $("signatures").addEventListener("toggle", () => $("signatures").open && this.#load());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#sign();
    });
  }

  start(meanings, reauthenticates, signed) {
    this.$("signatures").hidden = false;
    this.reauthenticates = reauthenticates;
    this.$("sign-password").hidden = reauthenticates;
    this.$("sign-anew").hidden = !reauthenticates;
    this.form.password.required = !reauthenticates;
    this.form.hidden = meanings.length === 0;
    this.form.meaning.replaceChildren(...meanings.map((name) => element("option", { value: name, textContent: MEANINGS[name] || name })));
    const back = new URLSearchParams(location.hash.slice(1));
    const isTrue = back.get("outcome") !== "signed" || String(signed?.batch) === back.get("batch");
    if (back.has("outcome") && back.has("batch") && isTrue) this.#comeBack(back.get("outcome"), back.get("batch"));
    else if (this.$("signatures").open) this.#load();
  }

  // From the log-in elsewhere: the address says what became of the signature, by a word of ours.
  #comeBack(outcome, batch) {
    history.replaceState(null, "", location.pathname + location.search);
    this.told = outcome === "signed" ? "Signed." : `Not signed: ${OUTCOMES[outcome] || OUTCOMES.rejected}`;
    this.chosen = batch;
    this.$("signatures").open = true; // which loads them
    this.$("signatures").scrollIntoView();
  }

  async #load() {
    const chosen = this.chosen || this.$("sign-batch").value;
    this.chosen = "";
    const { batches } = await get("api/batches?limit=100");
    this.$("sign-batch").replaceChildren(...batches.map(({ id, name, ended_at }) => element("option", { value: id, textContent: ended_at ? name : `${name} (running)` })));
    if (batches.some(({ id }) => String(id) === chosen)) this.$("sign-batch").value = chosen;
    await this.#show();
  }

  // `told` stays until something else is done here.
  async #show(told = this.told) {
    const { $ } = this;
    this.told = told;
    const id = $("sign-batch").value;
    this.form.querySelector("button").disabled = !id; // until it is known which batch is signed
    if (!id) return;
    const { signatures, decision } = await get(`api/batches/${id}/signatures`);
    const since = (signature) => (signature.n_later ? `${signature.n_later} later entries` : "none");
    $("sign-decision").textContent = decision
      ? `${decision.meaning === "release" ? "Released" : "Rejected"} by ${decision.who}, ${moment(decision.signed_at)}${decision.n_later ? `; the audit log has ${decision.n_later} later entries on this batch` : ""}.`
      : "Not released.";
    const cells = (each) => [each.meaning, `${each.who}, ${each.role}`, moment(each.signed_at), each.method, each.note || "–", since(each), each.head.slice(0, 20)];
    const rows = signatures.map((each) => element("tr", {}, ...cells(each).map((cell) => element("td", {}, cell))));
    $("sign-rows").replaceChildren(...(rows.length ? rows : [element("tr", {}, element("td", { colSpan: 7, textContent: "None yet." }))]));
    $("sign-told").textContent = told;
  }

  async #sign() {
    const { form } = this;
    try {
      const [path, body] = [`api/batches/${this.$("sign-batch").value}/signatures`, { meaning: form.meaning.value, note: form.note.value }];
      if (this.reauthenticates) return location.assign((await change(`${path}/reauthenticate`, body)).place);
      await change(path, { ...body, password: form.password.value });
      form.note.value = "";
      await this.#show("Signed.");
    } catch (error) {
      this.$("sign-told").textContent = error.message;
    } finally {
      form.password.value = "";
    }
  }
}
