"""Near-duplicates found in planted truth, in distinct images and in real ones, and what the search costs.

    .venv/bin/python benchmarks/audit_duplicates.py planted  [--scenes 2000] [--seed 2]
    .venv/bin/python benchmarks/audit_duplicates.py distinct [--scenes 2000] [--seed 3]
    .venv/bin/python benchmarks/audit_duplicates.py alike    [--scenes 120] [--seed 6]
    .venv/bin/python benchmarks/audit_duplicates.py real     FOLDER…
    .venv/bin/python benchmarks/audit_duplicates.py speed    [--sizes 1000 14000 100000]

Each prints a table and writes JSON (``--out``). Thresholds were chosen on seed 1, those of look-alikes on
seed 5; take another here. ``planted`` renders 2,000 crops and a duplicate of each. ``alike`` renders
different images that look alike, of one apparatus, plate or shape, with one duplicate of every third.
``speed`` cuts synthetic frames into tiles of 151 px (48 px beyond 20,000), three in ten of them duplicates,
and runs every size in a process of its own; CPU seconds are reported too, as other programs may run.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from planted_duplicates import KINDS, make_planted, write_planted, write_tiles
from planted_lookalikes import LOOKALIKES, Rendered, render_lookalikes, render_videos

from georgia.audit.near_duplicates.descriptors import Description, describe_image
from georgia.audit.near_duplicates.search import Duplicates, find_near_duplicates
from georgia.images.decode import iter_images
from georgia.images.listing import find_images
from georgia.images.symmetry import SYMMETRIES
from georgia.metrics.intervals import wilson_interval
from georgia.synthetic import CropPlan, render_empty


def describe_files(paths: Sequence[Path]) -> list[Description | None]:
    """Return the description of each file, decoded by threads as the audit does."""
    results: Any = iter_images(paths, transform=describe_image)  # type: ignore[arg-type]
    return [result if isinstance(result, Description) else None for _, result in results]


def score_pairs(
    pairs: Sequence[tuple[int, int]], scenes: Sequence[int], kinds: Sequence[str]
) -> dict[str, Any]:
    """Return found, planted and false pairs by kind; a false pair counts for the kinds of both its ends."""
    place = {(scene, bool(kind)): k for k, (scene, kind) in enumerate(zip(scenes, kinds, strict=True))}
    found = {frozenset(pair) for pair in pairs}
    planted, hits, false = Counter[str](), Counter[str](), Counter[str]()
    for (scene, is_duplicate), k in place.items():
        if is_duplicate:
            planted[kinds[k]] += 1
            hits[kinds[k]] += frozenset((k, place[scene, False])) in found
    n_false = 0
    for pair in found:
        first, second = sorted(pair)
        if scenes[first] != scenes[second]:
            n_false += 1
            false.update({kinds[first] or "original", kinds[second] or "original"})
    rows = {
        kind: {
            "planted": planted[kind],
            "found": hits[kind],
            "recall": hits[kind] / max(planted[kind], 1),
            "recall_ci95": list(wilson_interval(hits[kind] / planted[kind], planted[kind]))
            if planted[kind]
            else None,
            "false": false[kind],
            "precision": hits[kind] / max(hits[kind] + false[kind], 1),
        }
        for kind in KINDS
    }
    total = sum(hits.values())
    return {"kinds": rows, "false_pairs": n_false, "precision": total / max(total + n_false, 1)}


def print_kinds(result: dict[str, Any]) -> None:
    """Print one line for each kind of duplicate."""
    print(
        f"{'kind':12s} {'planted':>8s} {'found':>6s} {'recall':>7s} {'95 % interval':>15s} {'precision':>9s}"
    )
    for kind, row in result["kinds"].items():
        low, high = row["recall_ci95"] or (0, 0)
        print(
            f"{kind:12s} {row['planted']:8d} {row['found']:6d} {row['recall']:7.3f} "
            f"{low:8.3f}–{high:.3f} {row['precision']:9.3f}"
        )
    print(f"false pairs: {result['false_pairs']}, precision {result['precision']:.4f}")


def run_planted(options: argparse.Namespace) -> dict[str, Any]:
    """Plant duplicates as files, search for them, and compare with what was planted."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_planted(make_planted(options.scenes, options.seed), Path(folder))
        descriptions = describe_files([item.path for item in files])
    duplicates = find_near_duplicates(descriptions)
    scenes, kinds = [item.scene for item in files], [item.kind for item in files]
    result = score_pairs([(pair.first, pair.second) for pair in duplicates.pairs], scenes, kinds)
    correct = [pair for pair in duplicates.pairs if scenes[pair.first] == scenes[pair.second]]
    result["wrong_transform"] = sum(
        pair.transform != SYMMETRIES[files[pair.second].symmetry] for pair in correct
    )
    result["called_exact"] = dict(Counter(kinds[pair.second] for pair in correct if pair.kind == "exact"))
    result["n_images"], result["seed"] = len(files), options.seed
    print_kinds(result)
    print(
        f"correct pairs under another transform: {result['wrong_transform']}; exact: {result['called_exact']}"
    )
    return result


