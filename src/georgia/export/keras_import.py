"""Open whole Keras models that others trained, such as a study's published ``GAweights.h5``.

Such a file holds neither class names nor preprocessing: the user names the classes, and the
preprocessing too or it is inferred from the layers of the backbone, and said.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from georgia import __version__
from georgia.backbones.info import require_keras
from georgia.backbones.keras_files import MAX_UNPACKED_RATIO, check_plain_datasets, open_hdf5, read_text
from georgia.backbones.tensors import hash_file, reading_weights, weights_error
from georgia.errors import InputError
from georgia.export.graph.walker import iterate_layers
from georgia.export.onnx_file import export_onnx
from georgia.export.parity import check_parity
from georgia.files import atomic_path, find_cache_folder
from georgia.images.preprocess import CAFFE, EFFICIENTNET_LITE, TORCHVISION, PreprocessSpec
from georgia.labels import Labels
from georgia.model.bundle import KERAS_SUFFIXES, Bundle, read_onnx_bundle

if TYPE_CHECKING:
    import keras

# Layers that only compute. Anything else in a file may hold code (Lambda) or open other files.
PLAIN_LAYERS = frozenset(
    (
        *("Functional", "InputLayer", "Model", "Sequential"),
        *("Conv2D", "Dense", "DepthwiseConv2D", "SeparableConv2D"),
        *("BatchNormalization", "LayerNormalization", "Normalization", "Rescaling"),
        *("Activation", "ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax"),
        *("AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "MaxPooling2D"),
        *("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"),
        *("Cropping2D", "Flatten", "Permute", "Reshape", "UpSampling2D", "ZeroPadding2D"),
        *("AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "SpatialDropout2D"),
        *("RandomBrightness", "RandomContrast", "RandomFlip", "RandomRotation"),
        *("RandomTranslation", "RandomZoom"),
    )
)
# Source: Keras' "tf" mode (keras.applications.resnet_v2.preprocess_input): to −1 … 1.
TF_MODE = PreprocessSpec(224, "RGB", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
# A net with its own Rescaling or Normalization takes pixels as they are.
PIXELS = PreprocessSpec(224, "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
# What others train on, by the names of ``--preprocess``; pixels are 0–255 before it.
# Source: keras.applications.imagenet_utils.preprocess_input for caffe, tf and torch.
MODES: dict[str, PreprocessSpec] = {
    "caffe": CAFFE,
    "tf": TF_MODE,
    "torch": TORCHVISION,
    "unit": PreprocessSpec(224, "RGB", (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    "raw": PIXELS,
}
_SHOWN = {
    "caffe": "BGR minus its ImageNet means",
    "tf": "RGB from −1 to 1",
    "torch": "RGB by torchvision's means and deviations",
    "unit": "RGB divided by 255",
    "raw": "RGB from 0 to 255",
}
N_PARITY_IMAGES = 4
# What else a layer's description may hold: how weights start and what limits them.
_PLAIN_HELPERS = frozenset(
    (
        *("Zeros", "Ones", "Constant", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling"),
        *("GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform"),
        *("Orthogonal", "OrthogonalInitializer", "Identity", "IdentityInitializer"),
        *("L1", "L2", "L1L2", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"),
        *("DTypePolicy", "Policy", "__keras_tensor__", "__tuple__"),
    )
)
# The parts of a .keras file without layers that keep files of their own.
_ARCHIVE_PARTS = ("config.json", "metadata.json", "model.weights.h5")
# Most numbers that a layer may put out for one image: 1 GB in float32, that of ResNet at 4096 px.
MAX_OUTPUT_SIZE = 2**28
# Weights beyond those in the file that a net may have, in numbers: states of random layers and the like.
N_SPARE_WEIGHTS = 2**16
NESTING_LAYERS = ("Functional", "Model", "Sequential")


def convert_keras_file(path: Path, labels: Labels, preprocess: str | None = None) -> Bundle:
    """Return a foreign Keras model as a bundle: an ONNX file in the cache folder, checked for parity.

    ``preprocess`` is one of ``MODES``; None infers it from the layers. The bundle's note says which was
    taken. A file that this version has converted for these classes is not converted again.

    Raises:
        InputError: the file cannot be opened, its preprocessing cannot be inferred, or it does not
            fit the number of classes.
        ParityError: the probabilities of the converted net differ.
    """
    sha256 = hash_file(path)
    key = hashlib.sha256(json.dumps([sha256, labels.names, preprocess, __version__]).encode()).hexdigest()
    target = find_cache_folder() / "converted" / f"{path.stem}-{key[:16]}.onnx"
    if not target.exists():
        model = load_foreign_model(path)
        _check_classes(model, path, labels)
        spec = find_preprocess(model, path, preprocess)
        shape = (N_PARITY_IMAGES, spec.size_px, spec.size_px, 3)
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        note = describe_preprocess(path, spec, is_given=preprocess is not None)
        metadata = {"name": path.name, "note": note, "weights_sha256": sha256}
        with atomic_path(target) as draft:
            export_onnx(model, spec, labels, draft, metadata)
            check_parity(model, spec, draft, list(images))
    return read_onnx_bundle(target)


def describe_preprocess(path: Path, spec: PreprocessSpec, is_given: bool) -> str:
    """Return one line that says how images are prepared for a foreign net, and what to do if it is wrong."""
    plain = replace(spec, size_px=224)
    mode = next((name for name, known in MODES.items() if known == plain), "")
    shown = f"{mode} ({_SHOWN[mode]})" if mode else "RGB from −1 to 1, as EfficientNet-Lite"
    if is_given:
        return f"images for {path.name} are prepared as {shown}, as requested."
    others = ", ".join(name for name in MODES if name != mode)
    return (
        f"images for {path.name} are prepared as {shown}: assumed from its layers, as the file "
        f"does not say it. If it was trained on another input, predictions are wrong: give --preprocess "
        f"({others})."
    )


def _check_classes(model: keras.Model, path: Path, labels: Labels) -> None:
    """Check that there is a class name for each output; a lone sigmoid is two classes."""
    shape = tuple(model.outputs[0].shape)
    if len(shape) != 2 or not shape[1]:
        raise weights_error(path, "one output a class (N, classes) is needed", f"an output {shape}")
    n_classes = max(2, shape[1])
    if len(labels) != n_classes:
        means = "one sigmoid output, that is two classes" if shape[1] == 1 else f"{shape[1]} outputs"
        raise InputError(
            "Cannot use --classes",
            needs=f"{path.name} has {means}, so {n_classes} names are needed",
            got=f"{len(labels)}: {', '.join(labels.names)}",
        )


def find_preprocess(model: keras.Model, path: Path, asked: str | None = None) -> PreprocessSpec:
    """Return the preprocessing for a foreign net: as asked, else inferred from the layers of its backbone.

    Raises:
        InputError: the input is no square colour image, ``asked`` is not one of ``MODES``, or nothing is
            asked and the net holds no known backbone.
    """
    if asked is not None and asked not in MODES:
        rule = "it must be one of " + ", ".join(MODES)
        raise InputError("Unknown preprocessing", needs=rule, got=repr(asked))
    _, height, width, n_channels = model.inputs[0].shape
    if height != width or n_channels != 3:
        rule = "square colour images (N, size, size, 3) must be its input"
        raise weights_error(path, rule, f"{tuple(model.inputs[0].shape)}")
    spec = MODES[asked] if asked else _infer_preprocess(model)
    if spec is None:
        rule = "its layers must determine the preprocessing (a Keras ResNet, or a Rescaling layer)"
        n_layers = sum(1 for _ in iterate_layers(model))
        do = f"Name it: --preprocess {', '.join(MODES)}."
        raise weights_error(path, rule, f"{n_layers} layers of another net", do)
    return replace(spec, size_px=height or spec.size_px)


def _infer_preprocess(model: keras.Model) -> PreprocessSpec | None:
    layers = {layer.name: layer for layer in iterate_layers(model)}
    kinds = {type(layer).__name__ for layer in layers.values()}
    if kinds & {"Rescaling", "Normalization"}:
        return PIXELS
    if "conv1_conv" in layers and "post_bn" in layers:
        return TF_MODE
    if "conv1_conv" in layers:
        return CAFFE if layers["conv1_conv"].use_bias else TORCHVISION
    return EFFICIENTNET_LITE if {"stem_conv", "block1a_dwconv"} <= set(layers) else None


def load_foreign_model(path: Path) -> keras.Model:
    """Return the whole model in a file that Keras 2 or 3 saved, not compiled.

    The description in the file is checked before Keras builds anything from it: only layers that
    compute are allowed, and Keras runs in its safe mode as well.

    Raises:
        InputError: the file cannot be read, holds weights without a model, or has layers that are
            not plain; MissingDependencyError where Keras is not installed.
    """
    require_keras()
    import keras

    if path.suffix.lower() not in KERAS_SUFFIXES:
        raise weights_error(path, f"a file named {', '.join(KERAS_SUFFIXES)} is needed", repr(path.name))
    description = _read_description(path)
    try:
        _check_layers(path, description)
        with _bounded_weights(path):
            model = _build(path, description)
        _check_outputs(model)
    except InputError:
        raise
    except Exception as error:  # a description can break Keras in any of its parts
        rule = "a model that Keras can build is needed"
        do = "Save it again with model.save('name.h5')."
        first_line = str(error).strip().partition("\n")[0]
        raise weights_error(path, rule, f"{type(error).__name__}: {first_line}", do) from error
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.inputs[0].shape) != 4:
        rule = "one input of images and one output are needed"
        got = f"inputs {[tuple(i.shape) for i in model.inputs]}, {len(model.outputs)} outputs"
        raise weights_error(path, rule, got)
    # A net from a Keras 2 file takes its one input in a list.
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def _build(path: Path, description: Any) -> keras.Model:
    import keras

    if renumber_nested_calls(description):
        return _load_renumbered(path, description)
    return keras.models.load_model(path, compile=False, safe_mode=True)


@contextmanager
def _bounded_weights(path: Path) -> Iterator[None]:
    """Let Keras make no more weights than the file can hold: a small one may describe a net of gigabytes."""
    import keras

    left = MAX_UNPACKED_RATIO * path.stat().st_size // 4 + N_SPARE_WEIGHTS
    original = keras.layers.Layer.add_weight

    def add_weight(layer: Any, shape: Any = None, *arguments: Any, **settings: Any) -> Any:
        nonlocal left
        left -= math.prod((shape,) if isinstance(shape, int) else shape or ())
        if left < 0:
            raise ValueError(f"a net with more weights than the file's {path.stat().st_size} bytes can hold")
        return original(layer, shape, *arguments, **settings)

    keras.layers.Layer.add_weight = add_weight
    try:
        yield
    finally:
        keras.layers.Layer.add_weight = original


def _check_outputs(model: keras.Model) -> None:
    for layer in iterate_layers(model):
        outputs = layer.output if isinstance(layer.output, (list, tuple)) else [layer.output]
        for output in outputs:
            if math.prod(size or 1 for size in output.shape[1:]) > MAX_OUTPUT_SIZE:
                raise ValueError(f"layer {layer.name!r} with an output {tuple(output.shape)}")


def _read_description(path: Path) -> Any:
    """Return the model's description (JSON) from a file, without building anything."""
    with reading_weights(path, "a whole Keras model is needed", ""):
        is_archive = path.suffix.lower() == ".keras"
        return json.loads(_read_archive_description(path) if is_archive else _read_hdf5_description(path))


