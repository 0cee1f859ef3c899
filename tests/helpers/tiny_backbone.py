"""A backbone with the kinds of layers of the real ones, built in a blink; ``python -m`` runs with it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any


def make_card() -> Any:
    """Return the description of the backbone "tiny", for ``georgia.backbones.BACKBONES``."""
    import georgia.backbones as backbones
    from georgia.images.preprocess import EFFICIENTNET_LITE

    return backbones.BackboneInfo(
        name="tiny",
        preprocess=EFFICIENTNET_LITE,
        n_features=12,
        n_parameters=0,
        imagenet="nowhere",
        is_offline=True,
        license="MIT",
        build=_build_tiny,
        levels=("middle_add", "last_add"),
    )


def _build_tiny(info: Any, request: Any) -> Any:
    from dataclasses import replace

    import keras
    from keras import layers

    from georgia.backbones import Backbone
    from georgia.backbones.assign import fill_random
    from georgia.errors import InputError

    def block(x: Any, filters: int, stride: int, name: str) -> Any:
        x = before = layers.Conv2D(filters, 3, stride, "same", use_bias=False, name=f"{name}_conv")(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization(name=f"{name}_bn")(x))
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_dwconv")(x)
        x = layers.Conv2D(filters, 1, name=f"{name}_project_conv")(layers.BatchNormalization()(x))
        return layers.Add(name=f"{name}_add")([x, before])

    if request.weights not in ("none", "imagenet"):
        raise InputError(
            f"Cannot read weights {request.weights!r}", needs="a readable file is needed", got="none"
        )
    image = keras.Input((request.size_px, request.size_px, 3))
    x = block(block(image, 8, 2, "middle"), info.n_features, 2, "last")
    model = keras.Model(image, x, name=info.name)
    fill_random(model, request.seed)
    preprocess = replace(info.preprocess, size_px=request.size_px)
    return Backbone(model, preprocess, f"random numbers, seed {request.seed}", None)


def run() -> int:
    """Run the command line with the backbone among the known ones.

    With ``GEORGIA_DIES_AT_STATE=N`` it is killed once a training has written the N-th state to go on from.
    """
    import georgia.backbones as backbones
    from georgia.cli import main

    if at := int(os.environ.get("GEORGIA_DIES_AT_STATE", "0")):
        _die_at_state(at)
    backbones.BACKBONES = (*backbones.BACKBONES, make_card())
    return main(sys.argv[1:])


def _die_at_state(at: int) -> None:
    from georgia.train.state import TrainState

    save, folders = TrainState.save, list[Path]()

    def save_and_die(self: TrainState, folder: Path) -> None:
        save(self, folder)
        folders.append(folder)
        if len(folders) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    TrainState.save = save_and_die  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(run())
