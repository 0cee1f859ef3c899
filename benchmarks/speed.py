"""What Georgia gains over the study's way, and how near it is to the machine's limit: ratios of one run.

Each section runs in a process of its own; inside ``predict``, everything that is compared alternates in
rounds, and the median of the rounds counts. Results are written as JSON with the machine beside them, a file
for each kind of processor, and the ratios are shown next to those of the last run on the same kind.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import processors
import study_size

HERE = Path(__file__).parent
SECTIONS = (
    *("predict", "served", "frames", "train", "stages", "frozen", "fast"),
    *("growth", "cores", "memory", "start"),
)
# Long ones, or of counts that scatter little: the first run measures them, further runs do not.
ONCE = ("train", "growth", "memory")
# Study's epoch over Georgia's first and later ones in float32, by what the processor computes with.
TRAIN_AIMS = {"AMX": (">= 8", ">= 10")}
OTHER_TRAIN_AIMS = (">= 4", ">= 4.5")
# CPU seconds of a monitor's frame of 1112×1000 px.
FRAME_AIMS = {"AMX": "<= 0.2"}
OTHER_FRAME_AIM = "<= 0.45"
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


def list_ratios(found: dict[str, Any], machine: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Return (what, value, aim) of everything that was measured."""
    rows: list[tuple[str, float, str]] = []

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
    for name, each in (part("served") or {}).items():
        add(f"predict, bundled model, files → CSV in {name}: CPU ms of an image", each["cpu_ms"])
        if name != "float32":
            gain = each["images_per_s"] / part("served", "float32", "images_per_s")
            add(f"predict, bundled model, files → CSV: {name} / float32", gain)
    frame_aim = FRAME_AIMS.get(machine["instructions"], OTHER_FRAME_AIM)
    for name, cpu_s in (part("frames") or {}).items():
        way = name.replace(":half", ", half of the windows in turns")
        add(f"monitor, CPU s of a frame of 1112×1000 px: {way}", cpu_s, frame_aim)
    if part("train"):
        aims = TRAIN_AIMS.get(machine["instructions"], OTHER_TRAIN_AIMS)
        rows += study_size.list_train_rows(part("train"), aims, processors.choose_clocks(machine))
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
        keys = dict.fromkeys(key for run in runs for key in run)
        return {key: merge([run[key] for run in runs if key in run]) for key in keys}
    return statistics.median(runs)


