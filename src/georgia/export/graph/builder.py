"""Collect ONNX nodes and weights under unique names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

# Opset 17 and IR version 8 are read by ONNX Runtime from 1.13 on, and by ML.NET's runtime.
OPSET = 17
IR_VERSION = 8


@dataclass
class GraphBuilder:
    """A growing graph; every method returns the name of the tensor that it made."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, onnx.TensorProto] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def constant(self, values: npt.ArrayLike, name: str = "", dtype: npt.DTypeLike = np.float32) -> str:
        """Store a weight or a small constant."""
        name = self._fresh(name or "constant")
        self.weights[name] = numpy_helper.from_array(
            # Not ascontiguousarray, which makes a vector of a scalar: Range and Clip take scalars.
            np.asarray(values, dtype=dtype, order="C"),
            name,
        )
        return name

    def add(self, op_type: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        """Append one operator with one output, called ``name`` where that is not in use."""
        output = self._fresh(name or op_type.lower())
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=output, **attributes))
        return output

    def rename(self, tensor: str, name: str) -> str:
        """Give a tensor a public name through an Identity."""
        self.nodes.append(helper.make_node("Identity", [tensor], [name], name=f"{name}/identity"))
        return name

    def mark(self) -> tuple[int, frozenset[str]]:
        """Return a point that `rewind` restores."""
        return len(self.nodes), frozenset(self.weights)

    def rewind(self, point: tuple[int, frozenset[str]]) -> None:
        """Remove the nodes and weights added since a `mark`; their names stay reserved."""
        n_nodes, names = point
        del self.nodes[n_nodes:]
        self.weights = {name: value for name, value in self.weights.items() if name in names}

    def halve_weights(self, prefix: str) -> None:
        """Store the float32 kernels under ``prefix`` as float16, cast back when the model loads."""
        for name in [name for name in self.weights if name.startswith(prefix)]:
            values = numpy_helper.to_array(self.weights[name])
            if values.dtype != np.float32 or values.ndim < 2:
                continue
            stored = f"{name}/float16"
            self.weights[stored] = numpy_helper.from_array(values.astype(np.float16), stored)
            del self.weights[name]
            self.nodes.insert(
                0, helper.make_node("Cast", [stored], [name], name=f"{name}/cast", to=TensorProto.FLOAT)
            )

    def finish(
        self,
        inputs: dict[str, tuple[int, Sequence[int | str]]],
        outputs: dict[str, Sequence[int | str]],
        metadata: dict[str, str],
    ) -> onnx.ModelProto:
        """Close the graph; ``inputs`` maps a name to (element type, shape), outputs are float32."""
        graph = helper.make_graph(
            self.nodes,
            "georgia",
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in outputs.items()
            ],
            list(self.weights.values()),
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="georgia"
        )
        model.ir_version = IR_VERSION
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model

    def _fresh(self, name: str) -> str:
        unique, count = name, 1
        while unique in self._taken:
            count += 1
            unique = f"{name}_{count}"
        self._taken.add(unique)
        return unique
