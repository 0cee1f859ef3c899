"""Write a trained net as a Keras HDF5 file that old and new Keras open.

Keras 3 describes a net in words that only its own version and later ones know. The weights are the same
in all of them, so the description is written again as Keras 2 wrote it, which Keras 2 and 3 both read.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from georgia.files import atomic_path

_WEIGHT = ("initializer", "regularizer", "constraint")
_IMAGES, _LINEAR = ("data_format",), ("activation", "use_bias", "activity_regularizer")
_CONV = ("kernel_size", "strides", "padding", "dilation_rate", *_IMAGES, *_LINEAR)
_POOL = ("pool_size", "strides", "padding", *_IMAGES)


def _weights(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}_{what}" for name in names for what in _WEIGHT)


# The settings of each layer in Keras 2.10; Keras 3 writes more, at their defaults.
# Source: get_config of keras 2.10.
_SETTINGS: dict[str, tuple[str, ...]] = {
    "Activation": ("activation",),
    "Add": (),
    "AveragePooling2D": _POOL,
    "BatchNormalization": (
        *("axis", "momentum", "epsilon", "center", "scale", "moving_mean_initializer"),
        *("moving_variance_initializer", *_weights("beta", "gamma")),
    ),
    "Concatenate": ("axis",),
    "Conv2D": ("filters", "groups", *_CONV, *_weights("kernel", "bias")),
    "Dense": ("units", *_LINEAR, *_weights("kernel", "bias")),
    "DepthwiseConv2D": ("depth_multiplier", *_CONV, *_weights("depthwise", "bias")),
    "Dropout": ("rate", "noise_shape", "seed"),
    "Flatten": _IMAGES,
    "GlobalAveragePooling2D": ("keepdims", *_IMAGES),
    "GlobalMaxPooling2D": ("keepdims", *_IMAGES),
    "InputLayer": ("sparse", "ragged"),
    "MaxPooling2D": _POOL,
    "Multiply": (),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "Rescaling": ("scale", "offset"),
    "SpatialDropout2D": ("rate", *_IMAGES),
    "ZeroPadding2D": ("padding", *_IMAGES),
}


def save_hdf5(model: Any, target: Path) -> None:
    """Write the whole net as HDF5 that plain ``load_model`` opens, of Keras 2.10 and of Keras 3.

    A net with another net or another kind of layer in it keeps the description of the installed Keras.
    """
    import h5py

    with atomic_path(target) as temporary, warnings.catch_warnings():
        # Keras recommends its own .keras format; this file is HDF5 on purpose.
        warnings.simplefilter("ignore")
        model.save(temporary, include_optimizer=False)
        with h5py.File(temporary, "r+") as file:
            plain = describe_for_keras_2(json.loads(file.attrs["model_config"]))
            if plain is not None:
                file.attrs["model_config"] = json.dumps(plain).encode()


def describe_for_keras_2(description: Any) -> dict[str, Any] | None:
    """Return a functional net's description as Keras 2 writes it; None where it has no such form."""
    config = description["config"]
    layers = config.get("layers", [])
    if description["class_name"] != "Functional" or any(
        layer["class_name"] not in _SETTINGS for layer in layers
    ):
        return None
    return {
        "class_name": "Functional",
        "config": {
            "name": config["name"],
            "trainable": config.get("trainable", True),
            "layers": [_describe_layer(layer) for layer in layers],
            "input_layers": _list_ends(config["input_layers"]),
            "output_layers": _list_ends(config["output_layers"]),
        },
    }


def _describe_layer(layer: dict[str, Any]) -> dict[str, Any]:
    kind, config = layer["class_name"], layer["config"]
    kept = {key: _describe_value(key, config[key]) for key in _SETTINGS[kind] if key in config}
    if kind == "InputLayer":
        kept["batch_input_shape"] = config["batch_shape"]
    elif "trainable" in config:  # some layers of Keras 3 do not take it
        kept["trainable"] = config["trainable"]
    dtype = config.get("dtype", "float32")
    kept["dtype"] = dtype["config"]["name"] if isinstance(dtype, dict) else dtype
    return {
        "class_name": kind,
        "name": layer["name"],
        "config": {"name": layer["name"], **kept},
        "inbound_nodes": [_describe_call(call) for call in layer["inbound_nodes"]],
    }


def _describe_value(key: str, value: Any) -> Any:
    """Return one setting; start values have no effect on a net that is loaded, so they lose theirs."""
    if not isinstance(value, dict):
        return value
    return {"class_name": value["class_name"], "config": {} if "initializer" in key else value["config"]}


def _describe_call(call: dict[str, Any]) -> list[list[Any]]:
    """Return one call as ``[layer, call number, output number, arguments]`` for each input."""
    given = {key: value for key, value in call["kwargs"].items() if value is not None}
    return [[*tensor, given] for tensor in _list_tensors(call["args"])]


def _list_tensors(value: Any) -> list[list[Any]]:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        return [list(value["config"]["keras_history"])]
    return [tensor for entry in value for tensor in _list_tensors(entry)] if isinstance(value, list) else []


def _list_ends(value: Any) -> list[list[Any]]:
    """Keras 3 writes one ``[layer, call, output]`` bare, Keras 2 always a list of them."""
    return [value] if value and isinstance(value[0], str) else list(value)
