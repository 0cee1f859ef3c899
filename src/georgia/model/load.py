"""Open a model: a run folder, a bundle, an exported ONNX file, or a foreign Keras file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from georgia.errors import InputError, MissingDependencyError
from georgia.files import read_json, reading
from georgia.labels import Labels
from georgia.model.bundle import (
    BUNDLE_FILE,
    KERAS_SUFFIXES,
    Bundle,
    find_home,
    read_details,
    read_onnx_bundle,
)
from georgia.model.description import check_agreement, read_onnx_description
from georgia.model.plain_net import check_plain_net


def load_bundle(
    source: str | Path, classes: tuple[str, ...] | None = None, preprocess: str | None = None
) -> Bundle:
    """Open a run folder, a bundle, an exported ``.onnx``, or a foreign Keras ``.h5``/``.keras``.

    Args:
        classes: class names in output order; a foreign model needs them, for any other they must be
            the model's own.
        preprocess: what a foreign Keras file was trained on: caffe, tf, torch, unit or raw; None infers it
            from its layers. For other models it stays None: they bring their own.

    Raises:
        InputError: there is no such model, it is damaged, or its class names are not known.
        MissingDependencyError: a foreign Keras file is given and Keras is not installed.
    """
    path = Path(source)
    if not path.exists():
        raise InputError(
            f"Cannot open model {str(path)!r}",
            needs="it must exist",
            got="no such file",
            hint="Give a run folder, a bundle, an .onnx or a Keras .h5.",
        )
    if path.name == BUNDLE_FILE:
        path = path.parent
    if path.is_dir():
        bundle = _load_folder(path)
    elif path.suffix.lower() == ".onnx":
        bundle = read_onnx_bundle(path)
    elif path.suffix.lower() in KERAS_SUFFIXES:
        return _load_keras(path, classes, preprocess)
    else:
        raise InputError(
            f"Cannot open model {str(path)!r}",
            needs="a folder with bundle.json, an .onnx, or a Keras .h5 or .keras is needed",
            got=path.suffix or "no suffix",
        )
    if classes is not None and classes != bundle.labels.names:
        raise InputError(
            "Cannot use --classes",
            needs=f"this model's classes are {', '.join(bundle.labels.names)}",
            got=", ".join(classes),
            hint="Leave --classes out: the model brings its own names.",
        )
    _check_no_preprocess(preprocess, path)
    return bundle


def _check_no_preprocess(preprocess: str | None, path: Path) -> None:
    if preprocess is not None:
        raise InputError(
            "Cannot use --preprocess",
            needs="it is for a Keras file from elsewhere",
            got=repr(str(path)),
            hint="Leave it out: the model brings its own preprocessing.",
        )


def load_bundled_model() -> Bundle:
    """Open the small model that comes with the package, trained on synthetic crystals only.

    Raises:
        InputError: this installation does not hold it.
    """
    folder = Path(str(resources.files("georgia") / "bundled"))
    if not (folder / BUNDLE_FILE).exists():
        raise InputError(
            "Cannot open the bundled model",
            needs="it must be installed",
            got="none",
            hint="Give a model, or install Georgia from its package.",
        )
    return _load_folder(folder)


def is_model(path: Path) -> bool:
    """Return whether ``load_bundle`` opens such a path, by its name alone."""
    if path.is_dir():
        return (path / BUNDLE_FILE).exists()
    return path.suffix.lower() in (".onnx", *KERAS_SUFFIXES) or path.name == BUNDLE_FILE


def _load_folder(folder: Path) -> Bundle:
    file = folder / BUNDLE_FILE
    if not file.exists():
        raise InputError(
            f"Cannot open model {str(folder)!r}",
            needs=f"it must hold {BUNDLE_FILE}",
            got="none",
            hint="Give the folder that 'georgia train --out' wrote.",
        )
    with reading(f"Cannot read {str(file)!r}", "it must be JSON that names its model file"):
        details = read_json(file)
        model_path = find_home(folder, details) / Path(str(details["model"])).name
        is_there = model_path.is_file()
    if not is_there:
        raise InputError(
            f"Cannot use {str(file)!r}",
            needs="the model file that it names must lie beside it",
            got=f"no {model_path.name[:80]!r}",
        )
    bundle = read_details(details, model_path, repr(str(file)))
    _check_model_file(details, model_path)
    return bundle


def _check_model_file(details: Mapping[str, Any], model_path: Path) -> None:
    """Check that the model file is the one that ``bundle.json`` describes.

    Bundles of version 0.1 hold no hash; what their file says of itself must be what they say.
    """
    sha256 = details.get("model_sha256")
    with model_path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if sha256 is not None and sha256 != found:
        raise InputError(
            f"Cannot use model {str(model_path)!r}",
            needs=f"it must be the file that {BUNDLE_FILE} describes (SHA-256 {sha256[:16]}…)",
            got=f"{found[:16]}…",
            hint="Copy both again from where they were trained.",
        )
    check_plain_net(model_path)
    metadata = read_onnx_description(model_path)
    if metadata is not None:
        check_agreement(details, metadata, model_path)
    elif sha256 is None:
        raise InputError(
            f"Cannot use {str(model_path.with_name(BUNDLE_FILE))!r}",
            needs=f"{model_path.name} must hold class names and preprocessing too",
            got="a foreign ONNX file",
            hint="Export it with Georgia.",
        )


def _load_keras(path: Path, classes: tuple[str, ...] | None, preprocess: str | None) -> Bundle:
    sibling = path.parent / BUNDLE_FILE
    if classes is None and sibling.exists():
        bundle = _load_folder(path.parent)
        if bundle.metadata.get("weights_file") == path.name:
            _check_no_preprocess(preprocess, path)
            return bundle
    if classes is None:
        raise InputError(
            f"Cannot use model {str(path)!r}",
            needs="a Keras file holds no class names",
            got="no --classes",
            hint="Name them in output order, such as --classes CEX,PG.",
        )
    try:
        from georgia.export.keras_import import convert_keras_file
    except ImportError as error:
        raise MissingDependencyError(
            f"Cannot open model {str(path)!r}",
            needs="Keras is needed for it",
            got=error,
            hint="pip install 'georgia[train]', or give the .onnx.",
        ) from error
    return convert_keras_file(path, Labels(classes), preprocess)
