"""Is the model the one that was shipped, and does it predict the same in both engines here?"""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.files import read_json, write_json
from georgia.images.decode import read_image
from georgia.model.bundle import Bundle
from georgia.model.description import read_onnx_description
from georgia.model.engines import describe_processor, find_asked_precision, open_engine
from georgia.model.load import load_bundle, load_bundled_model
from georgia.service.qualify.records import Finding, NotRunError

REFERENCE = Path(__file__).parent / "reference"
PREDICTIONS_FILE = "predictions.json"
ENGINES = ("onnxruntime", "openvino")
# Probabilities may differ by so much from those that were stored, and between engines. Source: engines differ
# by 6e-7 on the bundled model's images, and processors by the order of sums; a label turns at far more.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Model:
    """The model that is checked; ``path`` "" is the bundled one."""

    path: str

    @cached_property
    def bundle(self) -> Bundle:
        """Open it: its file must be the one that its description names."""
        return load_bundle(self.path) if self.path else load_bundled_model()

    def check_hashes(self) -> Finding:
        """Find the hashes of the model's files; that of the net must be the one its description names."""
        file = self.bundle.model_path
        digests = [f"{path.name} {_digest(path)}" for path in _list_files(file)]
        details = file.parent / "bundle.json"
        named = read_json(details).get("model_sha256") if details.is_file() else None
        if named is None:
            raise NotRunError(
                f"No description beside {file.name} names its hash. Found: {'; '.join(digests)}."
            )
        return Finding(named == _digest(file), "; ".join(digests))

    def check_classes(self) -> Finding:
        """Find the classes in their order: those of the description and those inside the file."""
        own = read_onnx_description(self.bundle.model_path)
        if own is None:
            raise NotRunError("The model file holds no description of itself.")
        names, inside = list(self.bundle.labels.names), list(own.get("classes", ()))
        version = self.bundle.metadata.get("versions", {}).get("georgia", "of an unknown version")
        found = f"{', '.join(names)}; in the file: {', '.join(inside)}; written by Georgia {version}"
        return Finding(names == inside, found)

    def check_precision(self) -> Finding:
        """Find the processor and the precision in force, and what keeps it from the one asked for."""
        from georgia.predict.rejudge import open_served_engine

        asked = find_asked_precision("auto")
        wanted = "float32" if asked == "auto" else asked
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            engine = open_served_engine(self.bundle)
        found = f"{engine.precision} in {engine.name} on {describe_processor()}"
        said = " ".join(str(warning.message) for warning in caught)
        return Finding(asked == "fastest" or engine.precision == wanted, found, said)

    def check_engine(self, engine: str) -> Finding:
        """Find what an engine predicts of the reference images; those of the bundled model are stored."""
        _require(engine)
        if self.path:
            raise NotRunError(
                "Predictions are stored for the bundled model only; engines are compared below."
            )
        expected = read_json(REFERENCE / PREDICTIONS_FILE)["predictions"]
        found = predict_reference(self.bundle, engine)
        largest, wrong = 0.0, []
        for name, stored in expected.items():
            difference = max(
                abs(a - b) for a, b in zip(stored["probabilities"], found[name]["probabilities"], strict=True)
            )
            largest = max(largest, difference)
            if stored["label"] != found[name]["label"] or not difference <= TOLERANCE:
                wrong.append(f"{name}: {found[name]['label']} {found[name]['probabilities']}")
        said = f"{len(expected) - len(wrong)} of {len(expected)}; largest difference {largest:.1e}"
        return Finding(not wrong, said + "".join(f"; {text}" for text in wrong[:5]))

    def check_between_engines(self) -> Finding:
        """Find how far the engines differ on the reference images."""
        for engine in ENGINES:
            _require(engine)
        one, other = (predict_reference(self.bundle, engine) for engine in ENGINES)
        largest = max(
            abs(a - b)
            for name in one
            for a, b in zip(one[name]["probabilities"], other[name]["probabilities"], strict=True)
        )
        labels = [name for name in one if one[name]["label"] != other[name]["label"]]
        others = ", ".join(labels) or "none"
        found = f"largest difference {largest:.1e} on {len(one)} images; other labels: {others}"
        return Finding(largest <= TOLERANCE and not labels, found)


def try_out(bundle: Bundle) -> None:
    """Check that a model computes here what it should, before a monitor that runs takes it.

    Each engine that is installed runs the reference images, and they must agree.

    Raises:
        InputError: they are not, or do not; what is wrong is in the message.
    """
    engines = [name for name in ENGINES if importlib.util.find_spec(name) is not None]
    rows: dict[str, npt.NDArray[np.float64]] = {}
    for engine in engines:
        predicted = predict_reference(bundle, engine).values()
        rows[engine] = np.array([each["probabilities"] for each in predicted])
        if not (abs(rows[engine].sum(axis=1) - 1) <= TOLERANCE).all():  # NaN is none either
            raise _cannot_use(bundle, "probabilities must sum to one", f"others by {engine}")
    one, *others = rows
    for other in others:
        largest = float(abs(rows[one] - rows[other]).max())
        if largest > TOLERANCE:
            got = f"a difference of {largest:.1e} between {one} and {other}"
            raise _cannot_use(bundle, f"engines must agree to {TOLERANCE:g} on the reference images", got)


def _cannot_use(bundle: Bundle, needs: str, got: str) -> InputError:
    hint = "Train or export it anew; georgia qualify says more."
    return InputError(f"Cannot use model {bundle.name!r}", needs=needs, got=got, hint=hint)


def _require(engine: str) -> None:
    if importlib.util.find_spec(engine) is None:
        raise NotRunError(f"{engine} is not installed: pip install 'georgia[{engine}]'.")


def _list_files(model: Path) -> list[Path]:
    names = (model.name, "bundle.json", "reference.npz")
    return [model.parent / name for name in names if (model.parent / name).is_file()]


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def predict_reference(bundle: Bundle, engine: str) -> dict[str, dict[str, Any]]:
    """Return label and probabilities (C,) of each reference image, by one engine in float32."""
    paths = sorted(REFERENCE.glob("*.png"))
    if not paths:
        raise NotRunError("This installation holds no reference images.")
    opened = open_engine(bundle.model_path, bundle.preprocess, engine, 1, "float32")
    outputs = opened.run([opened.prepare(read_image(path)) for path in paths])
    decisions = bundle.thresholds.decide(outputs)
    return {
        path.name: {"label": decision.label, "probabilities": [round(float(p), 6) for p in row]}
        for path, decision, row in zip(paths, decisions, outputs["probabilities"], strict=True)
    }


def write_predictions(folder: Path = REFERENCE) -> Path:
    """Write what the bundled model predicts of the reference images, after it was trained anew."""
    predictions = predict_reference(load_bundled_model(), ENGINES[0])
    write_json(
        folder / PREDICTIONS_FILE,
        {"model_sha256": _digest(load_bundled_model().model_path), "predictions": predictions},
    )
    return folder / PREDICTIONS_FILE
