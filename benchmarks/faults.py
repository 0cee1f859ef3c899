"""Frames that a monitor loses or counts twice when things go wrong, fault by fault.

The loop, the store and the folder are the real ones; an analyzer that measures brightness replaces the net,
so that many frames and many kills fit into minutes.

    python benchmarks/faults.py --kills 60 --out faults.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig, TileConfig
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers.monitor import BrightnessAnalyzer, running, write_frame
from tests.helpers.postgres import PostgresServer, has_postgres

PATIENCE_S = 120.0
# Longer than two polls: a file that stops so long seems finished.
PAUSE_S = 0.2


@dataclass(frozen=True)
class Row:
    """One fault: frames that were written, and what became of them.

    ``left_out`` counts files in the ledger that are no frames: unreadable, or known under another name.
    """

    fault: str
    n_faults: int
    written: int
    stored: int
    lost: int
    doubled: int
    left_out: int
    whole: bool
    note: str = ""


def make_config(folder: Path) -> MonitorConfig:
    """Return settings that poll often and analyse every frame."""
    tiles = TileConfig(min_judged=1)
    return MonitorConfig(
        watch=folder, poll_interval_s=0.05, grace_s=1.0, source="probe", batch="B", tiles=tiles
    )


def count(store: Store, names: set[str], fault: str, n_faults: int, note: str = "") -> Row:
    """Compare what was written with what the store holds, by the frames' names."""
    stored = [frame.file for frame in store.iter_frames()]
    ordinals = [frame.ordinal for frame in store.iter_frames()]
    base = {Path(file).stem.removesuffix("-moved") for file in stored}
    lost = len({Path(name).stem for name in names} - base)
    doubled = len(stored) - len(base)
    left_out = len(store.known_files("probe")) - len(stored)
    whole = verify_store(store).is_whole and ordinals == list(range(1, len(stored) + 1))
    return Row(fault, n_faults, len(names), len(stored), lost, doubled, left_out, whole, note)


@contextlib.contextmanager
def watching(folder: Path, store: Store) -> Iterator[Monitor]:
    """Run a monitor on a folder while the block runs, until all it holds is written."""
    with running(Monitor(BrightnessAnalyzer(), make_config(folder), store), PATIENCE_S) as monitor:
        yield monitor


def wait_for(is_so: Callable[[], bool]) -> bool:
    """Wait until something holds; return whether it came about."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with contextlib.suppress(ConnectionError):
            if is_so():
                return True
        time.sleep(0.05)
    return False


def kill(root: Path, n_kills: int, seed: int = 1) -> Row:
    """Kill -9 the monitor's process at random moments, starting with its very first imports."""
    rng = random.Random(seed)
    folder, db = root / "probe", root / "store.db"
    folder.mkdir()
    names: set[str] = set()
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            name = f"f{len(names):05d}.png"
            path = write_frame(folder / name, len(names) % 9, seed=len(names))
            names.add(name)
            if rng.random() < 0.1:
                path.rename(folder / f"{path.stem}-moved.png")
            time.sleep(0.03)

    writer = threading.Thread(target=write)
    writer.start()
    command = [sys.executable, __file__, "--child", str(folder), "--db", str(db)]
    n_done, n_mid = 0, 0
    for _ in range(n_kills):
        before = folder_frames(db)
        process = subprocess.Popen(command, start_new_session=True)
        wait_until_started(process, db, before, rng)
        process.send_signal(signal.SIGKILL)
        process.wait()
        n_done += 1
        n_mid += folder_frames(db) > before
    stop.set()
    writer.join()
    subprocess.run([*command, "--once"], check=True, timeout=600)
    store = Store(str(db))
    row = count(store, names, "kill -9", n_done, f"{n_mid} of them while frames were being written")
    store.close()
    return row


def folder_frames(db: Path) -> int:
    """Return how many frames a store holds; 0 before there is one."""
    if not db.is_file():
        return 0
    store = Store(str(db))
    try:
        return store.count_frames()
    finally:
        store.close()


def wait_until_started(process: subprocess.Popen[bytes], db: Path, before: int, rng: random.Random) -> None:
    """Wait a random while: for one kill in five during the start, else after its first frames."""
    if rng.random() < 0.2:
        time.sleep(rng.uniform(0.0, 2.0))
        return
    end = time.monotonic() + 20
    while folder_frames(db) == before and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    time.sleep(rng.uniform(0.0, 0.6))


def folder_away(root: Path) -> Row:
    """Take the folder away five times while frames are written to it."""
    folder, away, store = root / "probe", root / "away", Store(str(root / "store.db"))
    folder.mkdir()
    names = set()
    with watching(folder, store):
        for n in range(100):
            place = away if away.exists() else folder
            name = write_frame(place / f"f{n:03d}.png", n % 9, seed=n).name
            names.add(name)
            if n % 20 == 5:
                folder.rename(away)
            if n % 20 == 15:
                time.sleep(0.2)
                away.rename(folder)
            time.sleep(0.02)
        wait_for(lambda: store.count_frames() >= len(names))
    return count(store, names, "folder away", 5)


def half_written(root: Path) -> Row:
    """Write frames in pieces under their final name, with pauses that look like the end."""
    folder, store = root / "probe", Store(str(root / "store.db"))
    folder.mkdir()
    names = set()
    with watching(folder, store):
        for n in range(25):
            data = write_frame(root / "whole.png", n % 9, seed=n).read_bytes()
            path = folder / f"f{n:03d}.png"
            names.add(path.name)
            with path.open("wb") as stream:
                for part in range(4):
                    cut = len(data) // 4
                    stream.write(data[part * cut : (part + 1) * cut if part < 3 else None])
                    stream.flush()
                    time.sleep(PAUSE_S)
        wait_for(lambda: store.count_frames() >= len(names))
    return count(
        store, names, "half-written files", 75, f"{PAUSE_S} s between the pieces, a poll each 0.05 s"
    )


