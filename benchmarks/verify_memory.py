"""Peak memory and time of ``georgia verify`` on a record of many rows, synthetic, without analysing a frame.

Every frame is a transaction with its ledger row and its seal, as the monitor writes them, in few commits.

    python benchmarks/verify_memory.py --rows 100000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import insert

from georgia.monitor import audit_log, seals, tables
from georgia.monitor.connect import writing
from georgia.monitor.records import Verdict, frame_values
from georgia.monitor.result import FileKey, FrameResult, FrameStatus, State
from georgia.monitor.store import Store

_PER_COMMIT = 5000
# A process of its own: its peak is that of the check alone. It is told first what the imports take.
_CHECK = """
import json, resource, sys, time
from georgia.monitor.queries import StoreReader
from georgia.monitor.verify import verify_store
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.process_time()
found = verify_store(StoreReader.open(sys.argv[1]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seconds = time.process_time() - started
counts = {"whole": found.is_whole, "frames": found.n_frames, "seals": found.n_seals}
print(json.dumps({**counts, "import_mb": before / 1024, "peak_mb": peak / 1024, "cpu_s": seconds}))
"""


def fill(store: Store, n_rows: int) -> None:
    """Write so many frames into a store, each with its row of the ledger and its seal."""
    batch = store.begin_batch("probe", "long", "bench", "PG", "bench").id
    for start in range(0, n_rows, _PER_COMMIT):
        with writing(store.engine) as connection:
            frames, ledger, sealed = [], [], []
            head, last = audit_log.read_head(connection), seals._read_last(connection)
            number, chain, last_seal = head.frame_id, head.chain, dict(last or {})
            for n in range(start, min(start + _PER_COMMIT, n_rows)):
                number += 1
                key = FileKey(f"frame-{n:07d}.png", 500_000, n, f"{n:064x}")
                result = FrameResult(
                    *(key, 1e9 + n, "file", FrameStatus.ANALYSED, State.IN_CONTROL, False, "PG"),
                    **{"fraction": 0.1, "low": 0.05, "high": 0.2, "n_tiles": 72, "n_judged": 60},
                    **{
                        "batch_id": batch,
                        "ordinal": n + 1,
                        "model_sha256": "a" * 64,
                        "settings_id": "b" * 64,
                    },
                )
                row = {**frame_values(result, "probe"), "map_sha256": "", "trail_seq": head.seq}
                row["chain"] = chain = audit_log.hash_frame(row, chain)
                frames.append({"id": number, **row})
                place = {"source": "probe", "file": key.file, "size_bytes": key.size_bytes, "mtime_ns": n}
                entry = {**place, "sha256": key.sha256, "verdict": str(Verdict.FRAME), "error": ""}
                ledger.append({**entry, "frame_id": number, "seen_at_s": 1e9 + n})
                entries = [["ledger", list(place.values()), seals.hash_row(tables.ledger, ledger[-1]), 1]]
                seal = {
                    **{"seq": last_seal["seq"] + 1, "at_s": 1e9 + n, "rows": audit_log.canonical(entries)},
                    **{"trail_seq": head.seq, "trail_hash": head.hash, "frame_id": number, "chain": chain},
                    "previous": last_seal["hash"],
                }
                last_seal = {**seal, "hash": seals.hash_seal(seal)}
                sealed.append(last_seal)
            connection.execute(insert(tables.frames), frames)
            connection.execute(insert(tables.ledger), ledger)
            connection.execute(insert(tables.seals), sealed)
        print(f"{start + len(frames):,} rows", file=sys.stderr, flush=True)
    # One proper transaction, which counts the batch's frames and notes the end beside the store.
    with store._changing() as change:
        change.connection.execute(tables.batches.update().values(n_frames=n_rows))
        change.touch(tables.batches, batch)


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        file = Path(root) / "long.db"
        started = time.perf_counter()
        store = Store(str(file))
        fill(store, options.rows)
        store.close()
        size = {"store_mb": round(file.stat().st_size / 2**20), "filled_s": time.perf_counter() - started}
        done = subprocess.run(
            [sys.executable, "-c", _CHECK, str(file)], check=True, capture_output=True, text=True
        )
    print(json.dumps({**size, **json.loads(done.stdout)}, indent=2))


if __name__ == "__main__":
    main()
