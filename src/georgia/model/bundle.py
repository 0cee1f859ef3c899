"""A model is a folder: the exported file, its weights, and ``bundle.json`` that describes them.

A bare ``.onnx`` works too: class names and preprocessing are in its metadata.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from georgia.errors import InputError
from georgia.files import write_json
from georgia.images.preprocess import PreprocessSpec
from georgia.labels import Labels
from georgia.model.description import check_description, parse_metadata
from georgia.model.engines import open_session
from georgia.uncertainty.decision import DecisionThresholds

BUNDLE_FILE = "bundle.json"
KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")


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

    @property
    def name(self) -> str:
        """What to call the model in tables and reports."""
        return str(self.metadata.get("name") or self.model_path.stem)


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
        InputError: ONNX Runtime cannot open the file, or Georgia did not write it.
    """
    session = open_session(path, 0, ["CPUExecutionProvider"], is_optimized=False)
    details = parse_metadata(session.get_modelmeta().custom_metadata_map, path)
    if details is None:
        raise InputError(
            f"Cannot use model {str(path)!r}",
            needs="its metadata must hold class names and preprocessing",
            got="a foreign ONNX file",
            hint="Export it with Georgia, or give the Keras .h5 with --classes.",
        )
    return read_details(details, path, f"model {str(path)!r}")
