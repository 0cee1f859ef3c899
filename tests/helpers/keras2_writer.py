"""Write the study's net as Keras 2 does; run in a process of its own: side, layout, depth, file stem."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np


def write(size_px: int, layout: str, depth: str, stem: str) -> None:
    import tf_keras as keras

    keras.utils.set_random_seed(1)
    sampled = np.random.default_rng(0)
    layers = keras.layers
    shape, widths = (size_px, size_px, 3), (512, 256)
    if depth == "tiny":
        base, widths = build_tiny(keras, shape), (6, 4)
    else:
        build = getattr(keras.applications, f"ResNet{depth}")
        base = build(include_top=False, weights=None, input_shape=shape)
    for layer in base.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            beta, mean = beta + sampled.normal(0, 0.1, beta.shape), mean + sampled.normal(0, 0.1, mean.shape)
            layer.set_weights([gamma * 0.5, beta, mean, variance * sampled.uniform(0.5, 2, mean.shape)])
    inputs, x = base.input, base.output
    if layout == "nested":
        inputs = keras.Input((size_px, size_px, 3))
        x = base(inputs, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(widths[0], activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(0.4)(x)
    x = layers.Dense(widths[1], activation="relu")(x)
    x = layers.Dropout(0.3)(x)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "binary_crossentropy")
    batch = sampled.uniform(-120, 150, (4, size_px, size_px, 3)).astype("float32")
    model.save(f"{stem}.h5")
    np.savez(f"{stem}.npz", batch=batch, answers=model.predict(batch, verbose=0))


def build_tiny(keras: Any, shape: tuple[int, int, int]) -> Any:
    """Return the study's kinds of layers in a few kilobytes."""
    layers = keras.layers
    image = keras.Input(shape)
    x = layers.ZeroPadding2D(3)(image)
    x = before = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 7, 2)(x)))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x))
    return keras.Model(image, layers.Activation("relu")(layers.Add()([before, x])), name="base")


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    write(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4])
