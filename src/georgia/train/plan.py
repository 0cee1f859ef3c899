"""What a run depends on, written down first, so that --resume goes on with the same run or not at all."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import georgia
from georgia.errors import InputError, UnwritableFileError
from georgia.files import is_full_disk, read_json, reading, write_json
from georgia.images.depth import DEPTH_VARIABLE, find_stated_bits
from georgia.model.bundle import BUNDLE_FILE
from georgia.records import SPLITS, Catalog, Record
from georgia.report.history import HISTORY_FILE
from georgia.report.page import REPORT_FILE
from georgia.split.make import Split, SplitConfig, make_split
from georgia.train.device import find_precision
from georgia.train.recipes import DRY_RUN_FRACTION, TrainConfig, rename_settings, without_added
from georgia.train.state import STATE_FILE

STATE_FOLDER = "state"
PLAN_FILE = "plan.json"
CREATED_FILE = "created.json"
# What a full disk says of a single file; a run says how it goes on.
FREE_SOME = "Free some and run the same command again."
DISK_FULL_HINT = "Make room and give the same command with --resume: finished epochs are kept."
_TIME_FORMAT = "%Y-%m-%d_%H-%M-%S"
# A dry run keeps at least this many images of a class, so that every split gets some.
DRY_RUN_MINIMUM = 12
# Settings that may change between stop and resume without changing what is learned.
FREE_SETTINGS = ("device", "study_name", "feature_cache_gb", "robustness")


def check_run_folder(out: Path, resume: bool) -> None:
    """Refuse to mix a new run with what lies in its folder.

    Raises:
        InputError: the folder holds a run and ``resume`` is off, or a run that cannot be gone on with:
            one that is finished, or one without its resume point.
    """
    plan = f"{STATE_FOLDER}/{PLAN_FILE}"
    held = [name for name in (BUNDLE_FILE, HISTORY_FILE, plan) if (out / name).exists()]
    if not held:
        return
    if is_finished(out):
        what, got = "it must hold no run", f"a finished run ({BUNDLE_FILE})"
        hint = "--resume has nothing to do there, and finished runs are kept: choose another --out."
    elif not resume:
        what, got, hint = (
            "it must hold no run",
            held[0],
            "Choose another --out, or go on with it by --resume.",
        )
    elif plan not in held:
        what, got = "a run can be resumed from its plan and resume point", f"{held[0]} without {plan}"
        hint = "Nothing was changed: choose another --out."
    else:
        return
    raise InputError(f"Cannot write the run to {str(out)!r}", needs=what, got=got, hint=hint)


def is_finished(folder: Path) -> bool:
    """Tell whether a run has everything: the report is written last."""
    return (folder / BUNDLE_FILE).exists() and (folder / REPORT_FILE).exists()


def subsample_catalog(catalog: Catalog, seed: int) -> Catalog:
    """Return a stratified tenth of a catalog for a dry run: a tenth of each class in each split."""
    rng = np.random.default_rng(seed)
    kept: list[Record] = []
    for name in catalog.labels.names:
        for split in ("", *SPLITS):
            records = [
                record for record in catalog.records if record.class_name == name and record.split == split
            ]
            count = min(len(records), max(round(len(records) * DRY_RUN_FRACTION), DRY_RUN_MINIMUM))
            kept += [records[i] for i in sorted(rng.permutation(len(records))[:count])]
    order = {record.path: number for number, record in enumerate(catalog.records)}
    return replace(catalog, records=tuple(sorted(kept, key=lambda record: order[record.path])))


def split_catalog(catalog: Catalog, config: TrainConfig) -> Split:
    """Return the given split where the source has one, else that of the run's settings.

    Raises:
        InputError: the images cannot be split as asked.
    """
    # Where only some have a split, that order refuses and counts the others.
    given = any(record.split for record in catalog.records)
    order = "given" if given else config.order
    return make_split(catalog, SplitConfig(config.fractions, order, config.seed))


def make_plan(
    config: TrainConfig, split: Split, fingerprint: str, versions: Mapping[str, str]
) -> dict[str, Any]:
    """Return everything that decides what is learned, as plain JSON values.

    Raises:
        InputError: the environment states a depth or a precision that cannot be used.
    """
    return {
        **list_arithmetic(config),
        "settings": config.to_dict(),
        "classes": list(split.labels.names),
        "data": fingerprint,
        "split": _hash_split(split.records),
        "versions": dict(versions),
    }


def list_arithmetic(config: TrainConfig) -> dict[str, Any]:
    """Return what the environment changes in pixels and features; empty where it states nothing.

    ``depth`` is that of 16-bit files, in bits; ``precision`` is that of the features, if it is not float32.

    Raises:
        InputError: the environment states a depth or a precision that cannot be used.
    """
    bits, (precision, _) = find_stated_bits(), find_precision(config.precision, config.device)
    found = {"depth": bits, "precision": "" if precision == "float32" else precision}
    return {name: value for name, value in found.items() if value}


def compare_arithmetic(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for each of two plans' depth and precision that differ."""
    names = {"depth": (DEPTH_VARIABLE, "none"), "precision": ("precision", "float32")}
    return [
        f"{name} {now.get(key) or usual} instead of {before.get(key) or usual}"
        for key, (name, usual) in names.items()
        if now.get(key) != before.get(key)
    ]


