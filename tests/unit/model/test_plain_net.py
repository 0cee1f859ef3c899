"""An ONNX file that is more than a plain net is rejected before an engine opens it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from georgia.errors import InputError
from georgia.model.load import load_bundle, load_bundled_model
from georgia.model.plain_net import check_plain_net

BUNDLED = load_bundled_model().model_path
SECRET = np.arange(4, dtype=np.float32)


def point_elsewhere(model: Any) -> None:
    tensor = model.graph.initializer.add()
    tensor.CopyFrom(numpy_helper.from_array(SECRET, "stolen"))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "secret.bin"


def point_elsewhere_from_operator(model: Any) -> None:
    point_elsewhere(model)
    tensor = model.graph.initializer.pop()
    model.graph.node.append(helper.make_node("Constant", [], ["stolen"], value=tensor))


def nest_graph(model: Any) -> None:
    inner = helper.make_graph([], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["x"], then_branch=inner, else_branch=inner))


def add_function(model: Any) -> None:
    made = helper.make_function("own", "F", ["a"], ["b"], [], [helper.make_opsetid("", 13)])
    model.functions.append(made)


FAULTS = {
    "numbers in another file": point_elsewhere,
    "a graph in an operator": nest_graph,
    "functions": add_function,
    "sparse numbers": lambda model: model.graph.sparse_initializer.add(),
    "an operator of 'com.microsoft'": lambda model: model.graph.node.append(
        helper.make_node("FusedMatMul", ["a"], ["b"], domain="com.microsoft")
    ),
    "the operator ConstantOfShape": lambda model: model.graph.node.append(
        helper.make_node("ConstantOfShape", ["a"], ["b"])
    ),
}


@pytest.mark.parametrize("is_folder", [True, False])
@pytest.mark.parametrize("fault", FAULTS)
def test_more_than_plain_net_is_rejected(tmp_path: Path, fault: str, is_folder: bool) -> None:
    model = onnx.load(str(BUNDLED))
    FAULTS[fault](model)
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    if is_folder:
        details = (BUNDLED.parent / "bundle.json").read_text(encoding="utf-8")
        (tmp_path / "bundle.json").write_text(details.replace('"model_sha256"', '"was"'), encoding="utf-8")
    with pytest.raises(InputError, match=rf"plain ONNX operators .*; got {fault}\. Export it with Georgia"):
        load_bundle(tmp_path if is_folder else tmp_path / "model.onnx")


def test_numbers_of_operator_stay_inside(tmp_path: Path) -> None:
    model = onnx.load(str(BUNDLED))
    point_elsewhere_from_operator(model)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="got numbers in another file"):
        check_plain_net(tmp_path / "model.onnx")


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"PK\3\4 no net"])
def test_file_that_is_no_net_is_rejected(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(InputError, match="a whole ONNX file is needed"):
        load_bundle(tmp_path / "model.onnx")


def test_bundled_net_is_plain(tmp_path: Path) -> None:
    shutil.copy(BUNDLED, tmp_path / "model.onnx")
    check_plain_net(tmp_path / "model.onnx")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_net_whose_parts_do_not_fit_is_one_line(tmp_path: Path, name: str) -> None:
    from georgia.model.engines import open_engine

    model = onnx.load(str(BUNDLED))
    # The head's last product gets one row too few.
    product = next(node for node in reversed(model.graph.node) if node.op_type == "MatMul")
    (weights,) = (item for item in model.graph.initializer if item.name == product.input[1])
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights)[1:], weights.name))
    model.graph.ClearField("value_info")
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="Cannot (open|run)") as caught:
        engine = open_engine(path, load_bundled_model().preprocess, name)
        engine.run([engine.prepare(np.zeros((20, 24, 3), np.uint8))])
    assert "\n" not in str(caught.value)
