"""Readers of records for ``fuzz_readers``: tables, results, box files and the monitor's store."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
from tests.helpers.fuzz_samples import KEPT, WRITERS, copy_kept, write_image

CLASSES = ("CEX", "PG")
BOX = {"x": 10.0, "y": 10.0, "width": 40.0, "height": 40.0}


def read_explanations(path: Path) -> None:
    from georgia.explain import Explanations

    Explanations.load(path.parent).to_json_dict()


def read_clusters(path: Path) -> None:
    from georgia.cluster import Clustering

    Clustering.load(path.parent).to_json_dict()


def read_comparison(path: Path) -> None:
    from georgia.evaluate.compare import Comparison

    Comparison.load(path.parent).describe()


def read_study(path: Path) -> None:
    from georgia.study.files import load_study

    load_study(path.parent).to_json_dict()


def read_study_row(path: Path) -> None:
    from georgia.study.rows import load_row
    from georgia.study.table import format_csv

    row = load_row(path.parent)
    format_csv([row] if row is not None else [])


def read_shard_plan(path: Path) -> None:
    from georgia.distributed.shards import ShardFolder

    ShardFolder(str(path.parents[1])).load_plan()


def read_training_plan(path: Path) -> None:
    from georgia.errors import InputError
    from georgia.train.plan import open_plan

    try:
        open_plan(path.parents[1], make_plan(), resume=True)
    except InputError as error:
        if "settings and data must be" not in str(error):
            raise


def make_plan() -> dict[str, Any]:
    from georgia.train import recipe_config

    return {
        "settings": recipe_config("fast", {}).to_dict(),
        "data": "0f",
        "split": "1f",
        "classes": list(CLASSES),
        "versions": {"georgia": "0.2", "keras": "3"},
    }


def read_table(path: Path) -> None:
    from georgia.spotcheck.sources import read_predictions

    source = read_predictions(path)
    source.fingerprint()
    source.find_class("")


def read_check(path: Path) -> None:
    """Go on with a spot check; the file is one of its folder's, or the table that it stands on."""
    from georgia.spotcheck.check import run_spotcheck
    from georgia.spotcheck.plan import SpotcheckConfig
    from georgia.spotcheck.sources import read_predictions

    run_spotcheck(read_predictions(path.with_name("checked.csv")), path.parent, SpotcheckConfig(n=4))


def read_boxes(path: Path) -> None:
    from georgia.catalog import read_catalog

    read_catalog(path if path.suffix in (".json", ".xml") else path.parent, verify=False)


def read_store(path: Path) -> None:
    """Read all that ``frames``, ``verify``, ``spotcheck`` and the page read of a store."""
    from georgia.errors import InputError
    from georgia.monitor.frames import export_frames
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.verify import verify_store
    from georgia.spotcheck.sources import read_batch

    store = StoreReader.open(str(path))
    try:
        faults: list[Exception] = []
        for read in (
            lambda: verify_store(store).to_json_dict(),
            lambda: export_frames(store, path.with_suffix(".csv")),
            lambda: [frame.to_json_dict() for frame in store.frames(None)],
            lambda: [batch.to_json_dict() for batch in store.batches()],
            lambda: [alarm.to_json_dict() for alarm in store.alarms()],
            lambda: [entry.to_json_dict() for entry in store.audit_log()],
            lambda: store.series(1),
            lambda: read_batch(str(path), "1", None),
        ):
            try:
                read()
            except InputError as error:
                faults.append(error)
    finally:
        store.close()
    if faults:
        raise faults[0]


def read_labels(path: Path) -> None:
    """Open the journal of a labelling and take its labels."""
    from georgia.label.journal import Journal

    with Journal(path.with_suffix("")) as journal:
        journal.describe()
        for labels in journal.names.names.values():
            [label.to_json_dict() for label in labels]


def read_head(path: Path) -> None:
    from georgia.monitor.anchors import read_head_file

    read_head_file(path)


def read_anchor(path: Path) -> None:
    from georgia.monitor.anchors import Anchor

    list(Anchor(path, b"k" * 20, "store").notes())


def write_explanations(path: Path) -> None:
    from georgia.explain import Explanation, Explanations
    from georgia.labels import Labels
    from georgia.records import Failure

    values = np.random.default_rng(0).uniform(size=(4, 4)).astype(np.float32)
    item = Explanation(Path("a.png"), "CEX", 0.75, "CEX", 0.75, "PG", "class map", values)
    Explanations(Labels(CLASSES), (item,), (Failure(Path("b.png"), "empty"),), "m").save(path.parent)


def write_clusters(path: Path) -> None:
    from georgia.cluster import Assignment, Clustering, ClusterSummary

    rows = tuple(Assignment(Path(f"{at}.png"), at % 2, float(at), 0.5, CLASSES[at % 2]) for at in range(4))
    summary = ClusterSummary(0, 2, {"CEX": 2}, 1.0)
    Clustering(rows, (summary,), (0.5, 0.25), 1.0, 1.0, (), "m", 2).save(path.parent)


