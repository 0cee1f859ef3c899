// One log-in for all probes: a session at each that has the user with that password, with the role there.
import { change, get, session } from "./api.js";

const $ = (id) => document.getElementById(id);

function show({ people, probes }) {
  session.people = people;
  $("people").hidden = !people;
  const there = Object.entries(probes).filter(([, person]) => person);
  $("people-text").textContent = there.map(([name, { user, role, needs_password: isOld }]) => `${name}: ${user}, ${role}${isOld ? " (choose your own password there)" : ""}`).join(" · ");
  $("log-out").hidden = there.length === 0;
}

async function send(event) {
  event.preventDefault();
  const form = event.target;
  $("login-error").hidden = true;
  try {
    show(await change("api/session", { name: form.name.value, password: form.password.value }));
    $("login").close();
  } catch (error) {
    $("login-error").textContent = error.message;
    $("login-error").hidden = false;
  } finally {
    form.password.value = "";
  }
}

// A service that is away, or that begins, has nobody to show; the tiles say how it is.
const ask = () => get("api/session", 10000).then(show).catch(() => {});

export function startPeople() {
  $("login").querySelector("form").addEventListener("submit", send);
  $("log-in").addEventListener("click", () => {
    $("login-error").hidden = true;
    $("login").showModal();
  });
  $("login-cancel").addEventListener("click", () => $("login").close());
  $("log-out").addEventListener("click", async () => {
    await change("api/session/end", {}).catch(() => {});
    ask();
  });
  ask();
  setInterval(ask, 30000);
}
