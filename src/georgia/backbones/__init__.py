"""Backbones: nets that turn an image into features, with the weights to start from.

To add one, write a file with ``build()`` and a ``BackboneInfo``, and add that to ``BACKBONES``;
the contract tests then cover it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from georgia.backbones.efficientnet_lite import LITE0, LITE1, LITE2
from georgia.backbones.info import Backbone, BackboneInfo, BuildRequest, require_keras
from georgia.backbones.resnet import RESNET18, RESNET34, RESNET50, RESNET101
from georgia.errors import InputError
from georgia.registry import find_by_name

if TYPE_CHECKING:
    import keras

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneInfo",
    "build_backbone",
    "find_backbone",
    "set_trainable_fraction",
]

BACKBONES: tuple[BackboneInfo, ...] = (LITE0, LITE1, LITE2, RESNET18, RESNET34, RESNET50, RESNET101)

# Every backbone here halves the image five times.
MIN_SIZE_PX = 32


def find_backbone(name: str) -> BackboneInfo:
    """Return a backbone's card.

    >>> find_backbone("efficientnet-lite0").size_px
    224

    Raises:
        InputError: no backbone has that name; the message lists them.
    """
    return find_by_name("backbone", name, BACKBONES)


def build_backbone(
    name: str,
    weights: str | Path = "imagenet",
    size_px: int | None = None,
    *,
    seed: int = 42,
    include_top: bool = False,
) -> Backbone:
    """Return a net without its top, with its weights loaded; the side of its input is in pixels.

    ``weights`` is ``"imagenet"``, ``"none"`` (random numbers by ``seed``) or a weight file.
    ``size_px`` is the side that the ImageNet weights were trained at unless given. ``include_top``
    adds the 1000 ImageNet classes as logits, to verify weights on an image of a known class.

    Raises:
        InputError: there is no such backbone, the size is too small, or the weights are not
            available or do not fit. Nothing else is used instead.
    """
    info = find_backbone(name)
    size = info.size_px if size_px is None else size_px
    if size < MIN_SIZE_PX:
        raise InputError(
            f"Cannot build {name}", needs=f"a side of {MIN_SIZE_PX} px or more is needed", got=size
        )
    require_keras()
    return info.build(info, BuildRequest(str(weights), size, seed, include_top))


def set_trainable_fraction(model: keras.Model, fraction: float, *, train_norms: bool = True) -> list[str]:
    """Make the last layers of a net trainable, freeze the rest, and return the names of the trainable ones.

    ``fraction`` in [0, 1] is of ``model.layers``, rounded down: a tenth of ResNet-101's 345 is 34,
    whose first weights are those of ``conv5_block1_1_conv``. A frozen batch normalisation stays in
    inference mode (Keras' rule for layers that are not trainable), however the net is called. Set
    ``train_norms`` to False to freeze the batch normalisations of the trainable layers too: better
    for small batches; the study trains them.

    Raises:
        InputError: the fraction is not in [0, 1].
    """
    if not 0.0 <= fraction <= 1.0:
        raise InputError(
            "Cannot choose the trainable layers", needs="a fraction from 0 to 1 is needed", got=fraction
        )
    # The small number keeps products such as 0.29 × 100 = 28.999… from losing a layer.
    n_frozen = len(model.layers) - int(len(model.layers) * fraction + 1e-9)
    model.trainable = True
    for position, layer in enumerate(model.layers):
        is_norm = type(layer).__name__ == "BatchNormalization"
        layer.trainable = position >= n_frozen and (train_norms or not is_norm)
    return [layer.name for layer in model.layers if layer.trainable]