def run_distinct(options: argparse.Namespace) -> dict[str, Any]:
    """Search for duplicates where there are none: distinct crops, and empty fields, some as JPEG."""
    plan = CropPlan(options.scenes // 2, options.seed)
    crops = [describe_image(plan.render(item).image) for item in plan.items()]
    fields = []
    for k in range(options.scenes // 2):
        image = render_empty(np.random.SeedSequence([options.seed, k]), (151, 151) if k % 2 else None).image
        if k % 3:
            packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30 + k % 60])[1]
            image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
        fields.append(describe_image(image))
    both = find_near_duplicates([*crops, *fields])
    # Blank fields can be equal to the last pixel: that is an exact duplicate, and no near one.
    result = {
        "crops": len(crops),
        "groups_of_crops": len(find_near_duplicates(crops).groups),
        "fields": len(fields),
        "near_pairs_of_all": sum(pair.kind == "near" for pair in both.pairs),
        "exact_pairs_of_fields": sum(pair.kind == "exact" for pair in both.pairs),
    }
    print(json.dumps(result, indent=1))
    return result


def run_alike(options: argparse.Namespace) -> dict[str, Any]:
    """Search among images of one apparatus, plate or shape, and among the frames of few scenes."""
    sets = {kind: list(render_lookalikes(kind, options.scenes, options.seed)) for kind in LOOKALIKES}
    sets["frames, drifting"] = list(render_videos(6, 25, options.seed))
    sets["frames, at rest"] = list(render_videos(6, 25, options.seed + 1, drift_px=0.0))
    rows = {}
    for kind, items in sets.items():
        images = [np.repeat(item.pixels[:, :, None], 3, axis=2) for item in items]
        duplicates = find_near_duplicates([describe_image(image) for image in images])
        rows[kind] = score_alike(duplicates, items)
        print(kind, rows[kind], flush=True)
    return rows


def score_alike(duplicates: Duplicates, items: Sequence[Rendered]) -> dict[str, Any]:
    """Return found and planted duplicates, wrong pairs, and how many scenes one group joins."""
    group_of = {member: at for at, group in enumerate(duplicates.groups) for member in group}
    original = {item.scene: place for place, item in enumerate(items) if not item.change}
    changed = [place for place, item in enumerate(items) if item.change]
    missed = Counter(
        items[place].change
        for place in changed
        if group_of.get(place, -1) != group_of.get(original[items[place].scene], -2)
    )
    wrong = sum(items[pair.first].scene != items[pair.second].scene for pair in duplicates.pairs)
    scenes = [len({items[member].scene for member in group}) for group in duplicates.groups]
    return {
        "n_images": len(items),
        "planted": len(changed),
        "found": len(changed) - missed.total(),
        "missed": dict(missed),
        "pairs": len(duplicates.pairs),
        "wrong_pairs": wrong,
        "scenes_in_largest_group": max(scenes, default=0),
        "in_question": sum(map(len, duplicates.same_scene)),
    }


def run_real(options: argparse.Namespace) -> dict[str, Any]:
    """Search for duplicates in folders of real images; every group is named, to be inspected."""
    result = {}
    for folder in options.folders:
        paths = find_images([folder])
        duplicates = find_near_duplicates(describe_files(paths))
        result[folder.name] = {"n_images": len(paths), "pairs": name_pairs(duplicates, paths)}
        print(folder.name, len(paths), "images,", len(duplicates.groups), "groups")
        for row in result[folder.name]["pairs"]:
            print("  ", *row)
    return result


def name_pairs(duplicates: Duplicates, paths: Sequence[Path]) -> list[list[Any]]:
    """Return (first file, second file, kind, transform, similarity) of each pair."""
    return [
        [paths[p.first].name, paths[p.second].name, p.kind, p.transform, round(p.similarity, 3)]
        for p in duplicates.pairs
    ]


def run_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Time decoding, describing and matching, each number of images in a process of its own."""
    rows = []
    with tempfile.TemporaryDirectory() as base:
        for size in options.sizes:
            folder = Path(base) / str(size)
            folder.mkdir()
            write_tiles(size, 5, folder, side_px=48 if size > 20_000 else 151)
            command = [sys.executable, __file__, "measure", str(folder)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append(json.loads(output.splitlines()[-1]))
            print(rows[-1], flush=True)
    return {"rows": rows}


def run_measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and peak memory of one folder's search."""
    paths = find_images(options.folders)
    read, read_cpu, descriptions = _timed(lambda: describe_files(paths))
    match, match_cpu, duplicates = _timed(lambda: find_near_duplicates(descriptions))
    return {
        "n_images": len(paths),
        "read_s": round(read, 1),
        "match_s": round(match, 1),
        "cpu_s": round(read_cpu + match_cpu, 1),
        "read_cpu_ms_each": round(1e3 * read_cpu / len(paths), 2),
        "match_cpu_ms_each": round(1e3 * match_cpu / len(paths), 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "groups": len(duplicates.groups),
    }


def _timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    started, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - started, time.process_time() - cpu, result


def main() -> None:
    """Run one part and write its result."""
    parts = {
        "planted": run_planted,
        "distinct": run_distinct,
        "alike": run_alike,
        "real": run_real,
        "speed": run_speed,
        "measure": run_measure,
    }
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=parts)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--scenes", type=int, help="scenes to render; without it 2,000, or 120 for alike")
    parser.add_argument("--seed", type=int, help="without it 2, or 6 for alike")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 14_000, 100_000])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    is_alike = options.part == "alike"
    options.scenes = options.scenes or (120 if is_alike else 2000)
    options.seed = (6 if is_alike else 2) if options.seed is None else options.seed
    result = parts[options.part](options)
    text = json.dumps(result, ensure_ascii=False)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    if options.part == "measure":
        print(text)


if __name__ == "__main__":
    main()
