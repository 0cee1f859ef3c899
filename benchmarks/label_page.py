"""How long a key of the labelling page takes: from the key to the next crop on the screen, in real Chromium.

Synthetic crops, or windows of synthetic frames, are named by Playwright, one key each; the program is killed
with a name on its way and started again. Then every crop must have the name that was given, once. Printed:
median and 95th percentile, with and without the kills, and what the journal says. ``--training`` has a model
trained from the page meanwhile, again and again.

    python benchmarks/label_page.py
    python benchmarks/label_page.py --training
    python benchmarks/label_page.py --frames
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

KILLS = (70, 140)
# Between two keys while a model is trained, ms.
PAUSE_MS = 150


def main() -> int:
    """Measure, print, and return 1 where a name was lost or given twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--frames", action="store_true", help="windows of frames in place of crops")
    parser.add_argument("--no-kills", action="store_true")
    parser.add_argument("--training", action="store_true", help="train meanwhile, without kills")
    arguments = parser.parse_args()
    from tests.helpers import label_page as helpers

    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "source", Path(folder) / "labels.csv"
        if arguments.frames:
            write_frames(source)
        else:
            helpers.write_crops(source, arguments.keys, 200)
        served = helpers.PageProcess(source, out, is_cut=arguments.frames)
        try:
            served.start()
            kills = () if arguments.no_kills or arguments.training else KILLS
            given, waits = label(served, arguments.keys, kills, arguments.training)
        finally:
            served.kill()
        kept = helpers.names_on_disk(out)
        print(json.dumps(summarize(given, kept, waits), indent=1))
        return 0 if sorted(kept) == sorted(given.items()) else 1


def write_frames(folder: Path) -> None:
    """Render frames with some 40 windows each."""
    from georgia.synthetic.simulate import SimulateConfig, simulate_batch

    simulate_batch(folder, SimulateConfig(frames=12, every_s=0))


def label(
    served: Any, n_keys: int, kills: tuple[int, ...], is_training: bool = False
) -> tuple[dict[str, str], list[float]]:
    """Name ``n_keys`` crops; return the names, and the times from key to next crop, ms.

    ``is_training`` counts the keys alone that were pressed while a model was trained.
    """
    from playwright.sync_api import sync_playwright
    from tests.helpers import label_page as helpers

    given: dict[str, str] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        context = browser.new_context(viewport={"width": 1100, "height": 800})
        context.add_init_script("localStorage.setItem('georgia-name', 'Ann')")
        page = context.new_page()
        page.goto(served.url)
        labeller = helpers.Labeller(page)
        labeller.wait()
        labeller.measure()
        labeller.path = ""
        busy = []
        for number in range(n_keys):
            path = labeller.wait()
            given[path] = tuple(helpers.KEYS)[number % 2]
            if is_training:
                busy.append(keep_training(page))
                # As a person does: the training is to take longer than the naming.
                page.wait_for_timeout(PAUSE_MS)
            page.keyboard.press(helpers.KEYS[given[path]])
            if number in kills:
                served.kill()
                served.start()
        page.wait_for_selector("body[data-mode=ready]")
        waits = labeller.waits_ms()
        stage = page.locator("#train-stage").inner_text()
        browser.close()
    if is_training:
        print(f"training at the end: {stage}")
        waits = [wait for wait, is_busy in zip(waits, busy, strict=False) if is_busy]
        print(f"{sum(busy)} of {len(busy)} keys while a model was trained")
    return given, waits


def keep_training(page: Any) -> bool:
    """Tell whether a model is trained at this moment; begin where none is and one can be."""
    button = page.locator("#train-start")
    if button.is_visible() and button.is_enabled():
        button.click()
        page.locator("#stage").focus()
    return bool(page.locator("#train-stop").is_visible())


def summarize(given: dict[str, str], kept: list[tuple[str, str]], waits: list[float]) -> dict[str, Any]:
    """Return what is printed."""
    return {
        "processor": read_processor(),
        "keys": len(given),
        "median_ms": round(float(np.median(waits)), 1),
        "p95_ms": round(float(np.quantile(waits, 0.95)), 1),
        "longest_ms": round(max(waits)),
        "names_on_disk": len(kept),
        "lost": len(set(given.items()) - set(kept)),
        "twice": len(kept) - len(set(kept)),
    }


def read_processor() -> str:
    """Return the processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    sys.exit(main())
