"""In a browser: which texts of a page have too little contrast to what is behind them."""

from __future__ import annotations

from typing import Any

# WCAG 2.2, success criterion 1.4.3: 4.5, and 3 for large text. A text's opacity counts; images behind do not.
# Signs that are not read out, and what cannot be used now, are no text in that sense.
_FIND = r"""
() => {
  const read = (text) => {
    const [red, green, blue, alpha = 1] = (text.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
    return [red, green, blue, alpha];
  };
  const over = (front, back) => [0, 1, 2].map((at) => front[at] * front[3] + back[at] * (1 - front[3]));
  const light = (color) => {
    const parts = color.slice(0, 3).map((value) => value / 255)
      .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const ancestors = (node) => (node ? [...ancestors(node.parentElement), node] : []);
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.textContent.trim();
    const holder = texts.currentNode.parentElement;
    if (!text || ["SCRIPT", "STYLE", "OPTION", "NOSCRIPT"].includes(holder.tagName)) continue;
    if (!holder.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (holder.closest("[aria-hidden=true], :disabled")) continue;
    let back = [255, 255, 255], opacity = 1;
    for (const each of ancestors(holder)) {
      const style = getComputedStyle(each);
      back = over(read(style.backgroundColor), back);
      opacity *= Number(style.opacity);
    }
    const style = getComputedStyle(holder);
    const color = read(style.color);
    const shown = over([...color.slice(0, 3), color[3] * opacity], back);
    const [low, high] = [light(shown), light(back)].sort((a, b) => a - b);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < least) found.push(`${contrast.toFixed(2)} ${holder.tagName} ${text.slice(0, 40)}`);
  }
  return found;
}
"""


def find_faint_texts(page: Any) -> list[str]:
    """Return the texts of a page that are too faint, each with its contrast."""
    return list(page.evaluate(_FIND))
