"""Writers of torch.save files, so that reading them is tested without torch."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[np.generic]
STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


@dataclass(frozen=True)
class View:
    """A tensor as a view of a run of stored numbers; ``dtype`` names what the bytes mean."""

    stored: Array
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    dtype: str = ""
    is_parameter: bool = False

    @classmethod
    def of(cls, array: Array) -> View:
        array = array.copy(order="C")
        return cls(array.ravel(), array.shape, tuple(step // array.itemsize for step in array.strides))


class Pickle:
    """The few pickle instructions that torch.save writes."""

    @staticmethod
    def text(value: str) -> bytes:
        data = value.encode()
        return b"X" + struct.pack("<I", len(data)) + data

    @staticmethod
    def whole(value: int) -> bytes:
        return b"\x8a\x0a" + value.to_bytes(10, "little", signed=True)

    @staticmethod
    def row(*parts: bytes) -> bytes:
        return b"(" + b"".join(parts) + b"t"

    @staticmethod
    def name(module: str, name: str) -> bytes:
        return f"c{module}\n{name}\n".encode()

    @classmethod
    def call(cls, module: str, name: str, *arguments: bytes) -> bytes:
        return cls.name(module, name) + cls.row(*arguments) + b"R"

    @classmethod
    def ordered(cls, items: Mapping[str, bytes]) -> bytes:
        pairs = b"".join(cls.text(key) + value for key, value in items.items())
        return cls.call("collections", "OrderedDict") + b"(" + pairs + b"u"

    @staticmethod
    def whole_file(body: bytes) -> bytes:
        return b"\x80\x02" + body + b"."


class TorchWriter:
    """Writes state dicts as torch.save does, in its zip or its legacy format."""

    pickle = Pickle

    def state(
        self, tensors: Mapping[str, Array | View], legacy: bool
    ) -> tuple[bytes, dict[str, tuple[Array, str]]]:
        """Return the pickled state dict, and the stored runs by key."""
        runs: dict[str, tuple[Array, str]] = {}
        known: dict[int, str] = {}
        items = {}
        for name, value in tensors.items():
            view = value if isinstance(value, View) else View.of(value)
            dtype = view.dtype or str(view.stored.dtype)
            key = known.setdefault(id(view.stored), str(len(known)))
            runs[key] = (view.stored, dtype)
            items[name] = self.describe(replace(view, dtype=dtype), key, legacy)
        return Pickle.ordered(items), runs

    def describe(self, view: View, key: str, legacy: bool) -> bytes:
        parts = [Pickle.text("storage"), Pickle.name("torch", STORAGES[view.dtype]), Pickle.text(key)]
        parts += [Pickle.text("cpu"), Pickle.whole(view.stored.size)] + ([b"N"] if legacy else [])
        tensor = Pickle.call(
            "torch._utils",
            "_rebuild_tensor_v2",
            Pickle.row(*parts) + b"Q",
            Pickle.whole(view.offset),
            Pickle.row(*map(Pickle.whole, view.shape)),
            Pickle.row(*map(Pickle.whole, view.strides)),
            b"\x89",
            Pickle.ordered({}),
        )
        if view.is_parameter:
            return Pickle.call("torch._utils", "_rebuild_parameter", tensor, b"\x88", Pickle.ordered({}))
        return tensor

    def nest(self, body: bytes, under: str) -> bytes:
        """Put a state dict into a training checkpoint, beside the number of its epoch."""
        if not under:
            return body
        return b"}(" + Pickle.text("epoch") + Pickle.whole(3) + Pickle.text(under) + body + b"u"

    def write_zip(self, path: Path, tensors: Mapping[str, Array | View], under: str = "") -> Path:
        body, runs = self.state(tensors, legacy=False)
        return self.write_zip_parts(path, self.nest(body, under), runs)

    def write_zip_parts(
        self,
        path: Path,
        body: bytes,
        runs: Mapping[str, tuple[Array, str]],
        compression: int = zipfile.ZIP_STORED,
    ) -> Path:
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("archive/data.pkl", Pickle.whole_file(body))
            archive.writestr("archive/byteorder", b"little")
            for key, (stored, _) in runs.items():
                archive.writestr(f"archive/data/{key}", stored.tobytes())
        return path

    def write_legacy(self, path: Path, tensors: Mapping[str, Array | View], under: str = "") -> Path:
        body, runs = self.state(tensors, legacy=True)
        return self.write_legacy_parts(path, self.nest(body, under), runs)

    def write_legacy_parts(self, path: Path, body: bytes, runs: Mapping[str, tuple[Array, str]]) -> Path:
        file = io.BytesIO()
        file.write(Pickle.whole_file(Pickle.whole(0x1950A86A20F9469CFC6C)))
        file.write(Pickle.whole_file(Pickle.whole(1001)))
        file.write(Pickle.whole_file(b"}(" + Pickle.text("little_endian") + b"\x88u"))
        file.write(Pickle.whole_file(body))
        file.write(Pickle.whole_file(b"](" + b"".join(map(Pickle.text, runs)) + b"e"))
        for stored, _ in runs.values():
            file.write(struct.pack("<q", stored.size) + stored.tobytes())
        path.write_bytes(file.getvalue())
        return path


@pytest.fixture(scope="session")
def torch_writer() -> TorchWriter:
    return TorchWriter()


@pytest.fixture(scope="session")
def torch_view() -> type[View]:
    return View
