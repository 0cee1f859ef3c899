"""Backbones: nets that turn an image into features, with the weights to start from.

To add one, write a file with ``build()`` and a ``BackboneInfo``, and put that into ``BACKBONES``;
the contract tests then run over it by themselves.
"""

from __future__ import annotations

from pathlib import Path

from georgia.backbones.efficientnet_lite import LITE0, LITE1, LITE2
from georgia.backbones.freeze import set_trainable_fraction
from georgia.backbones.info import Backbone, BackboneInfo, BuildRequest, require_keras
from georgia.backbones.resnet import RESNET18, RESNET34, RESNET50, RESNET101
from georgia.errors import InputError
from georgia.registry import find_by_name

__all__ = ["BACKBONES", "Backbone", "BackboneInfo", "build_backbone", "find_backbone", "set_trainable_fraction"]

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
    """Return a net without its top, filled with weights; the side of its input is in pixels.

    ``weights`` is ``"imagenet"``, ``"none"`` (random numbers by ``seed``) or a weight file.
    ``size_px`` is the side that the ImageNet weights were trained at unless given. ``include_top``
    adds the 1000 ImageNet classes as logits, which is how weights are proved right.

    Raises:
        InputError: there is no such backbone, the size is too small, or the weights cannot be
            had or do not fit. Nothing else is taken in their place.
    """
    info = find_backbone(name)
    size = info.size_px if size_px is None else size_px
    if size < MIN_SIZE_PX:
        raise InputError(
            f"Cannot build {name}", needs=f"a side of {MIN_SIZE_PX} px or more is needed", got=size
        )
    require_keras()
    return info.build(info, BuildRequest(str(weights), size, seed, include_top))
