"""What a whole `georgia audit` costs as the number of images grows: time, memory, exponent of the growth.

    .venv/bin/python benchmarks/audit_scale.py [--sizes 1000 10000 100000] [--side 96] [--out FILE]

Synthetic frames are cut into tiles, three in ten of which are near-duplicates, in two classes by chance. Each
size runs as a command of its own; its processor time counts beside the clock's, as other programs may run.
The exponent is that of processor time between neighbouring sizes: 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from planted_duplicates import write_tiles

# Of `georgia audit`: the quality gate failed; what was found does not matter here.
GATE_FAILED = 4


def write_classes(folder: Path, n_images: int, side_px: int) -> None:
    """Write tiles into a folder for each of two classes."""
    tiles = folder / "tiles"
    tiles.mkdir(parents=True)
    write_tiles(n_images, 5, tiles, side_px)
    names = ("one", "other")
    for name in names:
        (folder / "data" / name).mkdir(parents=True)
    for number, tile in enumerate(sorted(tiles.iterdir())):
        # Multiplying by an odd number and keeping a high bit spreads neighbours over both classes.
        tile.rename(folder / "data" / names[(number * 2654435761 >> 16) & 1] / tile.name)


def measure(folder: Path, n_images: int) -> dict[str, Any]:
    """Return seconds, MiB and findings of one audit."""
    command = [sys.executable, "-m", "georgia", "audit", str(folder / "data"), "--out", str(folder / "audit")]
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    elapsed = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status) not in (0, GATE_FAILED):
        raise SystemExit(f"the audit of {n_images} images failed")
    return {
        "n_images": n_images,
        "clock_s": round(elapsed, 1),
        "processor_s": round(usage.ru_utime + usage.ru_stime, 1),
        "processor_ms_an_image": round(1e3 * (usage.ru_utime + usage.ru_stime) / n_images, 2),
        "peak_mib": usage.ru_maxrss // 1024,
        "result_kib": (folder / "audit" / "audit.json").stat().st_size // 1024,
    }


def main() -> None:
    """Measure every size, print a row for each, and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--side", type=int, default=96, help="px")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="georgia-audit-") as base:
            write_classes(Path(base), size, options.side)
            row = measure(Path(base), size)
        if rows:
            before = rows[-1]
            growth = math.log(row["processor_s"] / before["processor_s"])
            row["exponent"] = round(growth / math.log(size / before["n_images"]), 2)
        rows.append(row)
        print(row, flush=True)
        if options.out:
            options.out.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
