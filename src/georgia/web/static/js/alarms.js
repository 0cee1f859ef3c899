// The alarm banner, and the question who has seen it.
import { change, keepName, lastName, setToken, token } from "./api.js";
import { element, moment, percent } from "./format.js";

export class AlarmBanner {
  constructor(place, dialog) {
    Object.assign(this, { place, dialog });
    this.told = "";
    this.dialog.addEventListener("close", () => this.#send());
  }

  show(alarms) {
    const told = JSON.stringify(alarms);
    if (told === this.told) return; // nothing new to read aloud
    this.told = told;
    this.place.replaceChildren(...alarms.map((alarm) => this.#banner(alarm)));
  }

  #banner(alarm) {
    const isOver = Boolean(alarm.cleared_at);
    const head = element("strong", { textContent: isOver ? "■ Alarm, over since" : "■ Alarm since" });
    const since = moment(isOver ? alarm.cleared_at : alarm.raised_at);
    const box = element("div", { className: isOver ? "alarm over" : "alarm" }, element("span", {}, head, ` ${since}: ${alarm.reason} (${percent(alarm.fraction)})`));
    if (alarm.acknowledged_at) {
      box.append(element("span", { className: "small", textContent: `seen by ${alarm.acknowledged_by}, ${moment(alarm.acknowledged_at)}` }));
    } else {
      const button = element("button", { type: "button", textContent: "Acknowledge" });
      button.addEventListener("click", () => this.#ask(alarm));
      box.append(button);
    }
    return box;
  }

  #ask(alarm, fault = "") {
    this.alarm = alarm;
    const form = this.dialog.querySelector("form");
    form.who.value ||= lastName();
    this.dialog.querySelector("#ask-words").textContent = `Alarm of ${moment(alarm.raised_at)}: ${alarm.reason}. Your name goes into the record.`;
    this.dialog.querySelector("#ask-token-row").hidden = Boolean(token()) && !fault;
    const line = this.dialog.querySelector("#ask-fault");
    line.hidden = !fault;
    line.textContent = fault;
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
      this.show(JSON.parse(this.told).map((other) => (other.id === alarm.id ? alarm : other)));
    } catch (error) {
      this.#ask(this.alarm, error.message);
    }
  }
}
