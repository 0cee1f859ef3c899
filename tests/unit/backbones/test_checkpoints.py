"""Weight files of every format are read exactly, and nothing in them runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.numpy

from georgia.backbones.checkpoints import read_checkpoint
from georgia.backbones.tensors import Checkpoint
from georgia.errors import InputError

RNG = np.random.default_rng(5)
STATE = {
    "conv.weight": RNG.normal(size=(4, 3, 3, 3)).astype(np.float32),
    "bn.running_mean": RNG.normal(size=4).astype(np.float32),
    "bn.num_batches_tracked": np.array(7, np.int64),
}
FORMATS = ("zip", "legacy", "safetensors")


@pytest.fixture
def write(torch_writer: Any, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a state dict in a format."""

    def write_state(format_name: str, state: dict[str, Any], under: str = "") -> Path:
        if format_name == "safetensors":
            path = tmp_path / "weights.safetensors"
            safetensors.numpy.save_file(state, path)
            return path
        path = tmp_path / f"{format_name}.pth"
        if format_name == "zip":
            return torch_writer.write_zip(path, state, under)
        return torch_writer.write_legacy(path, state, under)

    return write_state


def read_all(path: Path) -> dict[str, np.ndarray]:
    return {name: tensor.read() for name, tensor in read_checkpoint(path).tensors.items()}


@pytest.mark.parametrize("format_name", FORMATS)
def test_tensors_read_back_as_written(write: Callable[..., Path], format_name: str) -> None:
    path = write(format_name, STATE)
    checkpoint = read_checkpoint(path)
    assert checkpoint == Checkpoint(path, "torch", checkpoint.sha256, checkpoint.tensors)
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {name: tensor.shape for name, tensor in checkpoint.tensors.items()} == {
        name: array.shape for name, array in STATE.items()
    }
    for name, array in read_all(path).items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, STATE[name])


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"])
def test_every_dtype_becomes_float32(write: Callable[..., Path], format_name: str, dtype: str) -> None:
    values = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    array = read_all(write(format_name, {"x": values}))["x"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, values.astype(np.float32))


@pytest.mark.parametrize("format_name", ["zip", "legacy"])
def test_torch_bfloat16_is_read(write: Callable[..., Path], torch_view: Any, format_name: str) -> None:
    exact = np.array([1.0, -2.5, 0.15625, 1e30], np.float32)
    halves = (exact.view(np.uint32) >> 16).astype(np.uint16)
    got = read_all(write(format_name, {"x": torch_view(halves, (4,), (1,), 0, "bfloat16")}))["x"]
    np.testing.assert_allclose(got, exact, rtol=2**-7)


def test_safetensors_bfloat16_is_read(tmp_path: Path) -> None:
    table = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(table)) + table + struct.pack("<HH", 0x3F80, 0xC000))
    assert read_all(path)["x"].tolist() == [1.0, -2.0]


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, "not fully covered|Incomplete"),
        ({"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 4]}}, "whole safetensors file"),
        ({"x": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 4]}}, "overflow|Overflow"),
        ({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, "whole safetensors file"),
        ({"x": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}, "float8"),
        ({"x": 3}, "whole safetensors file"),
    ],
)
def test_lying_safetensors_table_is_rejected(tmp_path: Path, table: dict[str, Any], match: str) -> None:
    head = json.dumps(table).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(4))
    check_rejected(path, match)


@pytest.mark.parametrize("format_name", ["zip", "legacy"])
def test_tensor_views_keep_strides_and_offsets(
    write: Callable[..., Path], torch_view: Any, format_name: str
) -> None:
    stored = np.arange(24, dtype=np.float32)
    state = {
        "whole": torch_view(stored, (4, 6), (6, 1)),
        "transposed": torch_view(stored, (6, 4), (1, 6)),
        "column": torch_view(stored, (4,), (6,), 2),
        "number": torch_view(stored, (), (), 23),
        "empty": torch_view(stored, (0, 3), (3, 1)),
    }
    got = read_all(write(format_name, state))
    np.testing.assert_array_equal(got["transposed"], got["whole"].T)
    np.testing.assert_array_equal(got["column"], got["whole"][:, 2])
    assert got["number"] == 23
    assert got["empty"].shape == (0, 3)


