"""Follow a Keras functional or sequential net and write every layer into a graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from georgia.errors import InputError, describe_fault
from georgia.graph.builder import GraphBuilder
from georgia.graph.keras_layers import LayerCall, write_layer

# (tensor, Keras shape): what flows between layers while walking.
Port = tuple[str, tuple[int | None, ...]]


def write_model(graph: GraphBuilder, model: Any, inputs: Sequence[str]) -> list[str]:
    """Append all layers of a net and return its output tensors, in the net's order.

    Works from the net's own description (``get_config``), so that a part cut out of a larger net
    is written like any other.

    Raises:
        InputError: the net is neither functional nor sequential, calls one layer twice, or holds
            a layer that no writer knows.
    """
    return [name for name, _ in _write(graph, model, list(inputs))]


def _write(graph: GraphBuilder, model: Any, inputs: list[str]) -> list[Port]:
    config = model.get_config()
    if type(model).__name__ == "Sequential":
        return _write_sequence(graph, model, inputs)
    if "input_layers" not in config:
        rule = "the net must be functional or sequential"
        raise InputError(describe_fault("Cannot export the net", rule, type(model).__name__))
    starts = [entry[0] for entry in _entries(config["input_layers"])]
    ports: dict[str, list[Port]] = {}
    for entry in config["layers"]:
        layer = model.get_layer(entry["name"])
        if entry["name"] in starts:
            ports[entry["name"]] = [(inputs[starts.index(entry["name"])], tuple(layer.batch_shape))]
            continue
        if len(entry["inbound_nodes"]) != 1:
            rule = "each layer must be used once"
            got = f"{len(entry['inbound_nodes'])} uses of {entry['name']!r}"
            raise InputError(describe_fault("Cannot export the net", rule, got))
        found = [ports[name][index] for name, index in _tensors(entry["inbound_nodes"][0]["args"])]
        ports[entry["name"]] = _write_one(graph, layer, found)
    return [ports[entry[0]][entry[2]] for entry in _entries(config["output_layers"])]


def _write_sequence(graph: GraphBuilder, model: Any, inputs: list[str]) -> list[Port]:
    ports: list[Port] = [(inputs[0], tuple(model.input_shape))]
    for layer in model.layers:
        ports = _write_one(graph, layer, ports)
    return ports


def _write_one(graph: GraphBuilder, layer: Any, ports: list[Port]) -> list[Port]:
    if hasattr(layer, "layers"):
        return _write(graph, layer, [name for name, _ in ports])
    names, shapes = tuple(name for name, _ in ports), tuple(shape for _, shape in ports)
    output = write_layer(graph, LayerCall(layer, names, shapes))
    shape = layer.compute_output_shape(shapes[0] if len(shapes) == 1 else list(shapes))
    return [(output, tuple(shape))]


def _entries(value: Any) -> list[Any]:
    """Keras writes one ``[name, node, tensor]`` bare and several in a list: always give a list."""
    return [value] if value and isinstance(value[0], str) else list(value)


def _tensors(value: Any) -> Iterator[tuple[str, int]]:
    """Yield (layer name, output number) of the Keras tensors in one call's arguments, in order."""
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        name, _, index = value["config"]["keras_history"]
        yield name, index
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)
