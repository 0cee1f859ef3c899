"""ResNet-18, 34, 50 and 101, in the two forms that weights come in.

    form         3×3 or 1×1 has the stride   conv biases   BatchNorm epsilon   input
    Keras        first 1×1                   yes           1.001e-5            CAFFE
    torchvision  3×3                         no            1e-5                TORCHVISION

ResNet-50 and 101 take the Keras form unless the weight file is of the other one; there is no
ResNet-18 or 34 in Keras, so these take torchvision's. Layers have Keras' names in both.
Source: He et al. 2016, doi 10.1109/CVPR.2016.90; keras.applications; torchvision.models.resnet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georgia.backbones.assign import assign_tensors, check_statistics, fill_random
from georgia.backbones.checkpoints import read_checkpoint
from georgia.backbones.download import (
    RECIPE_HINT,
    KerasFile,
    check_keras_file,
    fetch_keras_file,
    find_keras_file,
)
from georgia.backbones.info import Backbone, BackboneInfo, BuildRequest
from georgia.backbones.tensors import Checkpoint, hash_file, weights_error
from georgia.errors import InputError
from georgia.images.preprocess import CAFFE, TORCHVISION, PreprocessSpec

if TYPE_CHECKING:
    import keras

# torch's momentum is the weight of the new batch (0.1), Keras' that of the old average.
TORCH_BN_EPSILON, TORCH_BN_MOMENTUM = 1e-5, 0.9
STAGE_FILTERS = (64, 128, 256, 512)
N_IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class _Design:
    """Blocks in each stage, whether they are bottlenecks, and torchvision's ImageNet file."""

    depths: tuple[int, int, int, int]
    is_bottleneck: bool
    torch_file: str


DESIGNS = {
    "resnet18": _Design((2, 2, 2, 2), False, "resnet18-f37072fd.pth"),
    "resnet34": _Design((3, 4, 6, 3), False, "resnet34-b627a593.pth"),
    "resnet50": _Design((3, 4, 6, 3), True, "resnet50-0676ba61.pth"),
    "resnet101": _Design((3, 4, 23, 3), True, "resnet101-63fe2227.pth"),
}


# Nets that keras.applications has; the others exist in torchvision's form only.
_IN_KERAS = ("resnet50", "resnet101")


@dataclass(frozen=True)
class _Block:
    """One residual block: its Keras name, its prefix in a state dict, and its sizes."""

    name: str
    torch_prefix: str
    filters: int
    stride: int
    has_projection: bool


def _list_blocks(design: _Design) -> Iterator[_Block]:
    for stage, (depth, filters) in enumerate(zip(design.depths, STAGE_FILTERS, strict=True)):
        for index in range(depth):
            stride = 2 if stage > 0 and index == 0 else 1
            projects = index == 0 and (stage > 0 or design.is_bottleneck)
            name = f"conv{stage + 2}_block{index + 1}"
            yield _Block(name, f"layer{stage + 1}.{index}", filters, stride, projects)


def build(info: BackboneInfo, request: BuildRequest) -> Backbone:
    """Return the net with the requested weights; see ``build_backbone``."""
    if request.weights == "none":
        model = _build_form(info, request, is_keras=info.name in _IN_KERAS)
        fill_random(model, request.seed)
        return Backbone(model, _sized(info.preprocess, request), f"random numbers, seed {request.seed}", None)
    if request.weights == "imagenet":
        path, origin = _find_imagenet(info, request), "ImageNet, "
    else:
        path, origin = Path(request.weights), ""
    known = check_keras_file(path)
    if known:
        return _load_keras_file(info, request, path, known)
    return _load_checkpoint(info, request, read_checkpoint(path), origin)


def _sized(preprocess: PreprocessSpec, request: BuildRequest) -> PreprocessSpec:
    return replace(preprocess, size_px=request.size_px)


def _find_imagenet(info: BackboneInfo, request: BuildRequest) -> Path:
    if info.name in _IN_KERAS:
        return fetch_keras_file(find_keras_file(info.name, has_top=request.include_top))
    file = DESIGNS[info.name].torch_file
    raise InputError(
        f"Cannot fetch ImageNet weights for {info.name}",
        needs="a weight file is needed, as Keras has none for it",
        got="none",
        hint=f"Bring torchvision's {file} and pass --weights {file}, {RECIPE_HINT}.",
    )


def _load_keras_file(info: BackboneInfo, request: BuildRequest, path: Path, known: KerasFile) -> Backbone:
    """Load one of Keras' own files, identified by its MD5, with Keras' own loader."""
    if known.backbone != info.name or known.has_top != request.include_top:
        wanted = find_keras_file(info.name, has_top=request.include_top) if info.name in _IN_KERAS else None
        rule = f"weights of {info.name} {'with' if request.include_top else 'without'} its top are needed"
        do = f"Bring {wanted.name if wanted else DESIGNS[info.name].torch_file}."
        raise weights_error(path, rule, known.name, do)
    model = _build_form(info, request, is_keras=True)
    model.load_weights(path)
    check_statistics(model, path)
    return Backbone(model, _sized(CAFFE, request), f"ImageNet, Keras' file {known.name}", hash_file(path))


