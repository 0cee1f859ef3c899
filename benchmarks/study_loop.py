"""The study's own way, written plainly after its description: the yardstick of ``speed.py``.

Training: Keras' generator with its augmentation feeds the whole net, frozen layers included, at every
step; after each epoch the validation split goes through it three times (Keras' own metrics, the class-wise
report, the F1 threshold). Inference: one file after another is opened, resized and passed to
``model.predict``.

Source: seed document of the Georgia Project and the figures of its paper; no code is taken from it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from georgia.train.network import build_network
from georgia.train.recipes import recipe_config

SIZE_PX = 224
# Of the study's variants: B to D train the last tenth of the base, A and C nothing of it.
LAST_TENTH, NOTHING = 0.1, 0.0


def build_net(backbone: str, trainable_fraction: float) -> Any:
    """Return the study's net, compiled as it is there; random weights, which compute as long as others."""
    import keras

    settings = {"backbone": backbone, "weights": "none", "trainable_fraction": trainable_fraction}
    model = build_network(recipe_config("georgia", settings), 2).model
    model.compile(
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9), loss="binary_crossentropy", metrics=["accuracy"]
    )
    return model


def open_generators(folder: Path, batch_size: int, augmented: bool = True) -> tuple[Any, Any]:
    """Return the generators of ``folder/train`` (augmented, shuffled) and ``folder/valid``."""
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    views = {
        "rotation_range": 30,
        "width_shift_range": 0.2,
        "height_shift_range": 0.2,
        "zoom_range": 0.3,
        "horizontal_flip": True,
        "vertical_flip": True,
        "fill_mode": "nearest",
    }
    train = ImageDataGenerator(preprocessing_function=prepare, **(views if augmented else {}))
    valid = ImageDataGenerator(preprocessing_function=prepare)
    shape = {"target_size": (SIZE_PX, SIZE_PX), "class_mode": "binary", "batch_size": batch_size}
    return (
        train.flow_from_directory(folder / "train", shuffle=True, seed=42, **shape),
        valid.flow_from_directory(folder / "valid", shuffle=False, **shape),
    )


def prepare(pixels: np.ndarray) -> np.ndarray:
    """Return Keras' "caffe" input of pixels (…, 3), 0–255 RGB."""
    return pixels[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)


def train_epoch(model: Any, train: Any, valid: Any) -> None:
    """Train one epoch as the study does, validation three times included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras advises workers for its own generators
        model.fit(train, validation_data=valid, epochs=1, verbose=0)
        for _ in ("class-wise report", "F1 threshold"):
            valid.reset()
            (model.predict(valid, verbose=0) > 0.5).astype(int)


def _train(model: Any, train: Any, valid: Any, steps: int) -> None:
    model.fit(train, steps_per_epoch=steps, epochs=1, verbose=0)


def _evaluate(model: Any, train: Any, valid: Any, steps: int) -> None:
    model.evaluate(valid, steps=steps, verbose=0)


def _predict(model: Any, train: Any, valid: Any, steps: int) -> None:
    valid.reset()
    model.predict(valid, steps=steps, verbose=0)


# What an epoch is made of: every training image once through the first, every validation image once through
# the second (Keras' own metrics) and twice through the third (class-wise report, F1 threshold).
STAGES = {"train": _train, "evaluate": _evaluate, "predict": _predict}


def warm_up(model: Any, train: Any, valid: Any) -> None:
    """Let Keras compile what an epoch needs, on a batch of each kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(train, validation_data=valid, steps_per_epoch=1, validation_steps=1, verbose=0)
        model.predict(valid, steps=1, verbose=0)


def predict_file(model: Any, path: Path) -> tuple[str, float]:
    """Return one file's class and the output; the file is opened, resized and predicted by itself."""
    import keras

    image = keras.utils.load_img(path, target_size=(SIZE_PX, SIZE_PX))
    batch = prepare(np.expand_dims(keras.utils.img_to_array(image), 0))
    output = float(model.predict(batch, verbose=0)[0, 0])
    return ("PG" if output > 0.5 else "CEX"), output
