"""How soon the loss of an OPC UA server is said, and its return; and how long comparing batches takes.

A real server in a process of its own is killed, started again, stopped and let go on, some times each, while
it is read with the settings that hold by default. Then a store of released batches is compared.

    python benchmarks/opcua_source.py
    python benchmarks/opcua_source.py --times 0 --batches 20 --frames 8640    # 20 batches of 24 h alone
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from sqlalchemy import insert, select
from tests.helpers.monitor import make_result
from tests.helpers.opcua_server import ServerProcess

from georgia.monitor import tables
from georgia.monitor.records import AuditAction
from georgia.monitor.store import Store
from georgia.process.compare import compare_batches
from georgia.process.follow import ProcessFollower
from georgia.process.opcua_source import OpcuaSource
from georgia.process.settings import OpcuaSourceConfig


def wait_until(is_so: Callable[[], bool], longest_s: float = 90.0) -> float:
    """Return after how many seconds it was so."""
    start = time.monotonic()
    while not is_so():
        if time.monotonic() - start > longest_s:
            raise TimeoutError
        time.sleep(0.02)
    return time.monotonic() - start


def measure_losses(folder: Path, n: int) -> dict[str, list[float]]:
    """Return the seconds until each loss and each return was told."""
    server, store, told = ServerProcess(), Store(str(folder / "opcua.db")), [""]
    config = OpcuaSourceConfig(opcua=server.url, source="dcs", nodes=("T_r=ns=2;s=Reactor.T_r",))
    source = OpcuaSource(config, store)
    follower = ProcessFollower([(source, config.poll_s)], store, told.append)
    found: dict[str, list[float]] = {"killed": [], "started": [], "stopped": [], "goes on": []}
    try:
        follower.start()
        time.sleep(5)
        for k in range(n):
            steps = (
                ("killed", server.kill, True),
                ("started", server.start, False),
                ("stopped", lambda: server.send(signal.SIGSTOP), True),
                ("goes on", lambda: server.send(signal.SIGCONT), False),
            )
            for name, act, is_loss in steps:
                act()
                found[name].append(wait_until(lambda loss=is_loss: ("is away" in told[-1]) == loss))
                time.sleep(2 + k)
    finally:
        follower.close()
        server.close()
    return found


def repeat_frame(store: Store, batch: int, n_frames: int, begun_s: float) -> None:
    """Repeat the one frame of a batch every 10 s: rows alone, whose chain nobody verifies here."""
    with store.engine.begin() as connection:
        query = select(tables.frames).where(tables.frames.c.batch_id == batch)
        row = dict(connection.execute(query).mappings().one())
        first = row.pop("id")
        rows = [
            {
                **row,
                "ordinal": k + 1,
                "frame_time_s": begun_s + 10.0 * k,
                "file": f"{first}-{k}",
                "mtime_ns": 10**12 * first + k,
                "sha256": f"{first:032x}{k:032x}",
            }
            for k in range(1, n_frames)
        ]
        connection.execute(insert(tables.frames), rows)


def measure_comparison(folder: Path, n_batches: int, n_frames: int) -> tuple[float, float]:
    """Return the seconds and the CPU seconds that one comparison with the band of all batches takes."""
    store = Store(str(folder / "compare.db"))
    state = json.dumps({"basis": {"model": "m"}})
    for number in range(n_batches):
        batch = store.begin_batch("probe", f"B-{number}", "Ann", "PG", "Ann").id
        begun_s = 1e6 * (number + 1)
        values = {"frame_time_s": begun_s, "n_judged": 50, "model_sha256": "m"}
        store.record_frame(make_result(n_frames * number, batch, 0.1, **values), "probe", state)
        repeat_frame(store, batch, n_frames, begun_s)
        store.append_event("Ann", AuditAction.LIMITS_SET, {"from_batch": batch}, batch)
    start, cpu = time.monotonic(), time.process_time()
    n_released = compare_batches(store, [batch]).n_released
    took = time.monotonic() - start, time.process_time() - cpu
    if n_released != n_batches:
        raise RuntimeError(f"{n_released} of {n_batches} batches are in the band")
    return took


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--times", type=int, default=5)
    options.add_argument("--batches", type=int, default=20)
    options.add_argument("--frames", type=int, default=500)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        losses = measure_losses(Path(folder), chosen.times) if chosen.times else {}
        for name, seconds in losses.items():
            print(f"{name}: {min(seconds):.1f} to {max(seconds):.1f} s")
        took, cpu_s = measure_comparison(Path(folder), chosen.batches, chosen.frames)
        size = f"{chosen.batches} batches of {chosen.frames} frames"
        print(f"compared with {size}: {took:.2f} s, {cpu_s:.2f} s of CPU time")


if __name__ == "__main__":
    main()
