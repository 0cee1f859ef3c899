"""A model is a folder: the exported file, its weights, and ``bundle.json`` that describes them.

A bare ``.onnx`` works too: class names and preprocessing are in its metadata.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from georgia.errors import InputError
from georgia.files import reading, write_json
from georgia.images.preprocess import PreprocessSpec
from georgia.labels import Labels
from georgia.model.description import check_description, parse_metadata
from georgia.model.onnx_session import open_session
from georgia.model.plain_net import check_plain_net
from georgia.uncertainty.decision import DecisionThresholds

BUNDLE_FILE = "bundle.json"
KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")
# The entry that says how the model took the place of another, and in which folder of its own it lies.
PROMOTION = "promotion"
_HELD = re.compile(r"model-[0-9a-f]{12}(-[0-9]{1,3})?")


@dataclass(frozen=True)
class Bundle:
    """One loaded description of a model; the file itself is opened by an engine.

    ``metadata`` holds the rest of ``bundle.json``: recipe, data fingerprint, versions, metrics.
    """

    model_path: Path
    labels: Labels
    preprocess: PreprocessSpec
    metadata: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    @cached_property
    def thresholds(self) -> DecisionThresholds:
        """What turns the outputs of the graph into predictions, rejections and sets."""
        return DecisionThresholds.from_details(self.labels, self.metadata)

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the model file."""
        with self.model_path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    @property
    def name(self) -> str:
        """What to call the model in tables and reports."""
        return str(self.metadata.get("name") or self.model_path.stem)

    @property
    def is_demonstration(self) -> bool:
        """Whether the model was trained on synthetic images only, as the bundled one, to try things out."""
        data = self.metadata.get("data")
        source = str(data.get("source") or "") if isinstance(data, Mapping) else ""
        return source.startswith("georgia.synthetic") or self.note.startswith("Bundled model:")


def find_home(folder: Path, details: Mapping[str, Any]) -> Path:
    """Return where the model of a ``bundle.json`` lies: beside it, or where it was promoted to.

    Raises:
        ValueError: the folder that it names is none that a promotion makes.
    """
    promotion = details.get(PROMOTION)
    held = promotion.get("folder") if isinstance(promotion, Mapping) else None
    if not held:
        return folder
    if not _HELD.fullmatch(str(held)):
        raise ValueError(f"folder {str(held)[:80]!r}")
    return folder / str(held)


def save_bundle(
    folder: Path, model_file: str, labels: Labels, spec: PreprocessSpec, metadata: Mapping[str, Any]
) -> Path:
    """Write ``bundle.json`` beside the model file that it names, with that file's hash; return its path."""
    with (folder / model_file).open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    details = {
        "model": model_file,
        "model_sha256": sha256,
        "classes": list(labels.names),
        "preprocess": spec.to_dict(),
        **metadata,
    }
    write_json(folder / BUNDLE_FILE, details)
    return folder / BUNDLE_FILE


def read_details(details: Mapping[str, Any], model_path: Path, where: str) -> Bundle:
    """Build a bundle from the plain form in ``bundle.json`` or in an ONNX file's metadata.

    Raises:
        InputError: an entry is missing or wrong.
    """
    check_description(details, where)
    labels = Labels(tuple(details["classes"]))
    spec = PreprocessSpec.from_dict(details["preprocess"])
    left_out = ("classes", "preprocess", "model", "model_sha256")
    rest = {key: value for key, value in details.items() if key not in left_out}
    bundle = Bundle(model_path, labels, spec, rest, str(rest.get("note") or ""))
    _ = bundle.thresholds  # wrong ones are a fault of the model, not of the first image
    return bundle


def read_onnx_bundle(path: Path) -> Bundle:
    """Read the description in an ONNX file's metadata.

    Raises:
        InputError: ONNX Runtime cannot open the file, it is more than a plain net, or Georgia did not
            write it.
    """
    check_plain_net(path)
    session = open_session(path, 0, is_optimized=False)
    with reading(f"Cannot use model {str(path)!r}", "its metadata must be text"):
        entries = dict(session.get_modelmeta().custom_metadata_map)
    details = parse_metadata(entries, path)
    if details is None:
        raise InputError(
            f"Cannot use model {str(path)!r}",
            needs="its metadata must hold class names and preprocessing",
            got="a foreign ONNX file",
            hint="Export it with Georgia, or give the Keras .h5 with --classes.",
        )
    return read_details(details, path, f"model {str(path)!r}")
