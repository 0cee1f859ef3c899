"""Walks a page with the Tab key alone, and tells what a person without a mouse cannot see or reach."""

from __future__ import annotations

from typing import Any

# Puts the place from which the Tab key goes on before the page's first element, or behind its last one.
_BEGIN = """(isForward) => {
  window.walked = new Map();
  const place = document.createElement("span");
  const within = document.querySelector("dialog:modal") ?? document.body;
  place.tabIndex = -1;
  isForward ? within.prepend(place) : within.append(place);
  place.focus({ preventScroll: true });
  place.remove();
}"""
# What the focused element is: a key that stays its own, its place, and whether its focus shows.
_FOCUSED = """() => {
  const at = document.activeElement;
  if (!at || at === document.body || at === document.documentElement) return null;
  window.walked ??= new Map();
  if (!window.walked.has(at)) window.walked.set(at, window.walked.size);
  const style = getComputedStyle(at), box = at.getBoundingClientRect();
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
  const x = box.left + box.width / 2, y = box.top + box.height / 2;
  const isInView = box.width > 0 && box.height > 0
    && x >= 0 && y >= 0 && x <= innerWidth && y <= innerHeight;
  const named = (at.getAttribute("aria-labelledby") || "").split(" ");
  const names = [at.ariaLabel, ...[...(at.labels ?? [])].map((each) => each.innerText), at.title,
    ...named.map((id) => document.getElementById(id)?.innerText),
    ["INPUT", "SELECT", "TEXTAREA"].includes(at.tagName) ? "" : at.innerText,
    ...[...at.querySelectorAll("img, svg, [aria-label]")]
      .map((each) => each.alt || each.ariaLabel || each.textContent),
    at.tagName === "INPUT" && ["submit", "button"].includes(at.type) ? at.value : ""];
  return { key: window.walked.get(at), what: at.outerHTML.slice(0, 110), ring, isInView,
    hasPlace: at.tabIndex <= 0, name: names.filter((each) => each && each.trim()).join(" "),
  };
}"""
# Visible things that can be operated, which the walk has not come by; of radio buttons one is enough.
_MISSED = """() => {
  const walked = window.walked ?? new Map();
  const isShown = (at) => at.checkVisibility({ visibilityProperty: true }) && at.getClientRects().length;
  const dialog = document.querySelector("dialog:modal") ?? document;
  const natives = "a[href], button, input, select, textarea, summary, [tabindex], [role=button]";
  const hasSibling = (at) => at.type === "radio" && [...walked.keys()].some((each) => each.name === at.name);
  const missed = [...dialog.querySelectorAll(natives)].filter((at) => isShown(at) && !at.disabled
    && !at.closest("[inert]") && !(at.tabIndex < 0) && !walked.has(at) && !hasSibling(at));
  const clickable = [...dialog.querySelectorAll("*")].filter((at) => isShown(at)
    && (at.onclick || getComputedStyle(at).cursor === "pointer")
    && !at.closest("a[href], button, input, select, textarea, summary, label, [tabindex]")
    && !at.querySelector("a[href], button, input, select, textarea, summary, [tabindex]"));
  return [...missed, ...clickable].map((at) => at.outerHTML.slice(0, 110));
}"""


def _comes_into_view(page: Any) -> bool:
    """Tell whether what is focused is where it can be seen, once the page has scrolled there."""
    last = ""
    for _ in range(50):
        place = page.evaluate("JSON.stringify(document.activeElement.getBoundingClientRect())")
        if place == last:
            break
        last = place
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return bool(page.evaluate(_FOCUSED)["isInView"])


def walk(page: Any, key: str = "Tab", most: int = 400) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the focused elements in their order, and what is wrong with them, over the whole page."""
    page.evaluate(_BEGIN, key == "Tab")
    visited: list[dict[str, Any]] = []
    faults: list[str] = []
    for _ in range(most):
        page.keyboard.press(key)
        found = page.evaluate(_FOCUSED)
        if found is None or (visited and found["key"] == visited[0]["key"]):
            break
        if visited and found["key"] == visited[-1]["key"]:
            continue
        if any(each["key"] == found["key"] for each in visited):
            faults.append(f"the walk turns back to {found['what']}")
            break
        visited.append(found)
        if not found["name"]:
            faults.append(f"no name: {found['what']}")
        if not found["ring"]:
            faults.append(f"no focus ring: {found['what']}")
        if not found["isInView"] and not _comes_into_view(page):
            faults.append(f"out of view: {found['what']}")
        if not found["hasPlace"]:
            faults.append(f"an order of its own: {found['what']}")
    else:
        faults.append(f"no end after {most} steps")
    faults += [f"out of reach: {what}" for what in page.evaluate(_MISSED)]
    return visited, faults
