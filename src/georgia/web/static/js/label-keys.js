// Which key does what. A key counts by the sign that it writes; the row of digits also where letters need no Shift.

const SIGNS = { z: "undo", u: "unclear", 0: "neither", "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", f: "around", m: "suggest", " ": "pass", ArrowRight: "pass", ArrowDown: "pass", ArrowLeft: "recall", ArrowUp: "recall" };

// Return { action, at }: `at` is the place of the class for the action "name"; null where the key does nothing.
export function readKey(event, nClasses) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return null;
  const digit = /^\d$/.test(event.key) ? event.key : !event.shiftKey && /^Digit\d$/.test(event.code) && !/[a-z+\-=]/i.test(event.key) ? event.code.slice(5) : null;
  if (digit === "0") return { action: "neither" };
  if (digit !== null) return Number(digit) <= nClasses ? { action: "name", at: Number(digit) - 1 } : null;
  // A keyboard of other letters (Cyrillic, Greek, …) has the same keys in their Latin places.
  const isOther = event.key.length === 1 && event.key > "\x7f" && /^Key[A-Z]$/.test(event.code);
  const sign = isOther ? event.code.slice(3) : event.key;
  const action = SIGNS[sign.length === 1 ? sign.toLowerCase() : sign];
  return action ? { action } : null;
}

// Where keys belong to what has the focus, not to the crop.
export function isTyping(target) {
  return Boolean(target.closest?.("input, textarea, select, [contenteditable], summary, a"));
}
