// Server-sent events and the state of the connection. After a break the browser itself connects again
// and sends the number of the last frame it received.

export function listen({ onStatus, onFrame, onLine }) {
  let source = null;
  let retry = null;
  const open = () => {
    source = new EventSource("/api/events");
    source.addEventListener("open", () => onLine("live", true));
    source.addEventListener("status", (event) => onStatus(JSON.parse(event.data)));
    source.addEventListener("frame", (event) => onFrame(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      onLine("reconnecting …", false);
      if (source.readyState === EventSource.CLOSED) {
        clearTimeout(retry);
        retry = setTimeout(open, 3000);
      }
    });
  };
  open();
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => event.persisted && open());
}
