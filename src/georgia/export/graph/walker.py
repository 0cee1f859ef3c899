"""Follow a Keras functional or sequential net and write every layer into a graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from georgia.errors import InputError
from georgia.export.graph.builder import GraphBuilder
from georgia.export.graph.keras_layers import LayerCall, write_layer

# (tensor, Keras shape): what flows between layers while walking.
Port = tuple[str, tuple[int | None, ...]]


def write_model(
    graph: GraphBuilder, model: Any, inputs: Sequence[str], found: dict[str, Port] | None = None
) -> list[str]:
    """Append all layers of a net and return its output tensors, in the net's order.

    ``found`` is filled with each layer's output tensor and Keras shape, by layer name.

    Works from the net's own description (``get_config``), so that a net cut out of a larger one
    is written like any other.

    Raises:
        InputError: the net is neither functional nor sequential, calls one layer twice, or holds
            a layer that no writer knows.
    """
    return [name for name, _ in _LayerWalk(graph, {} if found is None else found).follow(model, list(inputs))]


def iterate_layers(model: Any) -> Iterator[Any]:
    """Yield all layers of a net, those of nets within it in their place."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from iterate_layers(layer)
        else:
            yield layer


@dataclass(frozen=True)
class _LayerWalk:
    graph: GraphBuilder
    found: dict[str, Port]

    def follow(self, model: Any, inputs: list[str]) -> list[Port]:
        config = model.get_config()
        if type(model).__name__ == "Sequential":
            ports: list[Port] = [(inputs[0], tuple(model.input_shape))]
            for layer in model.layers:
                ports = self.write(layer, ports)
            return ports
        if "input_layers" not in config:
            raise InputError(
                "Cannot export the net",
                needs="the net must be functional or sequential",
                got=type(model).__name__,
            )
        return self.follow_functional(model, config, inputs)

    def follow_functional(self, model: Any, config: Any, inputs: list[str]) -> list[Port]:
        starts = [entry[0] for entry in _entries(config["input_layers"])]
        ports: dict[str, list[Port]] = {}
        for entry in config["layers"]:
            name, calls = entry["name"], entry["inbound_nodes"]
            layer = model.get_layer(name)
            if name in starts:
                ports[name] = [(inputs[starts.index(name)], tuple(layer.batch_shape))]
                continue
            if len(calls) != 1:
                raise InputError(
                    "Cannot export the net",
                    needs="each layer must be used once",
                    got=f"{len(calls)} uses of {name!r}",
                )
            ports[name] = self.write(
                layer, [ports[source][index] for source, index in _keras_tensors(calls[0]["args"])]
            )
        return [ports[entry[0]][entry[2]] for entry in _entries(config["output_layers"])]

    def write(self, layer: Any, ports: list[Port]) -> list[Port]:
        if hasattr(layer, "layers"):
            return self.follow(layer, [name for name, _ in ports])
        names, shapes = tuple(name for name, _ in ports), tuple(shape for _, shape in ports)
        output = write_layer(self.graph, LayerCall(layer, names, shapes))
        shape = layer.compute_output_shape(shapes[0] if len(shapes) == 1 else list(shapes))
        self.found[layer.name] = (output, tuple(shape))
        return [self.found[layer.name]]


def _entries(value: Any) -> list[Any]:
    """Keras writes one ``[name, node, tensor]`` bare and several in a list: always give a list."""
    return [value] if value and isinstance(value[0], str) else list(value)


def _keras_tensors(value: Any) -> Iterator[tuple[str, int]]:
    """Yield (layer name, output number) of the Keras tensors in one call's arguments, in order."""
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        name, _, index = value["config"]["keras_history"]
        yield name, index
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _keras_tensors(entry)
