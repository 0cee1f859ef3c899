// Requests to the service: one function that asks, one shape of error, and the token, kept for this tab only.

// Whether people log in to this service, and who has. `logInAnew` asks whoever has no password here before an action
// that is signed by a new log-in elsewhere.
export const session = { people: false, user: null, signed: [], logInAnew: null };

// What the service asks a signature for, and the password that was typed for it.
export const signature = (form) => (form.password?.value ? { password: form.password.value } : {});

export class ServiceError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let response, body;
  try {
    response = await fetch(path, options);
    const isJson = (response.headers.get("content-type") || "").includes("json");
    body = isJson ? await response.json() : await response.text();
  } catch {
    throw new ServiceError(0, "The service does not respond. Is it running?");
  }
  if (response.status === 401 && session.user) dispatchEvent(new Event("georgia-logged-out"));
  if (!response.ok) throw new ServiceError(response.status, body?.error?.message || `The service responded with ${response.status}.`);
  return body;
}

// After `timeout` ms without a response the service counts as gone; 0 waits on.
const within = (timeout) => (timeout ? { signal: AbortSignal.timeout(timeout) } : {});

export const get = (path, timeout = 0) => ask(path, within(timeout));

export async function change(path, body, { timeout = 0, keepalive = false } = {}) {
  const headers = { "Content-Type": "application/json" };
  if (!session.people) headers.Authorization = `Bearer ${token()}`;
  const own = session.user && "who" in body ? { ...body, who: session.user } : body;
  const found = await ask(path, { method: "POST", headers, body: JSON.stringify(own), keepalive, ...within(timeout) });
  if (!found?.place || !found.what || !session.logInAnew) return found;
  await session.logInAnew(found); // which leaves the page
  throw new ServiceError(0, "Not done: you gave it up.");
}

// The bytes of an image, or why there are none.
export async function getImage(path, signal) {
  let response;
  try {
    response = await fetch(path, { signal });
    if (response.ok) return await response.blob();
  } catch {
    throw new ServiceError(0, "The service does not respond. Is it running?");
  }
  const body = await response.json().catch(() => null);
  throw new ServiceError(response.status, body?.error?.message || `The service responded with ${response.status}.`);
}

export function upload(path, file) {
  const form = new FormData();
  form.append("file", file, file.name || "image.png");
  return ask(path, { method: "POST", body: form });
}

// The address that the service prints ends in #token=…; it is taken out of the address bar at once.
export function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!found) return;
  sessionStorage.setItem("georgia-token", found);
  history.replaceState(null, "", location.pathname + location.search);
}

// Where people log in no token is asked for: the browser sends the session's cookie by itself.
export const token = () => (session.people ? "session" : sessionStorage.getItem("georgia-token") || "");
export const setToken = (value) => sessionStorage.setItem("georgia-token", value.trim());

export const lastName = () => session.user || localStorage.getItem("georgia-name") || "";
export const keepName = (value) => session.user || localStorage.setItem("georgia-name", value);
