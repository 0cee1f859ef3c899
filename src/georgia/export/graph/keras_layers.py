"""How one Keras layer becomes ONNX nodes; images are (N, C, H, W) in the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from georgia.errors import InputError
from georgia.export.graph.builder import GraphBuilder


@dataclass(frozen=True)
class LayerCall:
    """One use of a layer: its input tensors, their Keras shapes (batch first, channels last)."""

    layer: Any
    inputs: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...], ...]

    @property
    def name(self) -> str:
        """The prefix of the tensors that this layer makes."""
        return f"net/{self.layer.name}"


# Appends nodes and returns the output tensor.
Writer = Callable[[GraphBuilder, LayerCall], str]


def write_layer(graph: GraphBuilder, call: LayerCall) -> str:
    """Append the nodes of one layer and return its output tensor.

    Raises:
        InputError: no writer knows this layer, or its options cannot be written.
    """
    kind = type(call.layer).__name__
    if kind not in WRITERS:
        raise InputError(
            "Cannot export the net",
            needs="its layers must be among " + ", ".join(sorted(WRITERS)),
            got=f"{kind} {call.layer.name!r}",
        )
    _check_channels(call.layer)
    return WRITERS[kind](graph, call)


def write_activation(graph: GraphBuilder, function: Any, tensor: str, name: str) -> str:
    """Append a named activation function; ``linear`` adds nothing."""
    kind = getattr(function, "__name__", str(function))
    if kind == "linear":
        return tensor
    if kind in ("silu", "swish"):
        return graph.add("Mul", [tensor, graph.add("Sigmoid", [tensor], f"{name}/gate")], name)
    if kind == "relu6":
        return _clip(graph, tensor, 6.0, name)
    if kind == "softmax":
        return graph.add("Softmax", [tensor], name, axis=1)
    simple = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "elu": "Elu", "softplus": "Softplus"}
    if kind not in simple:
        raise InputError(
            "Cannot export the net",
            needs="its activation must be one of linear, relu6, silu, softmax, " + ", ".join(simple),
            got=repr(kind),
        )
    return graph.add(simple[kind], [tensor], name)


def _check_channels(layer: Any) -> None:
    if getattr(layer, "data_format", "channels_last") not in ("channels_last", None):
        raise InputError(
            f"Cannot export layer {layer.name!r}",
            needs="images must be channels_last",
            got=layer.data_format,
        )


def _conv(graph: GraphBuilder, call: LayerCall) -> str:
    kernel = np.asarray(call.layer.kernel, np.float32)
    return _convolution(graph, call, kernel.transpose(3, 2, 0, 1), call.layer.groups)


def _depthwise(graph: GraphBuilder, call: LayerCall) -> str:
    kernel = np.asarray(call.layer.kernel, np.float32)
    height, width, channels, multiplier = kernel.shape
    by_channel = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    return _convolution(graph, call, by_channel, channels)


def _convolution(graph: GraphBuilder, call: LayerCall, kernel: Any, groups: int) -> str:
    layer, name = call.layer, call.name
    names = [call.inputs[0], graph.constant(kernel, f"{name}/kernel")]
    if layer.use_bias:
        names.append(graph.constant(np.asarray(layer.bias), f"{name}/bias"))
    output = graph.add(
        "Conv",
        names,
        f"{name}/conv",
        kernel_shape=list(kernel.shape[2:]),
        strides=list(layer.strides),
        dilations=list(layer.dilation_rate),
        group=groups,
        pads=_pads(call, kernel.shape[2:], layer.dilation_rate),
    )
    return write_activation(graph, layer.activation, output, f"{name}/activation")


def _pads(call: LayerCall, kernel: Sequence[int], dilation: Sequence[int] = (1, 1)) -> list[int]:
    """Return [top, left, bottom, right]; 'same' is TensorFlow's, with the larger half behind."""
    if call.layer.padding == "valid":
        return [0, 0, 0, 0]
    before, after = [], []
    for size, width, stride, step in zip(
        call.shapes[0][1:3], kernel, call.layer.strides, dilation, strict=True
    ):
        if size is None:
            raise InputError(
                f"Cannot export layer {call.layer.name!r}",
                needs="a net with a fixed input size is needed for padding 'same'",
                got="an open size",
            )
        reach = (width - 1) * step + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return before + after


def _batch_norm(graph: GraphBuilder, call: LayerCall) -> str:
    layer = call.layer
    size = layer.moving_mean.shape
    values = {
        "gamma": layer.gamma if layer.scale else np.ones(size),
        "beta": layer.beta if layer.center else np.zeros(size),
        "mean": layer.moving_mean,
        "variance": layer.moving_variance,
    }
    names = [graph.constant(np.asarray(value), f"{call.name}/{key}") for key, value in values.items()]
    name = f"{call.name}/norm"
    return graph.add("BatchNormalization", [call.inputs[0], *names], name, epsilon=float(layer.epsilon))