def _load_checkpoint(
    info: BackboneInfo, request: BuildRequest, checkpoint: Checkpoint, origin: str
) -> Backbone:
    """Load any other file; convolutions with biases mark the Keras form."""
    is_keras = (
        checkpoint.layout == "keras" and "conv1_conv/1" in checkpoint.tensors and info.name in _IN_KERAS
    )
    model = _build_form(info, request, is_keras=is_keras)
    ignored = "$^" if request.include_top else r"fc\."
    names = _name_torch_layers(DESIGNS[info.name])
    assign_tensors(model, checkpoint, names, ignored=ignored, own=r"conv\d")
    preprocess = _sized(CAFFE if is_keras else TORCHVISION, request)
    return Backbone(model, preprocess, f"{origin}file {checkpoint.path.name}", checkpoint.sha256)


def _build_form(info: BackboneInfo, request: BuildRequest, *, is_keras: bool) -> keras.Model:
    if not is_keras:
        return _build_torchvision_form(info.name, request.size_px, request.include_top)
    import keras

    function = keras.applications.ResNet101 if info.name == "resnet101" else keras.applications.ResNet50
    net = function(
        include_top=request.include_top,
        weights=None,
        input_tensor=keras.Input((request.size_px, request.size_px, 3), name="image"),
        classes=N_IMAGENET_CLASSES,
        classifier_activation=None,
    )
    # Given an input tensor, Keras makes a net that wants its one input in a list.
    return keras.Model(net.inputs[0], net.outputs[0], name=info.name)


def _build_torchvision_form(name: str, size_px: int, include_top: bool) -> keras.Model:
    import keras
    from keras import layers

    design = DESIGNS[name]
    inputs = keras.Input((size_px, size_px, 3), name="image")
    x = _conv_norm(inputs, "conv1", 64, 7, 2)
    x = layers.Activation("relu", name="conv1_relu")(x)
    # Values after a ReLU are 0 or more, so zeros at the border change no maximum.
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1_pool")(x)
    for block in _list_blocks(design):
        x = _add_block(x, block, design.is_bottleneck)
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(N_IMAGENET_CLASSES, name="predictions")(x)
    return keras.Model(inputs, x, name=name)


def _add_block(x: Any, block: _Block, is_bottleneck: bool) -> Any:
    from keras import layers

    # (filters, kernel, stride) of the block's convolutions in order.
    widths = [(block.filters, 3, block.stride), (block.filters, 3, 1)]
    if is_bottleneck:
        widths = [(block.filters, 1, 1), (block.filters, 3, block.stride), (4 * block.filters, 1, 1)]
    shortcut = x
    if block.has_projection:
        shortcut = _conv_norm(x, f"{block.name}_0", widths[-1][0], 1, block.stride)
    for number, (filters, kernel, stride) in enumerate(widths, start=1):
        x = _conv_norm(x, f"{block.name}_{number}", filters, kernel, stride)
        if number < len(widths):
            x = layers.Activation("relu", name=f"{block.name}_{number}_relu")(x)
    x = layers.Add(name=f"{block.name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{block.name}_out")(x)


def _conv_norm(x: Any, name: str, filters: int, kernel: int, stride: int) -> Any:
    """Return a convolution with torch's padding, the same on all sides, and its normalisation."""
    from keras import layers

    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(filters, kernel, stride, use_bias=False, name=f"{name}_conv")(x)
    return layers.BatchNormalization(epsilon=TORCH_BN_EPSILON, momentum=TORCH_BN_MOMENTUM, name=f"{name}_bn")(
        x
    )


def _name_torch_layers(design: _Design) -> dict[str, str]:
    """Return each layer's prefix in a state dict; torchvision and timm agree on them."""
    names = {"conv1_conv": "conv1", "conv1_bn": "bn1", "predictions": "fc"}
    for block in _list_blocks(design):
        for number in range(1, 4 if design.is_bottleneck else 3):
            names[f"{block.name}_{number}_conv"] = f"{block.torch_prefix}.conv{number}"
            names[f"{block.name}_{number}_bn"] = f"{block.torch_prefix}.bn{number}"
        names[f"{block.name}_0_conv"] = f"{block.torch_prefix}.downsample.0"
        names[f"{block.name}_0_bn"] = f"{block.torch_prefix}.downsample.1"
    return names


def _card(name: str, preprocess: PreprocessSpec, n_features: int, n_parameters: int) -> BackboneInfo:
    in_keras = name in _IN_KERAS
    file = find_keras_file(name, has_top=False).name if in_keras else DESIGNS[name].torch_file
    return BackboneInfo(
        name=name,
        preprocess=preprocess,
        n_features=n_features,
        n_parameters=n_parameters,
        imagenet=f"Keras' download, {file}" if in_keras else f"torchvision's file {file}, to be brought",
        is_offline=False,
        license="MIT" if in_keras else "BSD-3-Clause",
        build=build,
        levels=tuple(f"conv{stage}_block{DESIGNS[name].depths[stage - 2]}_out" for stage in (3, 4, 5)),
    )


RESNET18 = _card("resnet18", TORCHVISION, 512, 11_186_112)
RESNET34 = _card("resnet34", TORCHVISION, 512, 21_301_696)
RESNET50 = _card("resnet50", CAFFE, 2048, 23_587_712)
RESNET101 = _card("resnet101", CAFFE, 2048, 42_658_176)
