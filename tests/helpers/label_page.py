"""What the tests of the labelling page have in common: crops, an open session over them, a process."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.helpers.patience import PATIENCE_S
from tests.helpers.ports import free_port

from georgia.label.even import EvenChooser
from georgia.label.journal import Journal
from georgia.label.records import Item, Pool, PoolKind
from georgia.label.session import LabelSession
from georgia.label.settings import LabelConfig
from georgia.label.sources import read_pool
from georgia.monitor.store import Store
from georgia.web.config import ServeConfig
from georgia.web.label_app import PageHooks, make_label_config, open_label_page

TOKEN = "a-token-of-the-tests-0123456789"
CLASSES = ("CEX", "PG")
KEYS = {"CEX": "1", "PG": "2"}

# In the browser: the path of the next crop, once it is shown and keys count for it.
_READY = """(before) => {
  const stage = document.getElementById("stage");
  const isReady = document.body.dataset.mode === "ready" && stage.ariaBusy === "false";
  return isReady && stage.dataset.path && stage.dataset.path !== before ? stage.dataset.path : false;
}"""
# Keeps the time from each key to the next crop on the screen, ms.
_MEASURE = """() => {
  window.waits = [];
  let pressed = 0;
  addEventListener("keydown", (event) => (pressed = event.timeStamp), true);
  document.getElementById("stage").addEventListener("shown", () => {
    if (!pressed) return;
    const from = pressed;
    pressed = 0;
    const painted = new MessageChannel();
    painted.port1.onmessage = () => window.waits.push(performance.now() - from);
    requestAnimationFrame(() => painted.port2.postMessage(0));
  });
}"""


def write_crops(folder: Path, n: int, side: int = 96) -> None:
    """Write ``n`` crops: a bright disc (PG, even numbers) or a bar (CEX) on noise."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:side, :side] - side / 2
    for number in range(n):
        rng = np.random.default_rng(number)
        pixels = rng.integers(40, 90, (side, side))
        is_disc = number % 2 == 0
        shape = rows**2 + columns**2 < (side / 4) ** 2 if is_disc else np.abs(rows + columns) < side / 12
        pixels[shape] = 200
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"crop {number:03d}.png")


def make_pool(folder: Path) -> Pool:
    """Return a pool of the crops in a folder, without a search for near-duplicates."""
    items = tuple(Item(path.name, path) for path in sorted(folder.glob("*.png")))
    return Pool(folder, items, PoolKind.CROPS)


@contextmanager
def open_session(folder: Path, out: Path, pool: Pool | None = None) -> Iterator[LabelSession]:
    """Open a session over the crops in a folder, and close it."""
    journal = Journal(out)
    try:
        journal.set_classes(CLASSES, "tests")
        chosen = pool or make_pool(folder)
        session = LabelSession(
            chosen,
            journal,
            EvenChooser(chosen, 42),
            lambda by_class: {name: max(0, 5 - number) for name, number in by_class.items()},
        )
        try:
            yield session
        finally:
            session.close()
    finally:
        journal.close()


def truth(path: str) -> str:
    """Return what a crop of ``write_crops`` shows."""
    return "PG" if int(path.split()[1][:3]) % 2 == 0 else "CEX"


def names_on_disk(out: Path) -> list[tuple[str, str]]:
    """Return path and name of every name line of the journal, in order."""
    lines = out.with_name(out.name + ".journal").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return [(entry["path"], entry["name"]) for entry in entries if entry["kind"] == "name"]


class Labeller:
    """A person at one page of a browser: waits for a crop, presses a key."""

    def __init__(self, page: Any) -> None:
        self.page, self.path = page, ""

    def wait(self) -> str:
        """Return the next crop, once keys count for it."""
        self.path = self.page.wait_for_function(_READY, arg=self.path).json_value()
        return self.path

    def press(self, key: str) -> str:
        """Press a key at the next crop; return the crop."""
        path = self.wait()
        self.page.keyboard.press(key)
        return path

    def measure(self) -> None:
        """Keep times from now on, in ``waits_ms``."""
        self.page.evaluate(_MEASURE)

    def waits_ms(self) -> list[float]:
        """Return the times from a key to the next crop on the screen, in order."""
        return list(self.page.evaluate("window.waits"))


@contextmanager
def serve_page(
    session: LabelSession, who: str = "", people: Store | None = None, config: ServeConfig | None = None
) -> Iterator[str]:
    """Serve a page of a session in a thread; yield its address with the token."""
    started: queue.Queue[str] = queue.Queue()
    server = open_label_page(
        config or make_label_config(token=TOKEN), session, who, PageHooks(started.put), people=people
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"{started.get(timeout=PATIENCE_S)}#token={TOKEN}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)


class PageProcess:
    """A labelling page in a process of its own, which a test may kill and start again at the same address."""

    def __init__(self, folder: Path, out: Path, is_cut: bool = False) -> None:
        self.folder, self.out, self.port, self.url = folder, out, free_port(), ""
        self._kind = "frames" if is_cut else "crops"
        self.process: subprocess.Popen[str] | None = None

    def start(self, token: str = TOKEN) -> None:
        """Start it and wait for its address."""
        command = [sys.executable, "-m", __name__, str(self.folder), str(self.out), str(self.port), token]
        command.append(self._kind)
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
        assert self.process.stdout is not None
        address = self.process.stdout.readline().strip()
        assert address, "the page did not start"
        self.url = f"{address}#token={token}"

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


def _serve(folder: str, out: str, port: str, token: str, kind: str) -> None:
    pool = None if kind == "crops" else read_pool(Path(folder), LabelConfig())
    with open_session(Path(folder), Path(out), pool) as session:
        config = make_label_config(int(port), token)
        open_label_page(config, session, hooks=PageHooks(lambda address: print(address, flush=True))).run()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
