"""What each channel of a running service says of a fault, and after how many seconds.

Real processes: ``georgia serve --watch`` with the bundled model, the page in Chromium, an OPC UA client, a
receiver of webhooks, REST, metrics and the audit log (``fault_rig.py``). The row of a fault holds, for each
channel, what it said one after another from the moment of the fault on.

    python benchmarks/fault_channels.py --out channels.json
    python benchmarks/fault_channels.py --only disk_full store_locked

Mounting (a small disk, a network folder that goes away) needs root; chromium is found by its name.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from fault_rig import PATIENCE_S, SIZE_PX, Rig
from PIL import Image

from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store
from georgia.synthetic import render_frame

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers.postgres import PostgresServer, has_postgres

# Before the command's own code: what the computer does otherwise.
SLOW_STAT = """
import os, time
class Slow:
    def __init__(self, entry): self.entry = entry
    def __getattr__(self, name): return getattr(self.entry, name)
    def stat(self):
        time.sleep(2)
        return self.entry.stat()
real = os.scandir
class Scan:
    def __init__(self, found): self.found = found
    def __enter__(self): return self
    def __exit__(self, *_): self.found.close()
    def __iter__(self): return map(Slow, self.found)
os.scandir = lambda path=".": Scan(real(path)) if str(path).rstrip("/").endswith("probe") else real(path)
"""
CLOCK = "import time\nreal = time.time\ntime.time = lambda: real() + {days} * 86400\n"


def warm(rig: Rig, n: int = 2) -> None:
    """Start, and let some frames be analysed."""
    rig.start()
    for _ in range(n):
        rig.put()
        rig.rest(0.3)
    rig.wait(lambda: len(rig.frames()) >= n)
    rig.rest(1.0)


def write_until(rig: Rig, is_so: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
    """Write a frame a second until something holds."""
    end = time.monotonic() + patience_s
    while not is_so() and time.monotonic() < end:
        rig.put()
        rig.wait(is_so, 1.0)
    return is_so()


def settle(rig: Rig) -> None:
    """Wait until the probe runs again and all frames are stored; note whether any was lost or doubled."""
    rig.wait(rig.says("health", "running"))
    with contextlib.suppress(Exception):
        rig.wait(lambda: len(set(rig.frames())) >= rig.n, 60)
        files = rig.frames()
        store = Store(rig.db)
        whole = verify_store(store).is_whole
        store.close()
        lost, doubled = rig.n - len(set(files)), len(files) - len(set(files))
        rig.note = (
            f"{rig.n} frames, {lost} lost, {doubled} doubled, record {'whole' if whole else 'NOT whole'}"
        )
    rig.rest(1.5)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mount a small disk at a folder."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def disk_full(rig: Rig) -> None:
    """The store's disk is full, then has room again."""
    with small_disk(rig.root / "disk", "8m"):
        rig.db = str(rig.root / "disk" / "m.db")
        warm(rig)
        rig.begin()
        with contextlib.suppress(OSError), (rig.root / "disk" / "filler").open("ab", buffering=0) as stream:
            for size in (65_536, 4096, 512, 1):
                with contextlib.suppress(OSError):
                    while stream.write(b"x" * size):
                        pass
        write_until(rig, rig.says("page", "store away"))
        rig.rest(2)
        (rig.root / "disk" / "filler").unlink()
        settle(rig)


def store_locked(rig: Rig) -> None:
    """Another program locks SQLite for 15 s."""
    warm(rig)
    rig.begin()
    other = sqlite3.connect(rig.db)
    other.execute("BEGIN EXCLUSIVE")
    write_until(rig, rig.says("page", "store away"), 40)
    rig.rest(2)
    other.rollback()
    other.close()
    settle(rig)


def store_read_only(rig: Rig) -> None:
    """The files of the store become read-only (chattr +i), and are writable again."""
    warm(rig)
    files = [rig.db, rig.db + "-wal"]
    rig.begin()
    subprocess.run(["chattr", "+i", *files], check=True)
    try:
        write_until(rig, rig.says("page", "store away"), 40)
        rig.rest(2)
    finally:
        subprocess.run(["chattr", "-i", *files], check=True)
    settle(rig)


def store_read_only_at_start(rig: Rig) -> None:
    """The store lies on a disk that is mounted read-only at the start."""
    with small_disk(rig.root / "disk", "20m"):
        rig.db = str(rig.root / "disk" / "m.db")
        Store(rig.db).close()
        subprocess.run(["mount", "-o", "remount,ro", str(rig.root / "disk")], check=True)
        rig.put()
        rig.begin()
        rig.start()
        if rig.channels["exit"].now:
            return
        rig.wait(rig.says("page", "store away"), 40)
        rig.rest(2)
        subprocess.run(["mount", "-o", "remount,rw", str(rig.root / "disk")], check=True)
        settle(rig)


Change = Callable[[PostgresServer], None]