def write_comparison(path: Path) -> None:
    from georgia.evaluate import Evaluation
    from georgia.evaluate.compare import compare_evaluations

    kept = Evaluation.load(KEPT / "run")
    compare_evaluations(kept, kept).save(path.parent)


def write_plan(path: Path) -> None:
    path.write_text(json.dumps(make_plan()), encoding="utf-8")


def write_shard_plan(path: Path) -> None:
    path.write_text(json.dumps({"n_files": 3, "n_shards": 1, "model": "m", "classes": CLASSES}))


def write_predictions(path: Path) -> None:
    """Write a table as ``predict`` does."""
    from georgia.labels import Labels
    from georgia.predict.prediction import Prediction
    from georgia.predict.predictions import Predictions

    write_image(path.with_name("a.png"))
    rows = np.random.default_rng(1).dirichlet((1, 1), 8)
    items = tuple(
        Prediction(path.with_name("a.png"), CLASSES[int(row.argmax())], float(row.max()),
                   dict(zip(CLASSES, map(float, row), strict=True)))
        for row in rows
    )  # fmt: skip
    Predictions(Labels(CLASSES), items, (), "onnxruntime").save(path)


def write_check(path: Path) -> None:
    """Begin a spot check, and name its first window."""
    table = path.with_name("checked.csv")
    if not table.exists():
        write_predictions(table)
    if not (path.parent / "plan.json").exists():
        read_check(path)
        names = path.with_name("names.csv")
        lines = names.read_text(encoding="utf-8").splitlines()
        lines[1] = lines[1].removesuffix(",") + "CEX,ann" if lines[1].endswith(",,") else lines[1]
        names.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_coco(path: Path) -> None:
    box = [BOX["x"] / 10, BOX["y"] / 10, 12, 10]
    frames = [
        {"id": at, "file_name": f"{name}.png", "width": 24, "height": 20} for at, name in enumerate("ab")
    ]
    boxes = [{"id": at, "image_id": at, "category_id": 1 + at, "bbox": box, "iscrowd": 0} for at in range(2)]
    classes = [{"id": 1 + at, "name": name} for at, name in enumerate(CLASSES)]
    document = {"images": frames, "annotations": boxes, "categories": classes}
    path.write_text(json.dumps(document), encoding="utf-8")


def write_label_studio(path: Path) -> None:
    tasks = [
        {
            "id": at,
            "data": {"image": f"/data/upload/1/0123abcd-{name}"},
            "annotations": [
                {
                    "was_cancelled": False,
                    "result": [
                        {
                            "type": "rectanglelabels",
                            "original_width": 24,
                            "original_height": 20,
                            "value": {**BOX, "rotation": 0, "rectanglelabels": [CLASSES[at]]},
                        }
                    ],
                }
            ],
        }
        for at, name in enumerate(("a.png", "b.png"))
    ]
    path.write_text(json.dumps(tasks), encoding="utf-8")


def write_cvat(path: Path) -> None:
    shapes = "".join(
        f'<image id="{at}" name="{name}" subset="train" width="24" height="20">'
        f'<box label="{CLASSES[at]}" xtl="1.0" ytl="1.0" xbr="13.5" ybr="11.0" rotation="0"></box></image>'
        for at, name in enumerate(("a.png", "b.png"))
    )
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?><annotations>{shapes}</annotations>')


def write_yolo(path: Path) -> None:
    text = {
        "data.yaml": "path: .\nnames:\n  0: CEX\n  1: PG\n",
        "a.txt": "0 0.5 0.5 0.5 0.5\n1 0.25 0.25 0.2 0.2\n",
        "b.txt": "1 0.5 0.5 0.5 0.5\n",
    }
    path.write_text(text[path.name], encoding="utf-8")


def write_store(path: Path) -> None:
    """Write a store with two batches, frames with maps, an alarm and its steps."""
    from tests.helpers.monitor import make_result

    from georgia.monitor.result import ClassFraction, TileMap
    from georgia.monitor.store import Store

    store = Store(str(path))
    boxes, codes = np.array([[0, 0, 16, 16], [16, 0, 16, 16]], np.int32), np.array([0, 1], np.int8)
    tiles = TileMap(32, 16, CLASSES, boxes, codes, np.array([[0.9, 0.1], [0.2, 0.8]], np.float16))
    for name in ("B1", "B2"):
        batch = store.begin_batch("probe", name, "Ann", "PG", "ann").id
        for number in range(3):
            classes = (ClassFraction("CEX", 0.75, 0.6, 0.9, 3), ClassFraction("PG", 0.25, 0.1, 0.4, 1))
            result = make_result(10 * batch + number, batch, 0.25, classes=classes, map=tiles)
            store.record_frame(result, "probe", "{}")
    store.close()
    make_plain(path)


def copy_store(path: Path) -> None:
    """Take the store that version 0.1 wrote."""
    copy_kept("store.db")(path)
    make_plain(path)