def open_plan(out: Path, plan: Mapping[str, Any], resume: bool) -> str:
    """Write the plan, or compare it with the one that is there; return the run's key (hex).

    Raises:
        InputError: there is nothing to resume, or settings or data have changed since.
    """
    file = out / STATE_FOLDER / PLAN_FILE
    settings = without_added(plan["settings"])
    free = {"settings": {name: value for name, value in settings.items() if name not in FREE_SETTINGS}}
    key = hashlib.sha256(json.dumps({**plan, **free, "versions": None}, sort_keys=True).encode()).hexdigest()
    if resume and file.exists():
        with reading(f"Cannot resume {str(out)!r}", f"{PLAN_FILE} must be whole"):
            faults = _compare(read_json(file), plan)
        if faults:
            raise InputError(
                f"Cannot resume {str(out)!r}",
                needs="settings and data must be those that it began with",
                got="; ".join(faults),
                hint="Give the same settings and data, or start anew in another --out.",
            )
        return key
    for name in (STATE_FILE, CREATED_FILE):
        (out / STATE_FOLDER / name).unlink(missing_ok=True)
    write_json(file, plan)
    return key


def name_time(out: Path) -> str:
    """Return the time that the artifacts' names hold: now, or that of the first try to write them.

    So another try after a stop replaces the files of the first, and one pair of weights remains.
    """
    file = out / STATE_FOLDER / CREATED_FILE
    try:
        known = str(read_json(file)["created"])
        time.strptime(known, _TIME_FORMAT)
    except (OSError, ValueError, KeyError, TypeError):
        known = time.strftime(_TIME_FORMAT)
        write_json(file, {"created": known})
    return known


@contextmanager
def saying_disk_full(what: str, hint: str = DISK_FULL_HINT) -> Iterator[None]:
    """Turn a full disk, whoever noticed it, into one line that says how to go on.

    Raises:
        UnwritableFileError: the system said that no space, or no quota, is left.
    """
    try:
        yield
    except Exception as error:  # HDF5 and ONNX raise errors of their own kinds
        cause = error.__cause__ if isinstance(error, UnwritableFileError) else error
        if cause is None or not is_full_disk(cause):
            raise
        found = " ".join(str(error).split()).removesuffix(FREE_SOME).rstrip(" .")
        raise UnwritableFileError(
            f"Cannot finish {what}",
            needs="the disk must have room",
            got=found,
            hint=hint,
        ) from error


def _compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    old, new = (without_added(rename_settings(plan["settings"])) for plan in (before, now))
    faults = [
        f"{name} {new.get(name)!r} instead of {old.get(name)!r}"
        for name in sorted(set(old) | set(new))
        if name not in FREE_SETTINGS and old.get(name) != new.get(name)
    ]
    faults += compare_arithmetic(before, now)
    others = {"classes": "other classes", "data": "other images", "split": "another split"}
    return faults + [text for name, text in others.items() if before[name] != now[name]]


def _hash_split(records: Sequence[Record]) -> str:
    lines = [f"{record.split}\t{record.class_name}\t{record.path.name}" for record in records]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def list_versions() -> dict[str, str]:
    """Return the versions that a run depends on."""
    versions = {"georgia": georgia.__version__, "python": platform.python_version()}
    for package in ("keras", "tensorflow", "tensorflow-cpu", "numpy", "onnx", "onnxruntime", "openvino"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
