"""Open a model: a run folder, a bundle, an exported ONNX file, or a foreign Keras file."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from georgia.errors import InputError, MissingDependencyError
from georgia.labels import Labels
from georgia.model.bundle import BUNDLE_FILE, METADATA_KEY, Bundle, read_details


def load_bundle(source: str | Path, classes: tuple[str, ...] | None = None) -> Bundle:
    """Open a run folder, a bundle, an exported ``.onnx``, or a foreign Keras ``.h5``/``.keras``.

    Args:
        classes: class names in output order, needed by a foreign model and refused otherwise
            unless they are the model's own.

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
        return _load_onnx(path, classes)
    elif path.suffix.lower() in (".h5", ".hdf5", ".keras"):
        return _load_keras(path, classes)
    else:
        raise InputError(
            f"Cannot open model {str(path)!r}",
            needs="a folder with bundle.json, an .onnx, or a Keras .h5 or .keras is needed",
            got=path.suffix or "no suffix",
        )
    return _with_classes(bundle, classes)


def load_bundled_model() -> Bundle:
    """Open the small model that comes with the package, trained on drawn crystals only.

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
    """Tell whether a path is something that ``load_bundle`` opens, by name alone."""
    if path.is_dir():
        return (path / BUNDLE_FILE).exists()
    return path.suffix.lower() in (".onnx", ".h5", ".hdf5", ".keras") or path.name == BUNDLE_FILE


def _load_folder(folder: Path) -> Bundle:
    file = folder / BUNDLE_FILE
    if not file.exists():
        raise InputError(
            f"Cannot open model {str(folder)!r}",
            needs=f"it must hold {BUNDLE_FILE}",
            got="none",
            hint="Give the folder that 'georgia train --out' wrote.",
        )
    try:
        details = json.loads(file.read_text(encoding="utf-8"))
        model_path = folder / Path(details["model"]).name
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"Cannot read {str(file)!r}", needs="it must be JSON that names its model file", got=error
        ) from error
    if not model_path.exists():
        raise InputError(
            f"Cannot use {str(file)!r}",
            needs="the model file that it names must lie beside it",
            got=f"no {model_path.name!r}",
        )
    return read_details(details, model_path, repr(str(file)))


def _load_onnx(path: Path, classes: tuple[str, ...] | None) -> Bundle:
    metadata = _read_onnx_metadata(path)
    if METADATA_KEY not in metadata:
        raise InputError(
            f"Cannot use model {str(path)!r}",
            needs="its metadata must hold class names and preprocessing",
            got="a foreign ONNX file",
            hint="Export it with Georgia, or give the Keras .h5 with --classes.",
        )
    try:
        details = json.loads(metadata[METADATA_KEY])
    except ValueError as error:
        raise InputError(
            f"Cannot use model {str(path)!r}", needs="its metadata must be JSON", got=error
        ) from error
    return _with_classes(read_details(details, path, f"model {str(path)!r}"), classes)


def _read_onnx_metadata(path: Path) -> dict[str, str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own types, without a shared public base
        raise InputError(
            f"Cannot open model {str(path)!r}",
            needs="an ONNX file that ONNX Runtime reads is needed",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
        ) from error
    return dict(session.get_modelmeta().custom_metadata_map)


def _load_keras(path: Path, classes: tuple[str, ...] | None) -> Bundle:
    sibling = path.parent / BUNDLE_FILE
    if classes is None and sibling.exists():
        bundle = _load_folder(path.parent)
        if bundle.metadata.get("weights_file") == path.name:
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
    return convert_keras_file(path, Labels(classes))


def _with_classes(bundle: Bundle, classes: tuple[str, ...] | None) -> Bundle:
    if classes is not None and classes != bundle.labels.names:
        raise InputError(
            "Cannot use --classes",
            needs=f"this model's classes are {', '.join(bundle.labels.names)}",
            got=", ".join(classes),
            hint="Leave --classes out: the model brings its own names.",
        )
    return bundle