def with_postgres(rig: Rig, begin: Change, end: Change) -> None:
    """Do something to a PostgreSQL server, and undo it."""
    server = PostgresServer()
    try:
        rig.db = server.url
        warm(rig)
        rig.begin()
        begin(server)
        write_until(rig, rig.says("page", "store away"), 40)
        rig.rest(2)
        end(server)
        settle(rig)
    finally:
        rig.close()
        server.close()


def set_read_only(server: PostgresServer, is_so: bool) -> None:
    """Let PostgreSQL forbid writing to all, or allow it."""
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if is_so else 'off'}")
        connection.execute("SELECT pg_reload_conf()")


def postgres_read_only(rig: Rig) -> None:
    """PostgreSQL forbids writing, then allows it."""
    with_postgres(
        rig, lambda server: set_read_only(server, True), lambda server: set_read_only(server, False)
    )


def postgres_stopped(rig: Rig) -> None:
    """PostgreSQL is stopped in the middle of things, and started."""
    with_postgres(rig, PostgresServer.stop, PostgresServer.start)


def folder_unmounted(rig: Rig) -> None:
    """The network folder is not mounted any more, and its mount point is empty."""
    with small_disk(rig.folder, "20m"):
        warm(rig)
        rig.begin()
        subprocess.run(["umount", "-l", str(rig.folder)], check=True)
        rig.wait(rig.says("page", "folder away"), 40)
        rig.rest(2)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(rig.folder)], check=True)
        rig.put()
        settle(rig)


def folder_copied_back(rig: Rig) -> None:
    """The network folder comes back from a copy: the same files with other inodes, and one more."""
    warm(rig, 12)
    rig.begin()
    rig.folder.rename(rig.root / "away")
    rig.wait(rig.says("page", "folder away"), 40)
    rig.rest(1)
    shutil.copytree(rig.root / "away", rig.folder)
    rig.put()
    settle(rig)


def folder_read_only(rig: Rig) -> None:
    """The network folder can only be read here, while the instrument writes into it."""
    behind = rig.root / "behind"
    behind.mkdir()
    place = str(rig.folder)
    subprocess.run(["mount", "--bind", str(behind), place], check=True)
    try:
        warm(rig)
        rig.begin()
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        for _ in range(3):
            image = render_frame(100 + rig.n, SIZE_PX, 0.05, 0.5).image[:, :, 0]
            rig.n += 1
            Image.fromarray(image).save(behind / f"f{rig.n:04}.png")
            rig.rest(0.5)
        settle(rig)
    finally:
        subprocess.run(["umount", "-l", place], check=False, capture_output=True)


def folder_renamed(rig: Rig) -> None:
    """The folder is renamed and made anew at once, then replaced by a link to another one."""
    warm(rig)
    rig.begin()
    rig.folder.rename(rig.root / "old")
    rig.folder.mkdir()
    rig.put()
    rig.rest(2)
    rig.folder.rename(rig.root / "second")
    (rig.root / "third").mkdir()
    rig.folder.symlink_to(rig.root / "third")
    rig.put()
    settle(rig)


def slow_folder(rig: Rig) -> None:
    """Each look at a file takes 2 s, with twelve new files."""
    rig.prelude = SLOW_STAT
    for _ in range(12):
        rig.put()
    rig.begin()
    rig.start()
    rig.wait(lambda: len(rig.frames()) >= 12, 150)
    settle(rig)


def many_files(rig: Rig) -> None:
    """20,000 files lie in the folder at the start."""
    data = rig.put().read_bytes()
    for number in range(20_000):
        (rig.folder / f"g{number:06}.png").write_bytes(data + number.to_bytes(4, "big"))
    rig.begin()
    rig.start()
    rig.wait(lambda: len(rig.frames()) >= 1)
    rig.rest(4)
    waiting = json.loads(rig.get("/api/health")[1])["probe"]["n_waiting"]
    rig.note = f"{waiting:,} waiting"


def same_time(rig: Rig) -> None:
    """Five frames of one time come at once."""
    warm(rig)
    rig.begin()
    at_s = time.time()
    written = [rig.put(f".x{name}.png", at_s) for name in ("e", "a", "d", "b", "c")]
    for path in written:
        path.rename(path.with_name(path.name[1:]))
    settle(rig)
    rig.note += f"; in the order {' '.join(file[1] for file in rig.frames()[2:])}"


def store_stops(rig: Rig) -> None:
    """SIGTERM once the number of threads was chosen."""
    warm(rig, 6)
    rig.begin()
    if rig.process is not None:
        rig.process.terminate()
    rig.wait(lambda: rig.process is not None and rig.process.poll() is not None)
    rig.rest(7)


def clock_ahead(rig: Rig) -> None:
    """The clock is 400 days ahead at the start, and frames of more than 30 days are to be removed."""
    _start_with_clock(rig, 400, "keep_frames_days=30", "keep_maps_days=30")