def garbage(root: Path) -> Row:
    """Mix frames with empty, cut, foreign and random files that are called images."""
    folder, store = root / "probe", Store(str(root / "store.db"))
    folder.mkdir()
    names, rng = set(), random.Random(2)
    with watching(folder, store):
        for n in range(60):
            names.add(write_frame(folder / f"f{n:03d}.png", n % 9, seed=n).name)
            whole = (folder / f"f{n:03d}.png").read_bytes()
            waste = (b"", whole[: rng.randrange(8, len(whole) - 20)], b"no image", rng.randbytes(500))[n % 4]
            (folder / f"waste{n:03d}.png").write_bytes(waste)
        wait_for(lambda: len(store.known_files("probe")) >= 2 * len(names))
    return count(store, names, "garbage files", 60)


def burst(root: Path) -> Row:
    """Give 400 frames at once, with times of change years apart, and rename some while they are read."""
    folder, store = root / "probe", Store(str(root / "store.db"))
    folder.mkdir()
    names = set()
    for n in range(400):
        path = write_frame(folder / f"f{n:03d}.png", n % 9, seed=n)
        names.add(path.name)
        os.utime(path, (n * 10_000_000 % 2_000_000_000, n * 10_000_000 % 2_000_000_000))
    with watching(folder, store):
        for n in range(0, 400, 7):
            path = folder / f"f{n:03d}.png"
            path.rename(folder / f"{path.stem}-moved.png")
            time.sleep(0.01)
        wait_for(lambda: store.count_frames() >= len(names))
    return count(store, names, "burst, renamed, clock jumps", 58)


def disk_full(root: Path) -> Row:
    """Fill the disk that the store lies on, then make room again."""
    disk = root / "disk"
    disk.mkdir()
    is_mounted = mount(disk)
    folder, store = root / "probe", Store(str(disk / "store.db"))
    folder.mkdir()
    names, n_full = set(), 0
    with watching(folder, store) as monitor:
        for n in range(90):
            names.add(write_frame(folder / f"f{n:03d}.png", n % 9, seed=n).name)
            if n % 30 == 10:
                fill(disk, store, is_mounted)
            if n % 30 == 20:
                n_full += wait_for(lambda: bool(monitor.status().fault))
                make_room(disk, store, is_mounted)
            time.sleep(0.02)
        wait_for(lambda: store.count_frames() >= len(names))
    note = "a tmpfs of 12 MB" if is_mounted else "SQLite's page limit: mounting is not allowed here"
    row = count(store, names, "disk full", n_full, note)
    store.close()
    if is_mounted:
        subprocess.run(["umount", "-l", str(disk)], check=False)
    return row


def mount(disk: Path) -> bool:
    """Put a small disk of its own at a folder; return whether that is allowed here."""
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)]
    return shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0


def fill(disk: Path, store: Store, is_mounted: bool) -> None:
    """Use up the disk to the last byte."""
    if not is_mounted:
        limit_pages(store, 1)
        return
    with contextlib.suppress(OSError), (disk / "filler").open("ab", buffering=0) as stream:
        for size in (65_536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while stream.write(b"x" * size):
                    pass


def make_room(disk: Path, store: Store, is_mounted: bool) -> None:
    """Give the disk back."""
    if is_mounted:
        (disk / "filler").unlink()
    else:
        limit_pages(store, 2**30)


def limit_pages(store: Store, n_pages: int) -> None:
    """Set the limit of a file in SQLite itself, which then gives the error of a full disk."""
    from sqlalchemy import event

    def limit(connection: object, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count={n_pages}").close()  # type: ignore[attr-defined]

    event.listen(store.engine, "connect", limit)
    store.engine.dispose()


def database_away(root: Path) -> Row:
    """Stop a PostgreSQL server in the middle of things three times, and delete frames meanwhile."""
    server = PostgresServer()
    folder, store = root / "probe", Store(server.url)
    folder.mkdir()
    names = set()
    try:
        with watching(folder, store) as monitor:
            for n in range(90):
                names.add(write_frame(folder / f"f{n:03d}.png", n % 9, seed=n).name)
                if n % 30 == 10:
                    server.stop()
                if n % 30 == 20:
                    wait_for(lambda: bool(monitor.status().fault))
                    server.start()
                time.sleep(0.03)
            wait_for(lambda: store.count_frames() >= len(names))
        row = count(store, names, "database away", 3, "PostgreSQL, stopped with pg_ctl -m immediate")
        store.close()
        return row
    finally:
        server.close()


SCENARIOS: dict[str, Callable[[Path], Row]] = {
    "folder_away": folder_away,
    "half_written": half_written,
    "garbage": garbage,
    "burst": burst,
    "disk_full": disk_full,
    "database_away": database_away,
}


def run_child(folder: Path, db: str, once: bool) -> None:
    """Be the process that is killed."""
    store = Store(db)
    Monitor(BrightnessAnalyzer(), make_config(folder), store).run(once=once)


def main() -> None:
    """Run every fault, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=["kill", *SCENARIOS])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--db", help=argparse.SUPPRESS)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        run_child(options.child, options.db, options.once)
        return
    rows = []
    faults: dict[str, Callable[[Path], Row]] = {
        "kill": lambda root: kill(root, options.kills, options.seed),
        **SCENARIOS,
    }
    for name, scenario in faults.items():
        if (options.only not in (None, name)) or (name == "database_away" and not has_postgres()):
            continue
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as root:
            rows.append(scenario(Path(root)))
        print(json.dumps(asdict(rows[-1])), flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