def rows_of(document: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Return the table of one processor: of its runs, or as a page of docs held it before files were kept."""
    if not document["runs"]:
        return [(what, value, aim) for what, value, aim in document["table"]]
    return list_ratios(merge(document["runs"]), document["machine"])


def show(document: dict[str, Any], before: dict[str, Any] | None) -> None:
    """Print the table, with the last run's values where there is one of the same kind."""
    same = before is not None and before.get("quick") == document["quick"]
    last = {what: value for what, value, _ in rows_of(before)} if same and before else {}
    print(f"{'what':100} {'now':>8} {'last':>8}  aim")
    for what, value, aim in rows_of(document):
        shown = f"{last[what]:8.2f}" if what in last else " " * 8
        print(f"{what:100} {value:8.2f} {shown}  {aim}")


def render_document(document: dict[str, Any], figures: list[str]) -> list[str]:
    """Return the lines of one processor: what it is, its table, its profile, the arithmetic, its figures."""
    machine, results = document["machine"], merge(document["runs"]) if document["runs"] else {}
    minutes = ", ".join(f"{seconds / 60:.0f}" for seconds in document["seconds"])
    clocks = processors.choose_clocks(machine)
    capabilities = " ".join(machine["openvino_capabilities"])
    lines = [
        f"### {processors.title(machine)}",
        "",
        f"`scripts/bench{' --quick' if document['quick'] else ''}`, median of {len(document['seconds'])}; "
        f"OpenVINO lists {capabilities}; load before {machine['load_before']:.1f}; "
        f"{minutes} minutes.{' ' + document['remark'] if document.get('remark') else ''}",
        "",
        "| what | measured | aim |",
        "|---|---|---|",
        *(f"| {what} | {value:.2f} | {aim} |" for what, value, aim in rows_of(document)),
    ]
    if results.get("train"):
        lines += [
            "",
            "How the hours come about:",
            "",
            *study_size.describe_arithmetic(results["train"], clocks),
        ]
    if results.get("stages"):
        lines += ["", *render_stages(results["stages"], clocks)]
    return [*lines, "", *(f"![{Path(name).stem.replace('_', ' ')}](../images/{name})" for name in figures)]


def render_stages(stages: dict[str, Any], clocks: tuple[str, ...]) -> list[str]:
    """Return the table of an epoch by stage, in milliseconds of an image."""
    columns = [(precision, clock) for precision in stages for clock in clocks]
    names = {"wall_s": "wall", "cpu_s": "processor"}
    lines = [
        "An epoch by stage, milliseconds of one image in batches of 64 (ResNet-101, last tenth trained):",
        "",
        "| stage | " + " | ".join(f"{precision}, {names[clock]}" for precision, clock in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for stage in next(iter(stages.values())):
        cells = (f"{1e3 * stages[precision][stage][clock]:.1f}" for precision, clock in columns)
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    return lines


def write_docs(page: Path, documents: dict[str, dict[str, Any]], figures: dict[str, list[str]]) -> None:
    """Put the tables and figures of every processor between the marks of a docs page."""
    tables = (render_document(value, figures[name]) for name, value in documents.items())
    lines = [line for table in tables for line in [*table, ""]]
    text = page.read_text(encoding="utf-8")
    start, end = text.index(MARKS[0]) + len(MARKS[0]), text.index(MARKS[1])
    page.write_text(text[:start] + "\n" + "\n".join(lines).strip() + "\n" + text[end:], encoding="utf-8")


def draw_documents(documents: dict[str, dict[str, Any]], folder: Path) -> dict[str, list[str]]:
    """Draw the figures of every processor; return their names, those that exist where no runs are kept."""
    from plots import draw_all

    return {
        name: [file.name for file in draw_all(merge(document["runs"]), folder, name)]
        if document["runs"]
        else list(document.get("figures", []))
        for name, document in documents.items()
    }


def main() -> int:
    """Measure what was asked for, print ratios, write everything down."""
    parser = argparse.ArgumentParser(description="Measure speed as ratios in one run.")
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--nets", choices=NETS, nargs="+", default=list(NETS), metavar="NET")
    parser.add_argument("--quick", action="store_true", help="a tenth of the images, one round")
    parser.add_argument("--out", type=Path, help="default: the file of this kind of processor")
    parser.add_argument("--runs", type=int, default=1, help="whole runs, one after another; medians count")
    parser.add_argument("--add", action="store_true", help="go on with the runs that --out holds")
    parser.add_argument(
        "--docs", action="store_true", help="also write tables and figures of docs/measurements/speed.md"
    )
    parser.add_argument("--show", action="store_true", help="print the table of --out, measure nothing")
    chosen = parser.parse_args()
    machine = processors.describe_machine()
    file = chosen.out or processors.FOLDER / processors.name_results(machine)
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    if chosen.show:
        if before is None:
            raise SystemExit(f"{file} is not there: measure first")
        document, before = before, None
    else:
        document = {"machine": machine, "quick": chosen.quick, "runs": [], "seconds": []}
        if chosen.add and before is not None:
            processors.check_same(file, machine, before)
            document |= {"runs": list(before["runs"]), "seconds": list(before["seconds"])}
        while len(document["runs"]) < chosen.runs:
            started = time.perf_counter()
            document["runs"].append(measure(chosen, {name for run in document["runs"] for name in run}))
            document["seconds"].append(round(time.perf_counter() - started, 1))
            processors.write(document, file)
    show(document, before)
    if chosen.docs:
        docs, documents = HERE.parent / "docs", processors.read_all()
        page = docs / "measurements" / "speed.md"
        write_docs(page, documents, draw_documents(documents, docs / "images"))
    print(file)
    return 0


def measure(chosen: argparse.Namespace, held: set[str]) -> dict[str, Any]:
    """Return the values of all sections, with progress on stderr; ``held`` are those of earlier runs."""
    results: dict[str, Any] = {}
    # Several runs are rounds themselves.
    rounds = 1 if chosen.quick or chosen.runs > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        for name in [name for name in chosen.only if name not in ONCE or name not in held]:
            for net in chosen.nets if name == "predict" else [""]:
                now = time.perf_counter()
                found = run_section(name, net, Path(folder), chosen.quick, rounds)
                results.setdefault(name, {}).update({net: found} if net else found)
                print(f"{name} {net}: {time.perf_counter() - now:.0f} s", file=sys.stderr, flush=True)
    return results


if __name__ == "__main__":
    sys.exit(main())