def make_plain(path: Path) -> None:
    """Have one file without a log, which can be read from memory."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("VACUUM")
    connection.close()
    for suffix in ("-wal", "-shm", ".head"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def write_labels(path: Path) -> None:
    """Write a journal with a line of each kind."""
    from georgia.label.journal import Chosen, Journal, make_choice_entries, make_name_entry
    from georgia.label.records import ChoiceReason, Label

    with Journal(path.with_suffix("")) as journal:
        journal.begin({"root": "frames"})
        journal.set_classes(CLASSES, "ann")
        reason = next(iter(ChoiceReason))
        journal.append(*make_choice_entries([(f"{at}.png", Chosen(at, reason, 0.5)) for at in range(3)]))
        label = Label("0.png", "PG", "ann", "2026-01-01T00:00:00Z", tab="a")
        number = journal.append(make_name_entry(label))
        journal.append({"kind": "undo", "at": label.at, "who": "ann", "of": number})
        journal.append({"kind": "skip", "at": label.at, "who": "ann", "path": "1.png"})


def write_head(path: Path) -> None:
    head = {"seq": 3, "hash": "0f" * 32, "frame_id": 2, "chain": "1f" * 32, "seal": 1, "seal_hash": "2f" * 32}
    path.write_text(json.dumps(head))


def write_anchor(path: Path) -> None:
    line = {"at": "2026-01-02T03:04:05Z", "store": "store", "head": "3:" + "0f" * 32, "trail": 3, "frame": 2}
    path.write_text("".join(json.dumps({**line, "signature": "ab" * 32}) + "\n" for _ in range(2)))


def mutate_labels(data: bytes, rng: np.random.Generator) -> bytes:
    """Put odd values into a line of a journal of labels, whose check sum is then made to fit."""
    from tests.helpers.fuzz_readers import mutate_json

    from georgia.label.journal import _format

    lines = data.splitlines(keepends=True)
    chosen = int(rng.integers(0, len(lines)))
    entry = json.loads(mutate_json(lines[chosen], rng))
    entry.pop("crc32", None)
    lines[chosen] = _format(entry)
    return b"".join(lines)


def mutate_store(data: bytes, rng: np.random.Generator, odd: tuple[Any, ...]) -> bytes:
    """Put an odd value into some cells of a database; it stays a database."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(data)
        connection.execute("PRAGMA ignore_check_constraints=ON")
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        for _ in range(int(rng.integers(1, 4))):
            table = tables[int(rng.integers(0, len(tables)))]
            columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
            column = columns[int(rng.integers(0, len(columns)))]
            rows = [row[0] for row in connection.execute(f'SELECT rowid FROM "{table}"')]
            if not rows:
                continue
            row = rows[int(rng.integers(0, len(rows)))]
            (before,) = connection.execute(
                f'SELECT "{column}" FROM "{table}" WHERE rowid=?', (row,)
            ).fetchone()
            try:
                connection.execute(
                    f'UPDATE "{table}" SET "{column}"=? WHERE rowid=?', (_pick(before, rng, odd), row)
                )
            except (sqlite3.Error, OverflowError, UnicodeEncodeError):
                continue  # a value that the database itself does not take
        connection.commit()
        return connection.serialize()
    finally:
        connection.close()


def _pick(before: Any, rng: np.random.Generator, odd: tuple[Any, ...]) -> Any:
    """Return an odd value for a cell; that of a JSON document is often one with an odd value in it."""
    from tests.helpers.fuzz_readers import mutate, mutate_json

    if isinstance(before, str) and before[:1] in "{[" and before and rng.random() < 0.6:
        return mutate_json(before.encode(), rng).decode()
    if isinstance(before, bytes) and rng.random() < 0.6:
        return mutate(before, rng)
    value = odd[int(rng.integers(0, len(odd)))]
    return json.dumps(value) if isinstance(value, (list, dict)) else value


WRITERS.update(
    {
        "explain.json": write_explanations,
        **dict.fromkeys(("cluster.json", "assignments.csv"), write_clusters),
        "comparison.json": write_comparison,
        "study.json": copy_kept("study/study.json"),
        "row.json": copy_kept("study/runs/*/row.json"),
        "state/plan.json": write_plan,
        "_georgia/plan.json": write_shard_plan,
        **{f"predictions{suffix}": write_predictions for suffix in (".csv", ".json", ".jsonl", ".parquet")},
        "checked.csv": write_predictions,
        **dict.fromkeys(("plan.json", "names.csv"), write_check),
        "coco.json": write_coco,
        "tasks.json": write_label_studio,
        "boxes.xml": write_cvat,
        **dict.fromkeys(("data.yaml", "a.txt", "b.txt"), write_yolo),
        "store.db": write_store,
        "old.db": copy_store,
        "store.db.head": write_head,
        "anchor.jsonl": write_anchor,
        "labels.csv.journal": write_labels,
    }
)
