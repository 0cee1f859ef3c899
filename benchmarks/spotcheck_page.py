"""From a key to the next window: a real browser names windows of a batch on the monitor's page.

The batch has synthetic frames and a net's probabilities at random; what is measured does not depend on them.
A window counts as shown when its image is decoded and in the page; the name before it is then in the store.

    python benchmarks/spotcheck_page.py --names 200
"""

from __future__ import annotations

import argparse
import queue
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from georgia.model.load import load_bundled_model
from georgia.monitor.result import FileKey, FrameResult, FrameStatus, State, TileMap
from georgia.monitor.settings import TileConfig
from georgia.monitor.store import Store
from georgia.monitor.tile import place_windows
from georgia.records import hash_file
from georgia.synthetic import render_frame
from georgia.web.config import ServeConfig, make_token
from georgia.web.serve import open_service

SHAPE, TILE_PX = (1000, 1112), 168


def fill_store(folder: Path, n_frames: int) -> Store:
    """Write a batch of rendered frames whose windows have probabilities at random."""
    store = Store(str(folder / "batch.db"))
    batch = store.begin_batch("probe", "benchmark", "benchmark", "PG", "benchmark")
    boxes = np.asarray(place_windows(*SHAPE, TILE_PX, TileConfig().overlap), np.int32)
    rng = np.random.default_rng(1)
    for number in range(n_frames):
        path = folder / f"f{number}.png"
        Image.fromarray(render_frame(number, SHAPE).image).save(path)
        values = rng.beta(0.3, 2.0, len(boxes)).astype(np.float16)
        found = np.stack([1 - values, values], axis=1)
        tiles = TileMap(SHAPE[1], SHAPE[0], ("CEX", "PG"), boxes, (values > 0.5).astype(np.int8), found)
        key = FileKey(path.name, path.stat().st_size, number, hash_file(path))
        status = (FrameStatus.ANALYSED, State.IN_CONTROL, False, "PG")
        result = FrameResult(key, 1000.0 + number, "file", *status, batch_id=batch.id, map=tiles)
        store.record_frame(result, "probe", "{}")
    return store


def name_windows(page: Page, n: int) -> list[float]:
    """Press one key for each window; return the seconds from each key to the next window."""
    times = []
    for position in range(1, n + 1):
        page.wait_for_selector(f'#spotcheck-image[data-position="{position}"]')
        page.wait_for_timeout(150)
        started = time.perf_counter()
        page.keyboard.press("12"[position % 2])
        page.wait_for_selector(f'#spotcheck-image[data-position="{position + 1}"]')
        times.append(time.perf_counter() - started)
    return times


def main() -> None:
    """Print the median, the 95th percentile and the longest time, ms."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--names", type=int, default=200)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, started = Path(name), queue.Queue[str]()
        store = fill_store(folder, asked.frames)
        config = ServeConfig(token=make_token(), port=0, frames=folder)
        server = open_service(config, load_bundled_model(), store, on_start=started.put)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=asked.chromium, args=["--no-sandbox"])
                page = browser.new_page()
                page.goto(f"{started.get(timeout=60)}#token={config.token}")
                page.locator("#spotcheck-plan [name=who]").fill("benchmark")
                page.locator("#spotcheck-plan [name=n]").fill(str(asked.names + 1))
                page.locator("#spotcheck-plan button").click()
                times = sorted(1000 * seconds for seconds in name_windows(page, asked.names))
                browser.close()
        finally:
            server.should_exit = True
            thread.join(20)
            store.close()
    late = times[int(0.95 * len(times))]
    print(
        f"{len(times)} names: median {median(times):.0f} ms, 95 % {late:.0f} ms, longest {times[-1]:.0f} ms"
    )


if __name__ == "__main__":
    main()
