// The alarm banner, and the dialog in which somebody acknowledges, shelves or closes an alarm.
import { change, keepName, lastName, session, setToken, signature, token } from "./api.js";
import { element, moment, percent } from "./format.js";

const ACTIONS = {
  acknowledge: { title: "Acknowledge the alarm", button: "Acknowledge", needsReason: false, text: "" },
  shelve: { title: "Shelve the alarm", button: "Shelve", needsReason: true, text: "It comes back by itself after that time." },
  close: { title: "Close the alarm", button: "Close the alarm", needsReason: true, text: "It is not shown any more." },
};

export class AlarmBanner {
  constructor(place, dialog) {
    Object.assign(this, { place, dialog });
    this.shown = "";
    this.late = null; // whose acknowledgement came second, and what to tell them
    this.dialog.addEventListener("close", () => this.#send());
  }

  show(alarms) {
    const shown = JSON.stringify(alarms);
    if (shown === this.shown) return; // nothing new to read aloud
    this.shown = shown;
    this.place.replaceChildren(...alarms.map((alarm) => this.#banner(alarm)));
  }

  #banner(alarm) {
    const isOver = Boolean(alarm.cleared_at);
    const head = element("strong", { textContent: isOver ? "■ Alarm, cleared at" : "■ Alarm since" });
    const since = moment(isOver ? alarm.cleared_at : alarm.raised_at);
    const batch = alarm.batch_name ? ` Batch ${alarm.batch_name}.` : "";
    const box = element("div", { className: isOver ? "alarm over" : "alarm" }, element("span", {}, head, ` ${since}: ${alarm.reason} (${percent(alarm.fraction)}).${batch}`));
    if (alarm.acknowledged_at) box.append(element("span", { className: "small", textContent: `acknowledged by ${alarm.acknowledged_by}, ${moment(alarm.acknowledged_at)}` }));
    if (this.late?.id === alarm.id) box.append(element("span", { className: "small", textContent: this.late.text }));
    const names = alarm.acknowledged_at ? ["shelve", "close"] : ["acknowledge", "shelve"];
    box.append(element("span", { className: "choices" }, ...names.map((name) => this.#button(alarm, name))));
    return box;
  }

  #button(alarm, name) {
    const button = element("button", { type: "button", textContent: name === "acknowledge" ? "Acknowledge" : `${name[0].toUpperCase()}${name.slice(1)} …` });
    button.addEventListener("click", () => this.#ask(alarm, name));
    return button;
  }

  #ask(alarm, name, message = "") {
    Object.assign(this, { alarm, name });
    const action = ACTIONS[name];
    const form = this.dialog.querySelector("form");
    form.who.value ||= lastName();
    form.note.required = action.needsReason;
    this.dialog.querySelector("#ask-title").textContent = action.title;
    this.dialog.querySelector("#ask-ok").textContent = action.button;
    this.dialog.querySelector("#ask-note").textContent = action.needsReason ? "Reason" : "Note";
    this.dialog.querySelector("#ask-sign-row").hidden = !session.signed.includes(name);
    form.password.required = session.signed.includes(name);
    this.dialog.querySelector("#ask-minutes-row").hidden = name !== "shelve";
    this.dialog.querySelector("#ask-text").textContent = `Alarm of ${moment(alarm.raised_at)}: ${alarm.reason}. ${action.text} Your name is written to the audit log.`;
    this.dialog.querySelector("#ask-token-row").hidden = Boolean(token()) && !message;
    const line = this.dialog.querySelector("#ask-error");
    line.hidden = !message;
    line.textContent = message;
    this.dialog.returnValue = "cancel";
    this.dialog.showModal();
  }

  async #send() {
    if (this.dialog.returnValue !== "ok") return;
    const form = this.dialog.querySelector("form");
    if (form.token.value) setToken(form.token.value);
    keepName(form.who.value);
    const who = form.who.value;
    const signed = signature(form);
    form.password.value = "";
    const body = { acknowledge: { who, note: form.note.value }, shelve: { who, minutes: Number(form.minutes.value), reason: form.note.value }, close: { who, reason: form.note.value } }[this.name];
    try {
      const alarm = await change(`api/alarms/${this.alarm.id}/${this.name}`, { ...body, ...signed });
      form.note.value = form.token.value = "";
      if (this.name === "acknowledge" && alarm.acknowledged_by !== who) this.late = { id: alarm.id, text: `It was acknowledged before you did; ${who} was not written.` };
      const others = JSON.parse(this.shown);
      // What is shelved or closed leaves the banner; the next status brings back what is to be seen.
      this.show(this.name === "acknowledge" ? others.map((other) => (other.id === alarm.id ? alarm : other)) : others.filter((other) => other.id !== alarm.id));
    } catch (error) {
      this.#ask(this.alarm, this.name, error.message);
    }
  }
}
