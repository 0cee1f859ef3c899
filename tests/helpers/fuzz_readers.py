"""Give mutated files to a reader: it may read them or raise InputError, nothing else.

Run in a process of its own, as memory is limited: ``READER COUNT SEED FOLDER [SECONDS]``. What the folder
lacks of the reader's sample is written there. Prints one line of JSON: how many files were read and rejected
(fewer than COUNT when the SECONDS were over), the seconds of the slowest, and what memory the reader took at
most beside its libraries, MiB.
"""

from __future__ import annotations

import contextlib
import copy
import faulthandler
import io
import json
import os
import resource
import shutil
import sys
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tests.helpers import fuzz_records, fuzz_samples

from georgia.errors import GeorgiaError

# The exit code of bad input.
REJECTED = 2
# Beside what the libraries take when they are imported, bytes.
SPARE_BYTES = 2 * 2**30
# A sample is read in milliseconds; this is a hang on any machine.
HANG_S = 60
ODD_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 10**30, float("nan"), float("inf"), "", "\0", "x" * 300, "\udcb5"),
    *([], {}, [[]], {"a": 1}, [None], ["CEX", "CEX"], [1e308] * 3),
)


def read_weights(path: Path) -> None:
    from georgia.backbones.checkpoints import read_checkpoint

    for tensor in read_checkpoint(path).tensors.values():
        tensor.read()


def read_description(path: Path) -> None:
    """Open a foreign model up to the point where Keras would build it."""
    from georgia.export.keras_import import _check_layers, _read_description

    _check_layers(path, _read_description(path))


def read_metadata(path: Path) -> None:
    from georgia.model.description import read_onnx_description

    read_onnx_description(path)


def read_net(path: Path) -> None:
    """Open a bare ONNX file with both engines and run it."""
    from georgia.model.engines import open_engine
    from georgia.model.load import load_bundle

    bundle = load_bundle(path)
    for name in ("onnxruntime", "openvino"):
        engine = open_engine(path, bundle.preprocess, name, threads=1)
        bundle.thresholds.decide(engine.run([engine.prepare(fuzz_samples.IMAGE)]))


def read_bundle(path: Path) -> None:
    """Open a model and decide as it says."""
    from georgia.model.load import load_bundle

    bundle = load_bundle(path)
    rows = np.full((2, len(bundle.labels)), 1 / len(bundle.labels), np.float32)
    bundle.thresholds.decide({"probabilities": rows, "unknown_score": np.array([0.1, 9.0], np.float32)})
    bundle.preprocess.apply(fuzz_samples.IMAGE)


def read_reference(path: Path) -> None:
    from georgia.uncertainty.ood import OodDetector

    OodDetector.load(path.parent)


def read_csv_file(path: Path) -> None:
    from georgia.catalog import read_catalog

    read_catalog(path, verify=False)


def read_settings(path: Path) -> None:
    from georgia.config import build_config, read_toml_section
    from georgia.train import TrainConfig

    build_config(TrainConfig, read_toml_section(path, "train"))


def read_evaluation(path: Path) -> None:
    from georgia.evaluate import Evaluation

    Evaluation.load(path.parent).to_json_dict()


def read_robustness(path: Path) -> None:
    from georgia.evaluate.robustness import Robustness

    Robustness.load(path.parent).describe()


def read_split(path: Path) -> None:
    from georgia.split import Split

    Split.load(path.parent).to_json_dict()


def read_audit(path: Path) -> None:
    from georgia.audit import Audit

    Audit.load(path.parent).to_json_dict()


def read_history(path: Path) -> None:
    from georgia.report.history import read_history as read

    read(path)


def read_journal(path: Path) -> None:
    """Resume a table of one image; ``path`` is the journal."""
    fuzz_samples.resume_table(path)


def read_state(path: Path) -> None:
    from georgia.train.state import load_state

    load_state(path.parent)


def read_pack(path: Path) -> None:
    from georgia.train.feature_cache import _open_pack

    pack = _open_pack(path)
    if pack is not None:
        pack.read("digest")


def read_decoded(path: Path) -> None:
    from georgia.train.shared import _open_decoded

    decoded = _open_decoded(path)
    if decoded is not None:
        for position in decoded.position.values():
            decoded.store[position].sum()


def read_map(path: Path) -> None:
    from georgia.monitor.result import TileMap

    TileMap.from_bytes(path.read_bytes()).to_json_dict()


def read_part(path: Path) -> None:
    from georgia.distributed.shards import ShardFolder
    from georgia.labels import Labels

    folder = ShardFolder(str(path.parent))
    folder.count_failures(0)
    folder.read_outcomes(0, Labels(("CEX", "PG")))


def read_archive(path: Path) -> None:
    from georgia.fetch import _unpack
    from georgia.progress import QUIET

    _unpack(path, path.parent / "unpacked", QUIET)


