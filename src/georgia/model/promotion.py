"""Another model in the place of the one in use: one file is replaced, and the old model stays.

A model's folder stays where the monitor looks for it. Each promoted model is copied whole into a folder of
its own in there, ``model-<hash>``, and ``bundle.json`` says which one holds. Replacing that one file is the
swap: before it the old model works, after it the new one, and a kill in between leaves one of both. Earlier
``bundle.json`` are kept as ``bundle-<number>.json``, so going back is the same step.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from georgia.errors import InputError
from georgia.files import hold_folder, naming_full_disk, read_json, reading, write_bytes, write_json
from georgia.model.bundle import BUNDLE_FILE, PROMOTION, Bundle, find_home
from georgia.model.load import load_bundle

_KEPT = re.compile(r"bundle-([0-9]{3,})\.json")
_UNFINISHED = ".promoting-"


@dataclass(frozen=True)
class Sign:
    """Who did it and why, and the figures that it rests on."""

    who: str
    reason: str = ""
    decision: str = "promoted"
    figures: Mapping[str, Any] | None = None


def open_place(current: Path) -> Bundle:
    """Open the model in use, which must be a folder so that another can take its place.

    Raises:
        InputError: it is no folder with a ``bundle.json``, or is damaged.
    """
    if not current.is_dir():
        raise InputError(
            f"Cannot replace model {str(current)!r}",
            needs="the folder of a model with bundle.json is needed",
            got="a file" if current.exists() else "no such folder",
            hint="Give the folder that 'georgia train --out' wrote, and start the monitor with it.",
        )
    return load_bundle(current)


def replace_model(new: Path, current: Path, sign: Sign) -> Bundle:
    """Let the model ``new`` take the place of ``current``; return it as it is opened there.

    Raises:
        InputError: one of both is no folder of a model or is damaged, both are the same model, or another
            process replaces it now.
        UnwritableFileError: the folder cannot be written to, or the disk is full; the old model stays.
    """
    open_place(current)
    with _holding(current):
        before, after = open_place(current), open_place(new)
        if before.sha256 == after.sha256:
            raise InputError(
                f"Cannot replace model {str(current)!r}",
                needs="the new model must be another one",
                got=f"the same file, {after.sha256[:12]}…",
            )
        held = _copy_model(after, current)
        document = _read_document(current / held)
        kept = _keep_description(current)
        record = {**_describe(before, after, sign), "folder": held, "before": kept}
        write_json(current / BUNDLE_FILE, {**document, PROMOTION: record})
        return load_bundle(current)


def go_back(current: Path, who: str, reason: str = "") -> Bundle:
    """Let the model before the last promotion take its place again; return it.

    Going back again leads to the one before that.

    Raises:
        InputError: it is no folder of a model, no model was there before, or what was kept of it is damaged.
        UnwritableFileError: the folder cannot be written to; the model stays.
    """
    open_place(current)
    with _holding(current):
        now = open_place(current)
        name = str(_promotion(now).get("before") or "")
        if not _KEPT.fullmatch(name):
            raise InputError(
                f"Cannot go back in {str(current)!r}",
                needs="an earlier model is needed there",
                got="none: the model in use is the first one",
            )
        with reading(f"Cannot go back in {str(current)!r}", f"{name} of the earlier model is needed"):
            document = read_json(current / name)
            place = find_home(current, document)
            earlier = dict(document.pop(PROMOTION, None) or {})
        before = _check_kept(place, document, current / name)
        _keep_description(current)
        record = {
            **_describe(now, before, Sign(who, reason, "back")),
            "folder": earlier.get("folder"),
            "before": earlier.get("before"),
        }
        write_json(current / BUNDLE_FILE, {**document, PROMOTION: record})
        return load_bundle(current)


@contextmanager
def _holding(current: Path) -> Iterator[None]:
    """Let no other process replace the model meanwhile, and remove what a killed one has left."""
    with hold_folder(current):
        for unfinished in current.glob(_UNFINISHED + "*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        yield


def _check_kept(place: Path, document: Mapping[str, Any], file: Path) -> Bundle:
    """Open the earlier model from what was kept of it, before its description is in force."""
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=file.parent) as folder:
        model = place / Path(str(document["model"])).name
        if not model.is_file():
            raise InputError(
                f"Cannot go back in {str(file.parent)!r}",
                needs=f"the model that {file.name} names must still be there",
                got=f"no {model.name[:80]!r}",
            )
        shutil.copyfile(model, Path(folder) / model.name)
        write_json(Path(folder) / BUNDLE_FILE, document)
        bundle = load_bundle(folder)
        _ = bundle.sha256
        return bundle


def _promotion(bundle: Bundle) -> Mapping[str, Any]:
    found = bundle.metadata.get(PROMOTION)
    return found if isinstance(found, Mapping) else {}


def _describe(before: Bundle, after: Bundle, sign: Sign) -> dict[str, Any]:
    return {
        "decision": sign.decision,
        "from": {"name": before.name, "model_sha256": before.sha256},
        "to": {"name": after.name, "model_sha256": after.sha256},
        "who": sign.who,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": sign.reason,
        "figures": dict(sign.figures) if sign.figures is not None else None,
    }


def _read_document(folder: Path) -> dict[str, Any]:
    with reading(f"Cannot read {str(folder / BUNDLE_FILE)!r}", "it must be JSON"):
        document: dict[str, Any] = read_json(folder / BUNDLE_FILE)
    document.pop(PROMOTION, None)
    return document


def _copy_model(new: Bundle, current: Path) -> str:
    """Copy the folder of a model into the one in use, whole or not at all; return its name there."""
    source = new.model_path.parent
    name = f"model-{new.sha256[:12]}"
    for number in range(2, 1000):
        if not (current / name).exists():
            break
        if _is_same(source, current / name):
            return name
        name = f"model-{new.sha256[:12]}-{number}"
    with naming_full_disk(current / name):
        work = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=current))
        try:
            copied = work / name
            copied.mkdir()
            # Its own files; what was promoted into it earlier is another model's.
            for file in sorted(source.iterdir()):
                if file.is_file() and file.name != ".lock" and not _KEPT.fullmatch(file.name):
                    write_bytes(copied / file.name, file.read_bytes())
            document = _read_document(copied) if (copied / BUNDLE_FILE).exists() else None
            if document is None:
                raise InputError(
                    f"Cannot use model {str(source)!r}",
                    needs=f"it must hold {BUNDLE_FILE}",
                    got="none",
                    hint="Give the folder that 'georgia train --out' wrote.",
                )
            write_json(copied / BUNDLE_FILE, document)
            load_bundle(copied)
            copied.rename(current / name)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return name


def _is_same(source: Path, kept: Path) -> bool:
    if source.resolve() == kept.resolve():
        return True
    try:
        return _read_document(source) == _read_document(kept) and bool(load_bundle(kept))
    except InputError:
        return False


def _keep_description(current: Path) -> str:
    """Keep the ``bundle.json`` that is in force under the next free number; return the name."""
    numbers = [int(found[1]) for file in current.iterdir() if (found := _KEPT.fullmatch(file.name))]
    name = f"bundle-{max(numbers, default=0) + 1:03}.json"
    write_bytes(current / name, (current / BUNDLE_FILE).read_bytes())
    return name
