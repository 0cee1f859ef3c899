"""Load a weight file's tensors into a net: all of them, or none and one error that lists the faults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from georgia.backbones.tensors import Checkpoint, FloatArray, weights_error

if TYPE_CHECKING:
    import keras

# How many faults one message lists; the others are counted.
MAX_LISTED = 4
# Suffixes of a layer's tensors in a state dict, in the order of the Keras layer's weights.
_NORM_SUFFIXES = ("weight", "bias", "running_mean", "running_var")
_PLAIN_SUFFIXES = ("weight", "bias")


def assign_tensors(
    model: keras.Model, checkpoint: Checkpoint, torch_names: Mapping[str, str], *, ignored: str, own: str = ""
) -> None:
    """Fill every weight of ``model`` from a weight file.

    ``torch_names`` gives each layer's prefix in a state dict (unused for the Keras layout).
    Left-over tensors are a fault, except those that match ``ignored`` (a classification top) and,
    in the Keras layout, layers that do not match ``own``, the layer names of the family: a whole
    model in one file has a head as well.

    Raises:
        InputError: tensors are missing, of another shape or left over (all of them are counted in
            one message), or the batch normalisations hold no statistics of a training run.
    """
    targets = _list_targets(model, checkpoint, torch_names)
    faults = _find_faults(targets, checkpoint, ignored, own)
    if faults:
        listed = "; ".join(faults[:MAX_LISTED])
        more = f"; and {len(faults) - MAX_LISTED} more" if len(faults) > MAX_LISTED else ""
        rule = f"every tensor of {model.name} is needed, no others"
        raise weights_error(checkpoint.path, rule, listed + more, "Use the file for this backbone.")
    values = {key: checkpoint.tensors[key].read() for key, _, _ in targets}
    _check_finite(checkpoint, values)
    for key, variable, kind in targets:
        variable.assign(_to_keras(values[key], kind) if checkpoint.layout == "torch" else values[key])
    check_statistics(model, checkpoint.path)


def _list_targets(
    model: keras.Model, checkpoint: Checkpoint, torch_names: Mapping[str, str]
) -> list[tuple[str, Any, str]]:
    """Return (name in the file, variable, kind of layer) for each weight of the net."""
    targets = []
    for layer in model.layers:
        kind = type(layer).__name__
        suffixes = _NORM_SUFFIXES if kind == "BatchNormalization" else _PLAIN_SUFFIXES
        for position, variable in enumerate(layer.weights):
            if checkpoint.layout == "keras":
                key = f"{layer.name}/{position}"
            else:
                key = f"{torch_names[layer.name]}.{suffixes[position]}"
            targets.append((key, variable, kind))
    return targets


def _find_faults(
    targets: list[tuple[str, Any, str]], checkpoint: Checkpoint, ignored: str, own: str
) -> list[str]:
    faults = []
    for key, variable, kind in targets:
        tensor = checkpoint.tensors.get(key)
        shape = tuple(variable.shape)
        needed = _to_torch_shape(shape, kind) if checkpoint.layout == "torch" else shape
        shown = key if checkpoint.layout == "torch" else "/".join(variable.path.split("/")[-2:])
        if tensor is None:
            faults.append(f"{shown} is missing")
        elif tensor.shape != needed:
            faults.append(f"{shown} is {_show_shape(tensor.shape)} instead of {_show_shape(needed)}")
    known = {key for key, _, _ in targets}
    for key in checkpoint.tensors:
        left_over = (
            key not in known and not key.endswith(".num_batches_tracked") and not re.match(ignored, key)
        )
        if left_over and (checkpoint.layout == "torch" or re.match(own, key)):
            faults.append(f"{key} is left over")
    return faults


def _show_shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a single number"


def _to_torch_shape(shape: tuple[int, ...], kind: str) -> tuple[int, ...]:
    if len(shape) == 4:
        height, width, n_in, n_out = shape
        return (n_in, n_out, height, width) if kind == "DepthwiseConv2D" else (n_out, n_in, height, width)
    return shape[::-1]


def _to_keras(value: FloatArray, kind: str) -> FloatArray:
    if value.ndim == 4:
        return value.transpose((2, 3, 0, 1) if kind == "DepthwiseConv2D" else (2, 3, 1, 0))
    return value.T


def _check_finite(checkpoint: Checkpoint, values: Mapping[str, FloatArray]) -> None:
    broken = [key for key, value in values.items() if not np.isfinite(value).all()]
    if broken:
        listed = f"{', '.join(broken[:MAX_LISTED])} with infinite or undefined ones"
        raise weights_error(checkpoint.path, "finite numbers are needed", listed)


def check_statistics(model: keras.Model, path: Path) -> None:
    """Reject weights whose batch normalisations hold no statistics of a training run.

    A net straight from its initialiser has running means of 0 and variances of 1; files of such
    random weights are in circulation as ImageNet weights.

    Raises:
        InputError: no layer holds statistics, or one holds negative variances.
    """
    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    means = [np.asarray(layer.moving_mean) for layer in norms]
    variances = [np.asarray(layer.moving_variance) for layer in norms]
    if any((variance < 0).any() for variance in variances):
        rule = "running variances cannot be negative"
        raise weights_error(path, rule, "such a layer", "The file holds no trained net; use another.")
    is_untouched = all((mean == 0).all() for mean in means) or all((v == 1).all() for v in variances)
    if norms and is_untouched:
        rule = "weights of a trained net are needed"
        got = (
            "running means of 0 and variances of 1 in every batch normalisation, that is random start weights"
        )
        raise weights_error(path, rule, got, "Use another file, or --weights none.")


def fill_random(model: keras.Model, seed: int) -> None:
    """Give a net its random start: the same numbers for one seed with every backend.

    Kernels are normal with variance 2 / fan-out, a classification top 1 / fan-in; all else stays
    as Keras starts it. Source: He et al. 2015, doi 10.1109/ICCV.2015.123.
    """
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.weights and type(layer).__name__ != "BatchNormalization":
            kernel = layer.weights[0]
            shape = tuple(kernel.shape)
            variance = 2.0 / (shape[0] * shape[1] * shape[3]) if len(shape) == 4 else 1.0 / shape[0]
            kernel.assign(rng.normal(0.0, variance**0.5, shape).astype(np.float32))