@pytest.mark.parametrize("format_name", ["zip", "legacy"])
@pytest.mark.parametrize("under", ["state_dict", "model", "model_state"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_nested_state_dict_is_found(
    write: Callable[..., Path], torch_view: Any, format_name: str, under: str, prefix: str
) -> None:
    views = {name: torch_view.of(array) for name, array in STATE.items()}
    wrapped = {f"{prefix}{name}": view for name, view in views.items()}
    assert set(read_all(write(format_name, wrapped, under))) == set(STATE)


@pytest.mark.parametrize("format_name", ["zip", "legacy"])
def test_parameters_are_read_as_tensors(
    write: Callable[..., Path], torch_view: Any, format_name: str
) -> None:
    view = torch_view(np.ones(3, np.float32), (3,), (1,), is_parameter=True)
    assert read_all(write(format_name, {"x": view}))["x"].tolist() == [1, 1, 1]


def check_rejected(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        read_all(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


class _Attack:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.parts = (function, arguments)

    def __reduce__(self) -> Any:
        return self.parts


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("format_name", ["zip", "legacy"])
def test_checkpoint_code_is_named_not_run(
    torch_writer: Any, tmp_path: Path, protocol: int, format_name: str
) -> None:
    trace, path = tmp_path / "trace", tmp_path / "w.pth"
    attack = pickle.dumps({"x": _Attack(os.system, f"touch {trace}")}, protocol)
    if format_name == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", attack)
    else:
        magic = torch_writer.pickle.whole_file(torch_writer.pickle.whole(0x1950A86A20F9469CFC6C))
        system = torch_writer.pickle.whole_file(b"}(" + torch_writer.pickle.text("little_endian") + b"\x88u")
        path.write_bytes(magic + magic + system + attack)
    check_rejected(path, rf"tensors and plain containers only; got {os.system.__module__}\.system")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch.jit", "_load"),
        ("argparse", "Namespace"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("collections", "OrderedDict.__init__"),
        ("georgia.backbones.torch_files", "_StorageType"),
    ],
)
def test_pickle_name_off_list_is_rejected(torch_writer: Any, tmp_path: Path, module: str, name: str) -> None:
    body = torch_writer.nest(torch_writer.pickle.call(module, name, torch_writer.pickle.text("1")), "x")
    check_rejected(
        torch_writer.write_zip_parts(tmp_path / "w.pth", body, {}), f"got {module}.{name}".replace(".", r"\.")
    )


def test_older_pickle_call_is_rejected(torch_writer: Any, tmp_path: Path) -> None:
    body = b"(" + torch_writer.pickle.text("true") + b"ios\nsystem\n"
    check_rejected(torch_writer.write_zip_parts(tmp_path / "w.pth", body, {}), "the instruction INST")


def test_huge_memo_position_is_rejected(torch_writer: Any, tmp_path: Path) -> None:
    body = b"}r" + struct.pack("<I", 0xFFFFFFF0)
    check_rejected(torch_writer.write_zip_parts(tmp_path / "w.pth", body, {}), "memo position")


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((9,), (1,), 0),
        ((2, 3), (4, 1), 5),
        ((1000, 1000), (0, 0), 0),
        ((2,), (-1,), 1),
        ((2,), (1,), -1),
        ((2,), (), 0),
    ],
)
def test_tensor_beyond_storage_is_rejected(
    write: Callable[..., Path], torch_view: Any, shape: Any, strides: Any, offset: int
) -> None:
    view = torch_view(np.zeros(8, np.float32), shape, strides, offset)
    for format_name in ("zip", "legacy"):
        check_rejected(write(format_name, {"x": view}), "tensor")


def _changed_tensor(torch_writer: Any, torch_view: Any) -> bytes:
    """Describe eight numbers as a tensor, then set its shape to a million by BUILD."""
    view = torch_view(np.zeros(8, np.float32), (8,), (1,), dtype="float32")
    p = torch_writer.pickle
    state = b"}" + p.text("shape") + p.row(p.whole(10**6)) + b"s"
    return p.ordered({"x": torch_writer.describe(view, "0", False) + state + b"b"})


def _changed_storage_type(torch_writer: Any, torch_view: Any) -> bytes:
    p = torch_writer.pickle
    return p.ordered({"x": p.name("torch", "FloatStorage") + b"](" + p.text("f16") + b"eb"})


def _endless_key(torch_writer: Any, torch_view: Any) -> bytes:
    """A key of tuples in tuples, whose hash takes 2**60 steps."""
    return b"}" + b")" + b"q\x01h\x01\x86" * 60 + b"Ns"


def _called_container(torch_writer: Any, torch_view: Any) -> bytes:
    return b"})R"


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (_changed_tensor, "a change of what is no ordered dict"),
        (_changed_storage_type, "a change of what is no ordered dict"),
        (_endless_key, "a tuple as a key"),
        (_called_container, "a call of what cannot be called"),
    ],
)
def test_instructions_are_restricted_by_target(
    make: Callable[..., bytes], match: str, torch_writer: Any, torch_view: Any, tmp_path: Path
) -> None:
    runs = {"0": (np.zeros(8, np.float32), "float32")}
    check_rejected(
        torch_writer.write_zip_parts(tmp_path / "w.pth", make(torch_writer, torch_view), runs), match
    )