@dataclass(frozen=True)
class Reader:
    """How a kind of file is read: the file that is mutated, and those beside it that stay as they are."""

    name: str
    read: Callable[[Path], None]
    beside: tuple[str, ...] = ()


READERS: dict[str, Reader] = {
    "zip": Reader("net.pth", read_weights),
    "legacy": Reader("legacy.pth", read_weights),
    "safetensors": Reader("net.safetensors", read_weights),
    "hdf5": Reader("net.h5", read_weights),
    "weights": Reader("net.weights.h5", read_weights),
    "archive": Reader("net.keras", read_weights),
    "foreign hdf5": Reader("net.h5", read_description),
    "foreign archive": Reader("net.keras", read_description),
    "onnx": Reader("net.onnx", read_metadata),
    "onnx net": Reader("small.onnx", read_net),
    "bundle": Reader("bundle.json", read_bundle, ("net.onnx",)),
    "reference": Reader("reference.npz", read_reference),
    "csv": Reader("images.csv", read_csv_file, ("a.png", "b.png")),
    "settings": Reader("settings.toml", read_settings),
    "evaluation": Reader("evaluation.json", read_evaluation, ("predictions_test.csv",)),
    "predictions": Reader("predictions_test.csv", read_evaluation, ("evaluation.json",)),
    "robustness": Reader("robustness.json", read_robustness),
    "split": Reader("split.csv", read_split, ("split.json",)),
    "split info": Reader("split.json", read_split, ("split.csv",)),
    "audit": Reader("audit.json", read_audit, ("audit.csv",)),
    "audit table": Reader("audit.csv", read_audit, ("audit.json",)),
    "history": Reader("history.csv", read_history),
    "journal": Reader("table.csv.part", read_journal),
    "training state": Reader("resume.npz", read_state),
    "features": Reader("features.npz", read_pack),
    "decoded": Reader("pictures.npy", read_decoded, ("pictures.json",)),
    "decoded list": Reader("pictures.json", read_decoded, ("pictures.npy",)),
    "map": Reader("map.npz", read_map),
    "part": Reader("part-000000.parquet", read_part, ("_georgia/files-000000.json",)),
    "set": Reader("set.zip", read_archive),
    "explanations": Reader("explain.json", fuzz_records.read_explanations),
    "clusters": Reader("cluster.json", fuzz_records.read_clusters, ("assignments.csv",)),
    "cluster table": Reader("assignments.csv", fuzz_records.read_clusters, ("cluster.json",)),
    "comparison": Reader("comparison.json", fuzz_records.read_comparison),
    "study": Reader("study.json", fuzz_records.read_study),
    "study row": Reader("row.json", fuzz_records.read_study_row),
    "training plan": Reader("state/plan.json", fuzz_records.read_training_plan),
    "shard plan": Reader("_georgia/plan.json", fuzz_records.read_shard_plan),
    **{
        f"table {suffix}": Reader(f"predictions.{suffix}", fuzz_records.read_table, ("a.png",))
        for suffix in ("csv", "json", "jsonl", "parquet")
    },
    "check plan": Reader("plan.json", fuzz_records.read_check, ("checked.csv", "names.csv", "a.png")),
    "check names": Reader("names.csv", fuzz_records.read_check, ("checked.csv", "plan.json", "a.png")),
    "coco": Reader("coco.json", fuzz_records.read_boxes, ("a.png", "b.png")),
    "label studio": Reader("tasks.json", fuzz_records.read_boxes, ("a.png", "b.png")),
    "cvat": Reader("boxes.xml", fuzz_records.read_boxes, ("a.png", "b.png")),
    "yolo": Reader("a.txt", fuzz_records.read_boxes, ("a.png", "b.png", "b.txt", "data.yaml")),
    "yolo classes": Reader("data.yaml", fuzz_records.read_boxes, ("a.png", "b.png", "a.txt", "b.txt")),
    "store": Reader("store.db", fuzz_records.read_store),
    "old store": Reader("old.db", fuzz_records.read_store),
    "head": Reader("store.db.head", fuzz_records.read_head),
    "anchor": Reader("anchor.jsonl", fuzz_records.read_anchor),
    "labels": Reader("labels.csv.journal", fuzz_records.read_labels),
}


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Change some bytes, put in odd numbers, or cut, double or move a piece."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, max(1, len(changed))))
        kind = int(rng.integers(0, 6))
        if kind == 0:
            changed[at : at + 1] = bytes([int(rng.integers(0, 256))])
        elif kind == 1:
            width = int(rng.choice([1, 2, 4, 8]))
            number = ODD_NUMBERS[int(rng.integers(0, len(ODD_NUMBERS)))] % 256**width
            changed[at : at + width] = number.to_bytes(width, "little")
        elif kind == 2:
            del changed[at : at + int(rng.integers(1, 32))]
        elif kind == 3:
            changed[at:at] = changed[at : at + int(rng.integers(1, 32))] * int(rng.integers(1, 4))
        elif kind == 4:
            source = int(rng.integers(0, max(1, len(changed))))
            changed[at : at + 16] = changed[source : source + 16]
        else:
            changed[at : at + 1] = bytes(
                byte ^ (1 << int(rng.integers(0, 8))) for byte in changed[at : at + 1]
            )
    return bytes(changed[: int(rng.integers(0, len(changed) + 1))] if rng.random() < 0.05 else changed)


