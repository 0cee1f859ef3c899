// The alarm banner, and the dialog that acknowledges an alarm.
import { change, keepName, lastName, setToken, token } from "./api.js";
import { element, moment, percent } from "./format.js";

export class AlarmBanner {
  constructor(place, dialog) {
    Object.assign(this, { place, dialog });
    this.shown = "";
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
    const box = element("div", { className: isOver ? "alarm over" : "alarm" }, element("span", {}, head, ` ${since}: ${alarm.reason} (${percent(alarm.fraction)})`));
    if (alarm.acknowledged_at) {
      box.append(element("span", { className: "small", textContent: `acknowledged by ${alarm.acknowledged_by}, ${moment(alarm.acknowledged_at)}` }));
    } else {
      const button = element("button", { type: "button", textContent: "Acknowledge" });
      button.addEventListener("click", () => this.#ask(alarm));
      box.append(button);
    }
    return box;
  }

  #ask(alarm, message = "") {
    this.alarm = alarm;
    const form = this.dialog.querySelector("form");
    form.who.value ||= lastName();
    this.dialog.querySelector("#ask-text").textContent = `Alarm of ${moment(alarm.raised_at)}: ${alarm.reason}. Your name is written to the audit log.`;
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
    try {
      const alarm = await change(`/api/alarms/${this.alarm.id}/acknowledge`, { who: form.who.value, note: form.note.value });
      form.note.value = form.token.value = "";
      this.show(JSON.parse(this.shown).map((other) => (other.id === alarm.id ? alarm : other)));
    } catch (error) {
      this.#ask(this.alarm, error.message);
    }
  }
}
