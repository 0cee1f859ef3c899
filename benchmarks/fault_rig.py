"""A running service with all that looks at it: page, REST, metrics, OPC UA, webhook, audit log, exit code.

For ``fault_channels.py``. Each channel is looked at several times a second; what it says is kept where it
differs from what it said before.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

from georgia.monitor.opcua import NAMESPACE
from georgia.monitor.store import Store
from georgia.synthetic import render_frame

# A client that loses its connection says so at length.
logging.getLogger("asyncua").setLevel(logging.CRITICAL)

SIZE_PX = (240, 280)
SETTINGS = (
    *("poll_interval_s=0.1", "no_frames_s=600", "grace_s=0.3", "folder_away_after_s=1", "tile_px=120"),
    *("min_judged=2", "silent_after_s=3", "fouled_after=2"),
)
PATIENCE_S = 120.0
POLL_S = 0.2
# Before the command's own code: what the computer does otherwise.
RUN = "import sys\nfrom georgia.cli import main\nsys.exit(main(sys.argv[1:]))"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Timeline:
    """What one channel said, and when: only what differs from the last one is kept."""

    def __init__(self) -> None:
        self.said: list[tuple[float, str]] = []

    def note(self, text: str) -> None:
        """Take in what it says now."""
        if not self.said or self.said[-1][1] != text:
            self.said.append((time.monotonic(), text))

    def since(self, start: float) -> str:
        """Return what was said from a moment on, with seconds; "–" where nothing changed."""
        found = [f"{text}, {at - start:.1f} s" for at, text in list(self.said) if at >= start]
        return " → ".join(found) or "–"

    @property
    def now(self) -> str:
        """Return what it said last."""
        return self.said[-1][1] if self.said else ""


@dataclass
class Rig:
    """A folder, a store, and a service over them with all its observers."""

    root: Path
    db: str = ""
    prelude: str = ""
    settings: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None
    url: str = ""
    n: int = 0
    channels: dict[str, Timeline] = field(default_factory=dict)
    started_at: float = 0.0
    fault_at: float = 0.0
    note: str = ""
    entries: set[int] = field(default_factory=set)
    is_hanging: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Return where the probe writes."""
        return self.root / "probe"

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.db = self.db or str(self.root / "m.db")
        names = ("page", "health", "metrics", "opcua", "webhook", "log", "exit")
        self.channels = {name: Timeline() for name in names}

    def put(self, name: str = "", at_s: float | None = None) -> Path:
        """Write a frame under a name of its own and move it to its place."""
        self.n += 1
        pixels = render_frame(self.n, SIZE_PX, 0.05, 0.5).image[:, :, 0]
        path = self.folder / (name or f"f{self.n:04}.png")
        new = path.with_name(f".new{path.suffix}")
        Image.fromarray(pixels).save(new)
        if at_s is not None:
            os.utime(new, (at_s, at_s))
        new.rename(path)
        return path

    def start(self, waits: bool = True) -> None:
        """Start the service and what looks at it."""
        hook, opcua = self._receive(), f"opc.tcp://127.0.0.1:{free_port()}/georgia"
        changes = (*SETTINGS, f"webhook={hook}", f"opcua={opcua}", *self.settings)
        command = [sys.executable, "-c", self.prelude + RUN, "serve", "--watch", str(self.folder)]
        command += ["--db", self.db, "--port", "0", "--json"]
        command += [part for change in changes for part in ("--set", change)]
        self.started_at = time.monotonic()
        log = (self.root / "stderr").open("w")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        lines = iter(self.process.stdout.readline if self.process.stdout else str, "")
        text = "".join(itertools.takewhile(lambda line: line != "}\n", lines))
        if not text:  # it ended before it could be reached
            self.process.wait(PATIENCE_S)
            self._poll_exit()
            return
        self.url = str(json.loads(text + "}")["url"]).rstrip("/")
        for work in (self._poll_rest, self._poll_page, self._poll_opcua, self._poll_exit_often):
            self.threads.append(threading.Thread(target=work, args=(opcua,), daemon=True))
            self.threads[-1].start()
        if waits:
            self.wait(lambda: bool(self.channels["opcua"].now) and bool(self.channels["page"].now))

    def close(self) -> None:
        """End all."""
        self.stop.set()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.is_hanging.clear()
        for thread in self.threads:
            thread.join(20)

    def begin(self) -> None:
        """Note that the fault begins now."""
        self.fault_at = time.monotonic()

    def rest(self, seconds: float) -> None:
        """Let the observers look for a while."""
        self.stop.wait(seconds)

    def wait(self, is_so: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
        """Wait until something holds; return whether it came about."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            if is_so():
                return True
            time.sleep(0.05)
        return False

    def says(self, channel: str, text: str, now: bool = True) -> Callable[[], bool]:
        """Return a question whether a channel says something, now or at any time since the fault."""
        line = self.channels[channel]
        if now:
            return lambda: text in line.now
        return lambda: any(text in said for at, said in list(line.said) if at >= self.fault_at)

    def get(self, path: str) -> tuple[int, str]:
        """Return code and text of a route."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def frames(self) -> list[str]:
        """Return the files of all frames in the store."""
        store = Store(self.db)
        try:
            return [frame.file for frame in store.iter_frames()]
        finally:
            store.close()

    # What looks

    def _poll_rest(self, _: str) -> None:
        while not self.stop.wait(POLL_S):
            with contextlib.suppress(ValueError, KeyError):
                self._poll_once()

    def _poll_once(self) -> None:
        try:
            code, text = self.get("/api/health")
            self.channels["health"].note(f"{json.loads(text)['probe']['state']}, {code}")
            text = self.get("/metrics")[1]
            states = re.findall(r'georgia_state\{state="([^"]+)"\} 1\.0', text)
            missed = re.findall(r"georgia_missed_frames ([0-9.]+)", text)
            more = f", {missed[0]} missed" if missed and float(missed[0]) else ""
            self.channels["metrics"].note(", ".join(states) + more)
        except OSError as error:
            what = "connection refused" if "refused" in str(error) else "no response"
            self.channels["health"].note(what)
            self.channels["metrics"].note(what)
            return
        with contextlib.suppress(OSError):
            code, text = self.get("/api/trail?limit=40")
            for entry in reversed(json.loads(text)["entries"]) if code == 200 else ():
                self._note_entry(entry)

    def _note_entry(self, entry: dict[str, Any]) -> None:
        if entry["seq"] in self.entries:
            return
        self.entries.add(entry["seq"])
        detail = entry["detail"]
        text = f"{entry['action']}: {detail.get('outage') or detail.get('reason') or ''}".rstrip(": ")
        self.channels["log"].note(text)

    def _poll_page(self, _: str) -> None:
        from playwright.sync_api import sync_playwright

        path = shutil.which("chromium") or shutil.which("chromium-browser")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page()
            page.goto(self.url)
            script = """() => document.querySelector('#state .word').textContent
                + (document.querySelector('#fault').hidden ? ''
                    : '; “' + document.querySelector('#fault').textContent + '”')
                + (document.querySelector('#health').textContent.includes('written over')
                    ? '; ' + document.querySelector('#health').textContent : '')"""
            while not self.stop.is_set():
                self.channels["page"].note(str(page.evaluate(script)))
                page.wait_for_timeout(1000 * POLL_S)
            browser.close()

    def _poll_opcua(self, address: str) -> None:
        while not self.stop.is_set():
            try:
                asyncio.run(self._read_opcua(address))
            except Exception:
                self.channels["opcua"].note("no connection")
                self.stop.wait(POLL_S)

    async def _read_opcua(self, address: str) -> None:
        from asyncua import Client

        async with Client(address, timeout=4) as client:
            space = await client.get_namespace_index(NAMESPACE)
            probe = await client.nodes.objects.get_child([f"{space}:Probe"])
            state, fraction = [await probe.get_child([f"{space}:{name}"]) for name in ("State", "Fraction")]
            while not self.stop.is_set():
                shown = await fraction.read_data_value(raise_on_bad_status=False)
                quality = shown.StatusCode.name if shown.StatusCode else ""
                text = str(await state.read_value())
                word = re.match("Good|Uncertain|Bad", quality)
                self.channels["opcua"].note(f"{text}, {word[0].lower() if word else quality}")
                await asyncio.sleep(POLL_S)

    def _poll_exit(self) -> None:
        if self.process is not None and self.process.poll() is not None:
            self.channels["exit"].note(str(self.process.returncode))

    def _poll_exit_often(self, _: str) -> None:
        while not self.stop.wait(POLL_S):
            self._poll_exit()

    def _receive(self) -> str:
        line, is_hanging = self.channels["webhook"], self.is_hanging

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                while is_hanging.is_set():
                    time.sleep(0.1)
                told = body.get("outage") or body.get("alarm") or {}
                name = told.get("outage") or told.get("kind") or ""
                line.note(f"{body.get('change') or told.get('change')}: {name}".rstrip(": "))
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/hook"
