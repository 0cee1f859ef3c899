// Server-sent events and the state of the connection. The service sends something every two seconds; a page that
// hears nothing for longer does not know what the probe does, however the connection looks.
// After a break the browser itself connects again and sends the number of the last frame it received.

const SILENT_MS = 5000;
const GIVE_UP_MS = 20000; // a connection that is open and says nothing for so long is made anew

export function listen({ onStatus, onFrame, onBeat, onLine, onEnd = () => {} }) {
  let source = null;
  let retry = null;
  let heardAt = Date.now();
  let openedAt = heardAt;
  let isLive = false;

  const hear = (take) => (event) => {
    heardAt = Date.now();
    const wasLive = isLive;
    isLive = true;
    if (take) take(JSON.parse(event.data));
    if (!wasLive) onLine({ isLive, since: heardAt });
  };
  const open = () => {
    source?.close();
    clearTimeout(retry);
    openedAt = Date.now();
    source = new EventSource("api/events");
    source.addEventListener("status", hear(onStatus));
    source.addEventListener("frame", hear(onFrame));
    source.addEventListener("beat", hear(onBeat));
    source.addEventListener("session", () => onEnd());
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) return;
      onEnd();
      retry = setTimeout(open, 3000);
    });
  };
  setInterval(() => {
    const now = Date.now();
    if (now < heardAt) heardAt = now; // the clock was set back
    if (now - heardAt > SILENT_MS) {
      isLive = false;
      onLine({ isLive, since: heardAt });
    }
    if (now - Math.max(heardAt, openedAt) > GIVE_UP_MS) open();
  }, 1000);
  open();
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => event.persisted && open());
}