def mutate_archive(data: bytes, rng: np.random.Generator) -> bytes:
    """Change one part of a zip archive, whose check sum is then made to fit."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = [(item, archive.read(item)) for item in archive.infolist()]
    chosen = int(rng.integers(0, len(parts)))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number, (item, content) in enumerate(parts):
            archive.writestr(
                item.filename, mutate(content, rng) if number == chosen else content, item.compress_type
            )
    return stream.getvalue()


def mutate_json(data: bytes, rng: np.random.Generator) -> bytes:
    """Put odd values into some places of a JSON document, or take entries out; it stays JSON."""
    document = json.loads(data)
    for _ in range(int(rng.integers(1, 3))):
        places = list(_list_places(document))
        if not places:
            break
        table, key = places[int(rng.integers(0, len(places)))]
        if rng.random() < 0.2:
            del table[key]
        else:
            # A copy: a list that was put in before may be the table of a later change.
            table[key] = copy.deepcopy(ODD_VALUES[int(rng.integers(0, len(ODD_VALUES)))])
    return json.dumps(document).encode()


def _list_places(value: Any) -> Any:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _list_places(value[key])


def change(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a mutated file, most often one that is still of its kind."""
    is_inside = rng.random() < 0.8
    if data.startswith(b"SQLite") and is_inside:
        return fuzz_records.mutate_store(data, rng, ODD_VALUES)
    if data.startswith(b"PK") and is_inside:
        return mutate_archive(data, rng)
    if b'"crc32":' in data and is_inside:
        return fuzz_records.mutate_labels(data, rng)
    if data[:2] in (b"{\n", b'{"', b"[{", b"[\n", b'["') and is_inside:  # "[train]" is TOML
        lines = data.splitlines(keepends=True)
        if len(lines) > 1 and all(line.startswith(b"{") for line in lines):  # JSON lines
            chosen = int(rng.integers(0, len(lines)))
            lines[chosen] = mutate_json(lines[chosen], rng) + b"\n"
            return b"".join(lines)
        return mutate_json(data, rng)
    return mutate(data, rng)


def run(reader: str, n_files: int, seed: int, folder: Path, limit_s: float = float("inf")) -> dict[str, Any]:
    """Return how many mutated files were read and rejected, the slowest's seconds, and memory in MiB."""
    kind = READERS[reader]
    fuzz_samples.write_samples(folder, [kind.name, *kind.beside])
    data, rng = (folder / kind.name).read_bytes(), np.random.default_rng(seed)
    place = folder / f"fuzzed-{reader.replace(' ', '-')}-{seed}"
    for name in (kind.name, *kind.beside):
        (place / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(folder / name, place / name)
    path = place / kind.name
    kind.read(path)  # imports everything
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_BYTES, used + SPARE_BYTES))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts, slowest, begin = Counter({"read": 0, "rejected": 0}), 0.0, time.monotonic()
    for number in range(n_files):
        if time.monotonic() - begin > limit_s:
            break
        path.unlink(missing_ok=True)
        path.write_bytes(change(data, rng))
        faulthandler.dump_traceback_later(HANG_S, exit=True, file=sys.__stderr__)
        start = time.monotonic()
        try:
            kind.read(path)
        except GeorgiaError as error:
            if error.exit_code != REJECTED or "\n" in str(error):
                raise
            counts["rejected"] += 1
        except Exception as error:
            kept = place / f"fault-{number}{path.suffix}"
            shutil.copy(path, kept)
            if "--all" not in sys.argv:
                raise
            where = traceback.extract_tb(error.__traceback__)
            own = [
                f"{Path(step.filename).name}:{step.lineno}" for step in where if "georgia" in step.filename
            ]
            counts[f"{type(error).__name__}: {str(error)[:70]} at {own[-1] if own else '?'}"] += 1
        else:
            counts["read"] += 1
        faulthandler.cancel_dump_traceback_later()
        slowest = max(slowest, time.monotonic() - start)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    found = {"reader": reader, "files": counts.total(), **counts}
    taken = time.monotonic() - begin
    return {**found, "slowest_s": round(slowest, 2), "taken_s": round(taken, 1), "peak_mib": peak}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with contextlib.redirect_stderr(io.StringIO()) if "--quiet" in sys.argv else contextlib.nullcontext():
        args = [word for word in sys.argv[1:] if not word.startswith("--")]
        found = run(args[0], int(args[1]), int(args[2]), Path(args[3]), *map(float, args[4:]))
    print(json.dumps(found), flush=True)
    # Threads of libraries that end with the interpreter, in little memory, are no part of what is read.
    os._exit(0)
