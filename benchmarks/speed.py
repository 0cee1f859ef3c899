"""What Georgia gains over the study's way, and how near it is to the machine's limit: ratios of one run.

Each section runs in a process of its own; inside a section, everything that is compared alternates in
rounds, and the median of the rounds counts. Results are written as JSON with the machine beside them, and the
ratios are shown next to those of the last run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
SECTIONS = ("predict", "train", "frozen", "fast", "growth", "cores", "memory", "start")
# Long ones, of counts that scatter little: the first run measures them, further runs do not.
ONCE = ("growth", "memory")
MARKS = ("<!-- measured: scripts/bench --docs -->", "<!-- end of measured -->")
NETS = ("resnet101", "resnet50", "efficientnet-lite0")


def run_section(name: str, net: str, work: Path, quick: bool, rounds: int) -> dict[str, Any]:
    """Return one section's values, measured in a process of its own."""
    out = work / f"{name}-{net or 'all'}.json"
    command = [sys.executable, str(HERE / "sections.py"), name, "--work", str(work), "--out", str(out)]
    command += ["--rounds", str(rounds), *(["--net", net] if net else []), *(["--quick"] if quick else [])]
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "GEORGIA_CACHE": str(work / "cache")}
    done = subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"section {name} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(out.read_text(encoding="utf-8")))