def _clip(graph: GraphBuilder, tensor: str, top: float, name: str) -> str:
    bounds = [graph.constant(0.0, f"{name}/low"), graph.constant(top, f"{name}/high")]
    return graph.add("Clip", [tensor, *bounds], name)


def _relu(graph: GraphBuilder, call: LayerCall) -> str:
    if call.layer.negative_slope or call.layer.threshold:
        raise InputError(
            f"Cannot export layer {call.layer.name!r}",
            needs="a ReLU must have neither slope nor threshold",
            got="one",
        )
    if call.layer.max_value is not None:
        return _clip(graph, call.inputs[0], float(call.layer.max_value), f"{call.name}/relu")
    return graph.add("Relu", [call.inputs[0]], f"{call.name}/relu")


def _activation(graph: GraphBuilder, call: LayerCall) -> str:
    return write_activation(graph, call.layer.activation, call.inputs[0], f"{call.name}/activation")


def _zero_padding(graph: GraphBuilder, call: LayerCall) -> str:
    (top, bottom), (left, right) = call.layer.padding
    pads = graph.constant([0, 0, top, left, 0, 0, bottom, right], f"{call.name}/pads", np.int64)
    return graph.add("Pad", [call.inputs[0], pads], f"{call.name}/pad")


def _local_pool(op_type: str) -> Writer:
    def write(graph: GraphBuilder, call: LayerCall) -> str:
        shape, strides = list(call.layer.pool_size), list(call.layer.strides)
        pads = _pads(call, shape)
        name = f"{call.name}/pool"
        return graph.add(op_type, [call.inputs[0]], name, kernel_shape=shape, strides=strides, pads=pads)

    return write


def _global_pool(op_type: str) -> Writer:
    def write(graph: GraphBuilder, call: LayerCall) -> str:
        pooled = graph.add(op_type, [call.inputs[0]], f"{call.name}/pool")
        return pooled if call.layer.keepdims else graph.add("Flatten", [pooled], f"{call.name}/flat", axis=1)

    return write


def _dense(graph: GraphBuilder, call: LayerCall) -> str:
    kernel = graph.constant(np.asarray(call.layer.kernel), f"{call.name}/kernel")
    output = graph.add("MatMul", [call.inputs[0], kernel], f"{call.name}/product")
    if call.layer.use_bias:
        bias = graph.constant(np.asarray(call.layer.bias), f"{call.name}/bias")
        output = graph.add("Add", [output, bias], f"{call.name}/sum")
    return write_activation(graph, call.layer.activation, output, f"{call.name}/activation")


def _flatten(graph: GraphBuilder, call: LayerCall) -> str:
    tensor = call.inputs[0]
    if len(call.shapes[0]) == 4:
        tensor = graph.add("Transpose", [tensor], f"{call.name}/last", perm=[0, 2, 3, 1])
    return graph.add("Flatten", [tensor], f"{call.name}/flat", axis=1)


def _concatenate(graph: GraphBuilder, call: LayerCall) -> str:
    rank = len(call.shapes[0])
    axis = call.layer.axis % rank
    axis = {0: 0, 1: 2, 2: 3, 3: 1}[axis] if rank == 4 else axis
    return graph.add("Concat", call.inputs, f"{call.name}/joined", axis=axis)


def _chain(op_type: str) -> Writer:
    def write(graph: GraphBuilder, call: LayerCall) -> str:
        output = call.inputs[0]
        for other in call.inputs[1:]:
            output = graph.add(op_type, [output, other], f"{call.name}/{op_type.lower()}")
        return output

    return write


def _rescaling(graph: GraphBuilder, call: LayerCall) -> str:
    scale = np.broadcast_to(np.asarray(call.layer.scale, np.float32), (3,)).reshape(1, 3, 1, 1)
    offset = np.broadcast_to(np.asarray(call.layer.offset, np.float32), (3,)).reshape(1, 3, 1, 1)
    scaled = graph.add(
        "Mul", [call.inputs[0], graph.constant(scale, f"{call.name}/scale")], f"{call.name}/scaled"
    )
    return graph.add("Add", [scaled, graph.constant(offset, f"{call.name}/offset")], f"{call.name}/shifted")


def _same(graph: GraphBuilder, call: LayerCall) -> str:
    return call.inputs[0]


WRITERS: dict[str, Writer] = {
    "Activation": _activation,
    "Add": _chain("Add"),
    "AveragePooling2D": _local_pool("AveragePool"),
    "BatchNormalization": _batch_norm,
    "Concatenate": _concatenate,
    "Conv2D": _conv,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "Dropout": _same,
    "Flatten": _flatten,
    "GlobalAveragePooling2D": _global_pool("GlobalAveragePool"),
    "GlobalMaxPooling2D": _global_pool("GlobalMaxPool"),
    "MaxPooling2D": _local_pool("MaxPool"),
    "Multiply": _chain("Mul"),
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "SpatialDropout2D": _same,
    "ZeroPadding2D": _zero_padding,
}