@pytest.mark.parametrize("protocol", range(6))
def test_checkpoint_attributes_are_dropped(protocol: int, torch_writer: Any, tmp_path: Path) -> None:
    """torch keeps versions in an attribute of the state dict; whatever is there changes nothing."""
    from collections import OrderedDict

    plain = OrderedDict([("a", 1), ("b", [1.5, True, None, "x", (1, 2)])])
    plain._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    body = pickle.dumps({"state": plain, "n": 10**30}, protocol=protocol)
    if protocol < 2:
        body = pickle.dumps({"state": dict(plain), "n": 10**30}, protocol=protocol)
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("archive/data.pkl", body)
    check_rejected(tmp_path / "w.pth", "no tensors")


@pytest.mark.parametrize("format_name", FORMATS)
def test_truncated_file_is_rejected_in_one_line(write: Callable[..., Path], format_name: str) -> None:
    path = write(format_name, STATE)
    data = path.read_bytes()
    for n_bytes in range(0, len(data) - 1, max(1, len(data) // 60)):
        path.write_bytes(data[:n_bytes])
        check_rejected(path, "Cannot read weights")


@pytest.mark.parametrize("format_name", FORMATS)
def test_changed_bytes_raise_only_input_error(write: Callable[..., Path], format_name: str) -> None:
    path = write(format_name, STATE)
    data, rng = path.read_bytes(), np.random.default_rng(11)
    for _ in range(300):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            changed[place] = rng.integers(0, 256)
        path.write_bytes(changed)
        with contextlib.suppress(InputError):
            read_all(path)


def test_zip_bomb_is_rejected(torch_writer: Any, tmp_path: Path) -> None:
    body, runs = torch_writer.state({"x": np.zeros(10_000_000, np.float32)}, legacy=False)
    path = torch_writer.write_zip_parts(tmp_path / "w.pth", body, runs, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    check_rejected(path, "larger than the file")


def test_zip_without_checkpoint_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")
    check_rejected(path, r"0 parts named data\.pkl")


@pytest.mark.parametrize(
    "data", [b"", b"hello, world, no weights", b"\x80", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"]
)
def test_other_file_formats_are_rejected(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(data)
    check_rejected(path, "is needed")


def test_missing_files_and_folders_are_rejected(tmp_path: Path) -> None:
    check_rejected(tmp_path / "none.pth", "No such file")
    check_rejected(tmp_path, "directory")


@pytest.mark.parametrize("format_name", ["zip", "legacy"])
def test_checkpoint_without_tensors_is_rejected(torch_writer: Any, tmp_path: Path, format_name: str) -> None:
    write = torch_writer.write_zip_parts if format_name == "zip" else torch_writer.write_legacy_parts
    check_rejected(write(tmp_path / "w.pth", b"}", {}), "no tensors")
    check_rejected(write(tmp_path / "w.pth", b"]", {}), "a list where a state dict is needed")


def test_hash_in_file_name_must_match(torch_writer: Any, tmp_path: Path) -> None:
    path = torch_writer.write_zip(tmp_path / "plain.pth", STATE)
    same = path.with_name(f"resnet18-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth")
    same.write_bytes(path.read_bytes())
    read_checkpoint(same)
    other = path.rename(path.with_name("resnet18-f37072fd.pth"))
    check_rejected(other, "must begin with f37072fd")


def test_keras_layouts_give_same_names(tmp_path: Path) -> None:
    kernel, mean = np.ones((3, 3, 1, 2), np.float32), np.full(2, 4, np.float32)
    places = {
        "weights.h5": ("c1/c1/kernel:0", "b1/b1/moving_mean:0"),
        "renamed.h5": ("c1/c1_3/kernel:0", "b1/b1_3/moving_mean:0"),
        "whole.h5": ("model_weights/c1/c1/kernel:0", "model_weights/b1/b1/moving_mean:0"),
        "nested.h5": ("model_weights/base/c1/kernel:0", "model_weights/base/b1/moving_mean:0"),
        "keras3.h5": ("model_weights/c1/c1/kernel", "model_weights/b1/b1/moving_mean"),
    }
    for file_name, (first, second) in places.items():
        path = tmp_path / file_name
        with h5py.File(path, "w") as file:
            file[first], file[second] = kernel, mean
            file["optimizer_weights/SGD/c1/kernel:0"] = kernel
        checkpoint = read_checkpoint(path)
        assert (checkpoint.layout, set(checkpoint.tensors)) == ("keras", {"c1/0", "b1/2"}), file_name
        np.testing.assert_array_equal(read_all(path)["b1/2"], mean)


def write_hdf5(path: Path, fill: Callable[[h5py.File], object]) -> Path:
    with h5py.File(path, "w") as file:
        file["c1/c1/bias:0"] = np.ones(2, np.float32)
        fill(file)
    return path


def test_hdf5_with_external_data_is_rejected(tmp_path: Path) -> None:
    secret = write_hdf5(tmp_path / "secret.h5", lambda file: None)

    def link_out(file: h5py.File) -> None:
        file["c2"] = h5py.ExternalLink(str(secret), "/c1")

    def link_soft(file: h5py.File) -> None:
        file["c2"] = h5py.SoftLink("/c1")

    def keep_outside(file: h5py.File) -> None:
        file.create_dataset("c2/c2/bias:0", (2,), "f4", external=[(str(secret), 0, 8)])

    def map_outside(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((2,), "f4")
        layout[:] = h5py.VirtualSource(str(secret), "c1/c1/bias:0", (2,))
        file.create_virtual_dataset("c2/c2/bias:0", layout)

    def claim_much(file: h5py.File) -> None:
        file.create_dataset("c2/c2/kernel:0", (10**6, 10**6), "f4", chunks=(10, 10))

    for number, fill in enumerate((link_out, link_soft, keep_outside, map_outside, claim_much)):
        check_rejected(write_hdf5(tmp_path / f"{number}.h5", fill), "link|another file|unpack")


def test_hdf5_without_unique_layers_is_rejected(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.zeros(3)
    check_rejected(tmp_path / "a.h5", "no weights of any layer")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["a/c1/bias"], file["a/c2/bias"], file["b/c1/bias"] = np.zeros(2), np.zeros(2), np.zeros(2)
        file["b/c3/bias"] = np.zeros(2)
    check_rejected(tmp_path / "b.h5", "two layers named c1")
    with h5py.File(tmp_path / "c.weights.h5", "w") as file:
        file["layers/conv2d/vars/0"] = np.zeros(2)
    check_rejected(tmp_path / "c.weights.h5", "layers without names")


def test_keras_archive_bomb_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(5_000_000))
    check_rejected(path, "would unpack to")


def write_named(path: Path) -> tuple[bytearray, int]:
    """Write weights whose layer has a name; return their bytes and where the heap of texts begins."""
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "dense"
        group["0"] = np.ones((3, 2), np.float32)
    data = bytearray(path.read_bytes())
    return data, data.index(b"GCOL")


@pytest.mark.parametrize(
    ("offset", "piece"),
    [
        pytest.param(16, bytes(16), id="free room of no size"),
        pytest.param(24, (2**64 - 16).to_bytes(8, "little"), id="text whose step wraps to nothing"),
        pytest.param(8, (2**13).to_bytes(8, "little"), id="heap that claims to be longer than it is"),
    ],
)
def test_heap_without_end_is_rejected(tmp_path: Path, offset: int, piece: bytes) -> None:
    path = tmp_path / "net.weights.h5"
    data, heap = write_named(path)
    # HDF5 would look behind each of them for ever.
    data[heap + offset : heap + offset + len(piece)] = piece
    path.write_bytes(data + bytes(2**13))
    with pytest.raises(InputError, match="a heap whose list has no end"):
        read_checkpoint(path)


def test_attribute_that_is_no_text_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "net.weights.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = np.arange(3)
        group["0"] = np.ones((3, 2), np.float32)
    with pytest.raises(InputError, match="its attribute name is no text"):
        read_checkpoint(path)
