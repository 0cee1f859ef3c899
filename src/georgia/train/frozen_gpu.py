"""What comes before the trainable head on a GPU: one compiled call, whose results stay there until needed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.images.preprocess import PreprocessSpec
from georgia.train.device import set_full_float32, use_precision


def compile_on_gpu(
    model: Any | None, spec: PreprocessSpec, precision: str
) -> Callable[[npt.NDArray[np.uint8]], list[Any]]:
    """Return a function from images (N, size, size, 3), uint8 RGB, to the backend's arrays (N, …), float32.

    It normalises them and runs the frozen ``model``, if there is one, with its weights of this moment.
    With JAX the call returns before the GPU is done, and ``numpy.asarray`` waits for it.
    """
    import keras
    from keras import layers

    set_full_float32()
    image = keras.Input((spec.size_px, spec.size_px, 3), dtype="uint8")
    pixels = layers.Rescaling(1.0, dtype="float32")(image)
    pixels = pixels[..., ::-1] if spec.color_order == "BGR" else pixels
    mean, scale = np.asarray(spec.mean, np.float32), np.asarray(spec.scale, np.float32)
    normal = (pixels - mean) / scale
    whole = keras.Model(image, normal if model is None else model(normal))

    def to_list(outputs: Any) -> list[Any]:
        tensors = outputs if isinstance(outputs, list) else [outputs]
        return [keras.ops.cast(tensor, "float32") for tensor in tensors]

    if keras.backend.backend() == "jax":
        return _compile_jax(whole, model, precision, to_list)

    def run(images: npt.NDArray[np.uint8]) -> list[Any]:
        with _use_precision(model, precision):
            return to_list(whole.predict_on_batch(images))

    return run


def _compile_jax(
    whole: Any, model: Any | None, precision: str, to_list: Callable[[Any], list[Any]]
) -> Callable[[npt.NDArray[np.uint8]], list[Any]]:
    """Return the net as a function of its own: Keras' loops wait for each batch and fetch it."""
    import jax

    trainable = [variable.value for variable in whole.trainable_variables]
    others = [variable.value for variable in whole.non_trainable_variables]

    def trace(trainable: Any, others: Any, images: Any) -> list[Any]:
        with _use_precision(model, precision):
            outputs, _ = whole.stateless_call(trainable, others, images, training=False)
            return to_list(outputs)

    compiled = jax.jit(trace)
    return lambda images: list(compiled(trainable, others, images))


def _use_precision(model: Any | None, precision: str) -> AbstractContextManager[None]:
    """Compute the net in ``precision``; normalising alone is float32, as on a processor."""
    return nullcontext() if model is None else use_precision(model, precision)
