// Requests to the service: one function that asks, one shape of error, and the token, kept for this tab only.

export class ServiceError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new ServiceError(0, "The service does not respond. Is it running?");
  }
  const isJson = (response.headers.get("content-type") || "").includes("json");
  const body = isJson ? await response.json() : await response.text();
  if (!response.ok) throw new ServiceError(response.status, body?.error?.message || `The service responded with ${response.status}.`);
  return body;
}

export const get = (path) => ask(path);

export function change(path, body) {
  const headers = { "Content-Type": "application/json", Authorization: `Bearer ${token()}` };
  return ask(path, { method: "POST", headers, body: JSON.stringify(body) });
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

export const token = () => sessionStorage.getItem("georgia-token") || "";
export const setToken = (value) => sessionStorage.setItem("georgia-token", value.trim());

export const lastName = () => localStorage.getItem("georgia-name") || "";
export const keepName = (value) => localStorage.setItem("georgia-name", value);
