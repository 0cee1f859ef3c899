"""Out-of-fold predictions of a model that was cross-validated: ``out_of_fold.csv`` beside it.

Each image is predicted by a fold's model that learned from none of the image's group. These stand in for
the final model, which learned from more and is expected to be no worse; so where another model never learned
from a group either, the two can be compared on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from georgia.catalog.csv_file import find_root
from georgia.catalog.read import relative_name
from georgia.evaluate.overlap import SPLIT_FILE
from georgia.files import DAMAGE, read_table
from georgia.labels import Labels
from georgia.model.bundle import Bundle
from georgia.records import Record, format_window, hash_files
from georgia.text import format_csv, read_rows

OUT_OF_FOLD_FILE = "out_of_fold.csv"
# The key of ``bundle.json`` that names the file, its SHA-256 and its number of images.
OUT_OF_FOLD = "out_of_fold"
# Why an image was chosen to be named, where no model's doubt decided that: images that a model was in doubt
# of are too hard for it, and would speak against it. A duplicate of which nothing is known may be one.
CHOSEN_BLINDLY = ("even", "spread", "asked", "imported")
_CHOSEN_BY_DOUBT = ("uncertain", "suspected", "duplicate")
_COLUMNS = ("path", "class", "group", "sha256", "fold", "label", "probability", "chosen")


@dataclass(frozen=True)
class FoldPrediction:
    """One image, its SHA-256, and what the model of its ``fold`` says of it: ``label`` and probability, 0–1.

    ``chosen`` tells why it was named: "even" for all of the even sample, else a reason of ``georgia label``.
    """

    record: Record
    sha256: str
    fold: int
    label: str
    probability: float
    chosen: str = ""


def format_out_of_fold(rows: Sequence[FoldPrediction], root: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of ``out_of_fold.csv``, and what ``bundle.json`` holds of it.

    Paths are relative to ``root``, as those of the ``split.csv`` beside it.
    """
    table: list[Sequence[object]] = [_COLUMNS]
    for row in rows:
        name, record = relative_name(row.record.path, root), row.record
        given = [row.sha256, row.fold, row.label, f"{row.probability:.6f}", row.chosen]
        table.append([name, record.class_name, record.group, *given])
    text = format_csv(table)
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return text, {"file": OUT_OF_FOLD_FILE, "sha256": digest, "n_images": len(rows)}


def read_out_of_fold(bundle: Bundle) -> tuple[tuple[FoldPrediction, ...], str]:
    """Return what lies beside a model, and a line where it cannot be used; nothing where there is none."""
    told = bundle.metadata.get(OUT_OF_FOLD)
    table = bundle.model_path.with_name(OUT_OF_FOLD_FILE)
    if not isinstance(told, Mapping):
        return (), ""
    try:
        content = table.read_bytes()
        if hashlib.sha256(content).hexdigest() != told.get("sha256"):
            return (), f"{bundle.name}: its {OUT_OF_FOLD_FILE} is not the one that was written with it"
        root = find_root(table.with_name(SPLIT_FILE))
        return tuple(_read_row(row, root, bundle.labels) for row in read_rows(read_table(table))), ""
    except DAMAGE as error:
        return (), f"{bundle.name}: its {OUT_OF_FOLD_FILE} cannot be read ({type(error).__name__})"


def find_images(rows: Sequence[FoldPrediction], records: Sequence[Record]) -> list[FoldPrediction]:
    """Return the rows whose image is at hand with the same content, at its present place.

    It is looked for among ``records`` first, which say what it shows now, and then where it was. The rest is
    left out.
    """
    if not rows:
        return []
    known: dict[str, Record] = {}
    digests = hash_files([record.path for record in records])
    for record, digest in zip(records, digests, strict=True):
        if digest is not None:
            known.setdefault(digest, record)
    lost = [row for row in rows if row.sha256 not in known]
    there = hash_files([row.record.path for row in lost])
    kept = {row.sha256 for row, digest in zip(lost, there, strict=True) if digest == row.sha256}
    found = []
    for row in rows:
        if row.sha256 in known:
            # Groups that the learning joined, as they hold near-duplicates, stay joined.
            record = known[row.sha256]
            group = row.record.group or record.group
            found.append(replace(row, record=replace(record, group=group)))
        elif row.sha256 in kept:
            found.append(row)
    # Two files of one content are one image.
    return list({row.sha256: row for row in found}.values())


def find_doubted(table: Path) -> set[Path]:
    """Return the images of a table that ``georgia label`` wrote which were chosen by a model's doubt.

    Duplicates of what was chosen are among them: their group stays by the one that was named, where no doubt
    chose that. Empty for other data.
    """
    try:
        rows = read_rows(read_table(table)) if table.is_file() else []
        return {_read_place(row, table.parent) for row in rows if row["reason"] in _CHOSEN_BY_DOUBT}
    except DAMAGE:
        return set()


def _read_place(row: Mapping[str, str], root: Path) -> Path:
    cells = [row[name] for name in ("x", "y", "width", "height")]
    x, y, width, height = (int(cell or 0) for cell in cells)
    return Path(format_window(root / row["path"], (x, y, width, height) if any(cells) else None))


def _read_row(row: Mapping[str, str], root: Path, labels: Labels) -> FoldPrediction:
    labels.indices([row["class"], row["label"]])
    record = Record(root / row["path"], row["class"], row["group"])
    fold, probability = int(row["fold"]), float(row["probability"])
    if not row["sha256"] or not 0 <= probability <= 1:
        raise ValueError(row["path"])
    return FoldPrediction(record, row["sha256"], fold, row["label"], probability, row["chosen"])