def clock_behind(rig: Rig) -> None:
    """The clock is 400 days behind the record at the start."""
    _start_with_clock(rig, -400)


def _start_with_clock(rig: Rig, days: int, *settings: str) -> None:
    warm(rig)
    rig.close()
    before = Rig(rig.root, rig.db, n=rig.n)
    rig.__dict__.update(before.__dict__)
    rig.prelude, rig.settings = CLOCK.format(days=days), settings
    rig.begin()
    rig.start()
    rig.rest(2)
    rig.put(at_s=time.time() + days * 86400)
    settle(rig)


def hook_hangs(rig: Rig) -> None:
    """The receiver of webhooks accepts and never responds: an outage is to be told meanwhile."""
    warm(rig)
    rig.is_hanging.set()
    rig.begin()
    rig.folder.rename(rig.root / "away")
    rig.rest(2)
    (rig.root / "away").rename(rig.folder)
    rig.put()
    rig.wait(rig.says("log", "receiver away", now=False), 60)
    rig.is_hanging.clear()
    settle(rig)


def deep(rig: Rig, bits: int) -> None:
    """Frames of 16 bits come after those of 8, so many of them in use."""
    warm(rig)
    rig.begin()
    for _ in range(3):
        rig.n += 1
        pixels = render_frame(rig.n, SIZE_PX, 0.05, 0.5).image[:, :, 0].astype(np.uint16)
        new = rig.folder / ".new.png"
        Image.fromarray(pixels << (bits - 8)).save(new)
        new.rename(rig.folder / f"f{rig.n:04}.png")
        rig.rest(0.5)
    rig.wait(rig.says("log", "mixed frames", now=False), 30)
    settle(rig)


def deep_12(rig: Rig) -> None:
    """Frames of 16 bits after 8, 12 of them in use."""
    deep(rig, 12)


def deep_16(rig: Rig) -> None:
    """Frames of 16 bits after 8, all of them in use."""
    deep(rig, 16)


def latest(rig: Rig, name: str, moves: bool, ticks: bool = False) -> None:
    """Write a name over 100 times at 5 Hz."""
    warm(rig)
    rig.begin()
    path = rig.folder / name
    frames = [render_frame(500 + number, SIZE_PX, 0.05, 0.5).image[:, :, 0] for number in range(10)]
    end = time.monotonic()
    for number in range(100):
        pixels = frames[number % 10].copy()
        pixels[0, :8] = number
        place = path.with_name(f".new{path.suffix}") if moves else path
        Image.fromarray(pixels).save(place)
        if ticks:
            seconds = 2 * int(time.time() / 2)
            os.utime(place, (seconds, seconds))
        if moves:
            place.rename(path)
        end += 0.2
        time.sleep(max(0.0, end - time.monotonic()))
    rig.rest(1.0)
    n_missed = json.loads(rig.get("/api/health")[1])["probe"]["n_missed"]
    rig.rest(13)
    n_read = sum(file == name for file in rig.frames())
    rig.note = f"100 written, {n_read} read, {100 - n_read} missed: told as at least {n_missed}"


def latest_moved(rig: Rig) -> None:
    """``latest.png`` is moved over at 5 Hz for 20 s."""
    latest(rig, "latest.png", moves=True)


def latest_moved_ticks(rig: Rig) -> None:
    """The same with a BMP of one size, and times of 2 s."""
    latest(rig, "latest.bmp", moves=True, ticks=True)


def latest_in_place(rig: Rig) -> None:
    """``latest.bmp`` is written in place at 5 Hz for 20 s."""
    latest(rig, "latest.bmp", moves=False)


FAULTS: tuple[Callable[[Rig], None], ...] = (
    *(disk_full, store_locked, store_read_only, store_read_only_at_start, postgres_read_only),
    *(postgres_stopped, folder_unmounted, folder_copied_back, folder_read_only, folder_renamed, slow_folder),
    *(many_files, same_time, store_stops, clock_ahead, clock_behind, hook_hangs, deep_12, deep_16),
    *(latest_moved, latest_moved_ticks, latest_in_place),
)


def run(fault: Callable[[Rig], None]) -> dict[str, str]:
    """Run one fault; return its row."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as root:
        rig = Rig(Path(root))
        try:
            fault(rig)
        finally:
            rig.close()
        said = {name: line.since(rig.fault_at) for name, line in rig.channels.items()}
        return {"name": fault.__name__, "fault": (fault.__doc__ or "").strip(), **said, "note": rig.note}


def main() -> None:
    """Run the faults, print a row of each, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=[fault.__name__ for fault in FAULTS])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for fault in FAULTS:
        if options.only and fault.__name__ not in options.only:
            continue
        if fault.__name__.startswith("postgres") and not has_postgres():
            continue
        rows.append(run(fault))
        print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
        if options.out is not None:
            options.out.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