def _read_archive_description(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        n_bytes = sum(item.file_size for item in archive.infolist())
        if n_bytes > MAX_UNPACKED_RATIO * path.stat().st_size:
            raise ValueError(f"an archive that would unpack to {n_bytes} bytes")
        names = archive.namelist()
        if sorted(names) != sorted(set(names) & set(_ARCHIVE_PARTS)):
            raise ValueError(f"an archive of {', '.join(names[:9])} instead of {', '.join(_ARCHIVE_PARTS)}")
        with open_hdf5(io.BytesIO(archive.read("model.weights.h5"))) as file:
            check_plain_datasets(file)
        return archive.read("config.json")


def _read_hdf5_description(path: Path) -> Any:
    with open_hdf5(path) as file:
        check_plain_datasets(file)
        if "model_config" in file.attrs:
            return read_text(file, "model_config")
    rule = "a whole model is needed"
    do = "Save the whole model with model.save('name.h5'), or use the file as train --weights."
    raise weights_error(path, rule, "weights alone (no architecture)", do)


def _check_layers(path: Path, description: Any) -> None:
    """Reject a description that names anything but plain layers and Keras' own classes."""
    forbidden = sorted(set(_find_foreign_names(description)))
    if forbidden:
        rule = "only Keras' own layers that compute are opened, as others can run code"
        do = "Rebuild the model with plain layers and save it again."
        raise weights_error(path, rule, ", ".join(forbidden), do)


def _find_foreign_names(value: Any, is_layer: bool = True, is_top: bool = True) -> Iterator[str]:
    """Yield the names of layers that are not plain, of other classes, and of those from outside Keras.

    Keras builds an object from any table with a ``class_name``, wherever it stands.
    """
    if isinstance(value, dict):
        module, name = value.get("module"), value.get("class_name")
        allowed = PLAIN_LAYERS if is_layer else PLAIN_LAYERS | _PLAIN_HELPERS
        if "class_name" in value and (not isinstance(name, str) or name not in allowed):
            yield str(name)
        if module is not None and (
            not isinstance(module, str) or module.partition(".")[0] not in ("keras", "builtins")
        ):
            yield f"{module}.{name}"
        if value.get("registered_name") not in (None, name):
            yield str(value["registered_name"])
        for key, entry in value.items():
            if not (is_top and key == "compile_config"):  # how it was trained: not read
                yield from _find_foreign_names(entry, key == "layers", False)
    elif isinstance(value, list):
        for entry in value:
            yield from _find_foreign_names(entry, is_layer, False)


def renumber_nested_calls(description: Any) -> bool:
    """Count calls of models within a model from 0, in place; return whether anything changed.

    Keras 2 gives such a model's own construction the number 0 and its first call 1, and Keras 3
    up to 3.15 does not find call 1 when it opens a Keras 2 file.
    """
    config = description.get("config") if isinstance(description, dict) else None
    layers = config.get("layers") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(layers, list):
        return False
    has_changed = sum(renumber_nested_calls(layer) for layer in layers) > 0
    named = {layer.get("name"): layer for layer in layers if layer.get("class_name") in NESTING_LAYERS}
    calls = [call for layer in layers for call in _list_calls(layer.get("inbound_nodes"))]
    # Keras 3 takes one off by itself where a model within is the output, but for a Sequential.
    ends = [end for end in _list_calls([config.get("output_layers")]) if _is_sequential(named.get(end[0]))]
    for name, layer in named.items():
        own = [call for call in calls + ends if call[0] == name]
        if own and max(call[1] for call in own) >= len(layer.get("inbound_nodes") or [None]):
            has_changed = True
            for call in own:
                call[1] -= 1
    return has_changed


def _list_calls(nodes: Any) -> list[list[Any]]:
    """Return the ``[layer, call number, output number, …]`` lists of a Keras 2 description."""
    lists = [node for node in nodes if isinstance(node, list)] if isinstance(nodes, list) else []
    return [call for node in lists for call in node if isinstance(call, list) and len(call) >= 3]


def _is_sequential(layer: Any) -> bool:
    return isinstance(layer, dict) and layer.get("class_name") == "Sequential"


def _load_renumbered(path: Path, description: Any) -> keras.Model:
    """Load an HDF5 file's weights into the model of a changed description."""
    import h5py
    import keras

    with tempfile.TemporaryDirectory(prefix="georgia-") as folder:
        copy = Path(folder) / "model.h5"
        with h5py.File(path, "r") as source, h5py.File(copy, "w") as target:
            source.copy("model_weights", target)
            target.attrs["model_config"] = json.dumps(description)
        return keras.models.load_model(copy, compile=False, safe_mode=True)