def describe_machine() -> dict[str, Any]:
    """Return what the values depend on."""
    from importlib.metadata import version

    from georgia.model.engines import list_capabilities

    names = ("georgia", "openvino", "onnxruntime", "keras", "tensorflow-cpu", "numpy")
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except ImportError:
            continue
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _read_processor(),
        "openvino_capabilities": list(list_capabilities()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _read_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def list_ratios(found: dict[str, Any]) -> list[tuple[str, float | None, str]]:
    """Return (what, value, aim) of everything that was measured."""
    rows: list[tuple[str, float | None, str]] = []

    def add(what: str, value: float | None, aim: str = "") -> None:
        if value is not None:
            rows.append((what, value, aim))

    def part(section: str, *keys: str) -> Any:
        value: Any = found.get(section, {})
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    for net in NETS:
        speed = part("predict", net)
        if not speed:
            continue
        files = speed["georgia: files → CSV"]
        aim_study, aim_limit = (">= 8", ">= 0.85") if net == "resnet101" else ("", "")
        add(f"predict {net}: files → CSV / study's loop", files / speed["study: file by file"], aim_study)
        add(f"predict {net}: files → CSV / engine alone", files / speed["engine alone"], aim_limit)
        slowest = min(speed["engine alone"], speed["decode and prepare"])
        aim = ">= 0.85" if net == "efficientnet-lite0" else ""
        add(f"predict {net}: files → CSV / min(engine, decoding)", files / slowest, aim)
        both = 1 / (1 / speed["engine alone"] + 1 / speed["decode and prepare"])
        add(f"predict {net}: files → CSV / both on the same cores", files / both)
        add(f"predict {net}: files → CSV / Keras, batch 32", files / speed["keras: batch 32"])
        add(
            f"predict {net}: files → CSV / ONNX Runtime, files → CSV",
            files / speed["onnxruntime: files → CSV"],
        )
    if part("train"):
        study = part("train", "study_epoch_s")
        add("train georgia: study's epoch / first epoch", study / part("train", "first_epoch_s"), ">= 6")
        add("train georgia: study's epoch / later epochs", study / part("train", "later_epoch_s"), ">= 8")
    if part("frozen"):
        add(
            "train, base frozen, no augmentation: study's epoch / later epochs",
            part("frozen", "study_epoch_s") / part("frozen", "later_epoch_s"),
            ">= 100",
        )
    if part("fast"):
        n_crops = part("fast", "n_crops")
        add(
            f"fast on {n_crops:,} crops to evaluated model, s", part("fast", "seconds"), "<= 60 (1,000 crops)"
        )
        add(f"fast on {n_crops:,} crops a second time (stored features), s", part("fast", "again_s"))
    growth = part("growth")
    if growth:
        sizes = sorted(growth, key=int)
        add(f"predict {int(sizes[-1]):,} files / {int(sizes[0]):,} files, images/s", _rate(growth, sizes))
    if part("cores"):
        add("predict efficientnet-lite0: 2 cores / 1 core", part("cores", "2") / part("cores", "1"))
    if part("memory"):
        add(
            f"peak memory: {part('memory', 'n_many'):,} files / {part('memory', 'n_few'):,} files",
            part("memory", "peak_many_mb") / part("memory", "peak_few_mb"),
            "<= 1.1",
        )
    for name, aim in (("import georgia", 0.3), ("georgia --help", 0.5), ("georgia predict, one file", 1.5)):
        add(f"{name}, s", part("start", name), f"< {aim}")
    return rows


def _rate(growth: dict[str, Any], sizes: list[str]) -> float:
    return float(growth[sizes[-1]]["images_per_s"] / growth[sizes[0]]["images_per_s"])


def merge(runs: list[Any]) -> Any:
    """Return the median of each value over several runs."""
    first = runs[0]
    if isinstance(first, dict):
        return {key: merge([run[key] for run in runs if key in run]) for key in first}
    return statistics.median(runs)


def show(document: dict[str, Any], before: dict[str, Any] | None) -> None:
    """Print the table, with the last run's values where there is one of the same kind."""
    same = before is not None and before.get("quick") == document["quick"] and "runs" in before
    last = {what: value for what, value, _ in list_ratios(merge(before["runs"]))} if same and before else {}
    print(f"{'what':74} {'now':>8} {'last':>8}  aim")
    for what, value, aim in list_ratios(merge(document["runs"])):
        shown = f"{last[what]:8.2f}" if what in last else " " * 8
        print(f"{what:74} {value:8.2f} {shown}  {aim}")


def write_docs(document: dict[str, Any], page: Path, figures: list[Path]) -> None:
    """Put the table, what it was measured on, and the figures between the marks of a docs page."""
    machine = document["machine"]
    capabilities = " ".join(machine["openvino_capabilities"])
    lines = [
        f"`scripts/bench{' --quick' if document['quick'] else ''}`, median of {len(document['runs'])}; "
        f"{machine['cores']} cores, {machine['processor']} ({capabilities}), "
        f"load before {machine['load_before']:.1f}; "
        f"{', '.join(f'{seconds / 60:.0f}' for seconds in document['seconds'])} minutes.",
        "",
        "| what | measured | aim |",
        "|---|---|---|",
        *(f"| {what} | {value:.2f} | {aim} |" for what, value, aim in list_ratios(merge(document["runs"]))),
        "",
        *(f"![{file.stem.replace('_', ' ')}](../images/{file.name})" for file in figures),
    ]
    text = page.read_text(encoding="utf-8")
    start, end = text.index(MARKS[0]) + len(MARKS[0]), text.index(MARKS[1])
    page.write_text(text[:start] + "\n" + "\n".join(lines) + "\n" + text[end:], encoding="utf-8")


def main() -> int:
    """Measure what was asked for, print ratios, write everything down."""
    parser = argparse.ArgumentParser(description="Measure speed as ratios in one run.")
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--nets", choices=NETS, nargs="+", default=list(NETS), metavar="NET")
    parser.add_argument("--quick", action="store_true", help="a tenth of the images, one round")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--runs", type=int, default=1, help="whole runs, one after another; medians count")
    parser.add_argument("--add", action="store_true", help="go on with the runs that --out holds")
    parser.add_argument(
        "--docs", action="store_true", help="also write table and figures of docs/measurements/speed.md"
    )
    parser.add_argument("--show", action="store_true", help="print the table of --out, measure nothing")
    chosen = parser.parse_args()
    before = json.loads(chosen.out.read_text(encoding="utf-8")) if chosen.out.exists() else None
    if chosen.show:
        if before is None:
            raise SystemExit(f"{chosen.out} is not there: measure first")
        document, before = before, None
    else:
        document = {"machine": describe_machine(), "quick": chosen.quick, "runs": [], "seconds": []}
        if chosen.add and before is not None:
            document |= {"runs": list(before["runs"]), "seconds": list(before["seconds"])}
        while len(document["runs"]) < chosen.runs:
            started = time.perf_counter()
            document["runs"].append(measure(chosen, is_first=not document["runs"]))
            document["seconds"].append(round(time.perf_counter() - started, 1))
            chosen.out.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    show(document, before)
    if chosen.docs:
        from plots import draw_all

        docs = HERE.parent / "docs"
        write_docs(
            document, docs / "measurements" / "speed.md", draw_all(merge(document["runs"]), docs / "images")
        )
    print(chosen.out)
    return 0


def measure(chosen: argparse.Namespace, is_first: bool) -> dict[str, Any]:
    """Return the values of all sections, with progress on stderr."""
    results: dict[str, Any] = {}
    # Several runs are rounds themselves.
    rounds = 1 if chosen.quick or chosen.runs > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        for name in [name for name in chosen.only if is_first or name not in ONCE]:
            for net in chosen.nets if name == "predict" else [""]:
                now = time.perf_counter()
                found = run_section(name, net, Path(folder), chosen.quick, rounds)
                results.setdefault(name, {}).update({net: found} if net else found)
                print(f"{name} {net}: {time.perf_counter() - now:.0f} s", file=sys.stderr, flush=True)
    return results


if __name__ == "__main__":
    sys.exit(main())
