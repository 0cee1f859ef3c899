"""Fixtures of all tests: real images where they are present, synthetic ones, a tiny backbone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MPLBACKEND", "agg")
# Engines are compared to the fifth decimal, which bfloat16 does not have.
os.environ.setdefault("GEORGIA_PRECISION", "float32")

ROOT = Path(__file__).parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Let a run of all tests in bfloat16 go on where only the notice of it would stop a test."""
    if os.environ["GEORGIA_PRECISION"] == "bfloat16":
        config.addinivalue_line("filterwarnings", "ignore:bfloat16 is not shown")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What training keeps for later runs stays out of the user's own cache folder."""
    os.environ["GEORGIA_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real images in ../shared/data, which are not part of the project")
    return folder


@pytest.fixture(scope="session")
def synthetic_crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder per class with 40 synthetic crops each; read only."""
    from georgia.synthetic import render_dataset

    folder = tmp_path_factory.mktemp("synthetic") / "crops"
    render_dataset(folder, n_per_class=40, seed=7)
    return folder


@pytest.fixture(scope="session")
def tiny_backbone() -> Iterator[str]:
    """Name of a backbone with the kinds of layers of the real ones, built in a blink."""
    pytest.importorskip("keras")
    import georgia.backbones as backbones
    from georgia.images.preprocess import EFFICIENTNET_LITE

    card = backbones.BackboneInfo(
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "BACKBONES", (*backbones.BACKBONES, card))
        yield card.name


def _build_tiny(info: Any, request: Any) -> Any:
    from dataclasses import replace

    import keras
    from keras import layers

    from georgia.backbones import Backbone
    from georgia.backbones.assign import fill_random

    def block(x: Any, filters: int, stride: int, name: str) -> Any:
        x = before = layers.Conv2D(filters, 3, stride, "same", use_bias=False, name=f"{name}_conv")(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization(name=f"{name}_bn")(x))
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_dwconv")(x)
        x = layers.Conv2D(filters, 1, name=f"{name}_project_conv")(layers.BatchNormalization()(x))
        return layers.Add(name=f"{name}_add")([x, before])

    image = keras.Input((request.size_px, request.size_px, 3))
    x = block(block(image, 8, 2, "middle"), info.n_features, 2, "last")
    model = keras.Model(image, x, name=info.name)
    fill_random(model, request.seed)
    preprocess = replace(info.preprocess, size_px=request.size_px)
    return Backbone(model, preprocess, f"random numbers, seed {request.seed}", None)
