"""Tensors out of torch.save files, without torch and without running what is in them.

Such a file is a pickle, and a pickle is a program. Georgia never unpickles freely: the reader
below checks every instruction before the first one runs, and allows a short list of harmless names (an
ordered dict, a tensor's description, storage types), each mapped onto a stand-in that can only
hold numbers. Any other name stops the reading with an error that names it.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple, cast

import ml_dtypes
import numpy as np

from georgia.backbones.tensors import FloatArray, Tensor, reading_weights, weights_error

# Source: torch/serialization.py, MAGIC_NUMBER of the legacy format.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# Largest pickle read, bytes. ResNet-101's is 0.1 MB; this leaves room for optimiser state.
MAX_PICKLE_BYTES = 64 * 2**20
# Where training scripts keep the weights inside a checkpoint. Source: timm and torchvision references.
NESTS = ("state_dict", "model", "model_state", "model_state_dict", "state_dict_ema", "model_ema")
# Weights of a convolution have four axes; numpy knows at most 64.
MAX_RANK = 16
# The instructions that torch.save writes, with any protocol of pickle's; those that call, make or change
# anything are further restricted in _RestrictedUnpickler.
_INSTRUCTIONS = frozenset(
    (
        *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE"),
        *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "INT", "LONG", "FLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "BINSTRING", "SHORT_BINSTRING"),
        *("BINBYTES", "SHORT_BINBYTES", "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE"),
        *("TUPLE1", "TUPLE2", "TUPLE3", "DICT", "EMPTY_DICT", "SETITEM", "SETITEMS", "PUT", "BINPUT"),
        *("LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "REDUCE"),
        *("BUILD", "BINPERSID"),
    )
)
DO_STATE_DICT = "Save the weights alone: torch.save(model.state_dict(), 'weights.pth')."

STORAGE_DTYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


class _Forbidden(Exception):
    """A pickle asks for a name that is not on the list."""


class _Storage(NamedTuple):
    """A run of numbers in the file: where it is kept and how many there are.

    Like all that a pickle gets hold of, it has neither attributes to set nor a state.
    """

    key: str
    dtype: np.dtype[Any]
    n_items: int
    offset: int = 0


class _Description(NamedTuple):
    """A tensor as the pickle describes it; the numbers are elsewhere."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _StandIn:
    """A name that a pickle may call. It has no attributes, so a pickle cannot change it."""

    __slots__ = ("_action",)

    def __init__(self, action: Callable[..., Any]) -> None:
        object.__setattr__(self, "_action", action)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)

    def __call__(self, *arguments: Any) -> Any:
        return object.__getattribute__(self, "_action")(*arguments)


def _describe_tensor(
    storage: object, offset: object, shape: object, strides: object, *_: object
) -> _Description:
    if not isinstance(storage, _Storage) or not isinstance(offset, int):
        raise ValueError("a tensor without storage")
    sizes, steps = _whole_numbers(shape), _whole_numbers(strides)
    if offset < 0 or len(sizes) != len(steps) or len(sizes) > MAX_RANK:
        raise ValueError("a tensor with a wrong offset, wrong strides or too many axes")
    n_items = math.prod(sizes)
    last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    if n_items and (last >= storage.n_items or n_items > storage.n_items):
        raise ValueError(
            f"a tensor of shape {sizes} that reaches beyond its {storage.n_items} stored numbers"
        )
    return _Description(storage, offset, sizes, steps)


def _whole_numbers(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple) or not all(type(v) is int and v >= 0 for v in values):
        raise ValueError("a tensor's shape must be a tuple of whole numbers")
    return values


def _first_argument(value: object, *_: object) -> object:
    return value


def _as_tuple(values: object) -> tuple[int, ...]:
    return _whole_numbers(tuple(values) if isinstance(values, (list, tuple)) else values)


_CALLABLE: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _describe_tensor,
    ("torch._utils", "_rebuild_tensor"): _describe_tensor,
    ("torch._utils", "_rebuild_parameter"): _first_argument,
    ("torch._utils", "_rebuild_parameter_with_state"): _first_argument,
    ("torch", "Size"): _as_tuple,
}


class _RestrictedUnpickler(pickle._Unpickler):
    """Reads plain containers, numbers and tensor descriptions, and rejects every other name.

    It is pickle's own reader in Python, whose steps can be restricted one by one: what is called, what is
    changed, and what becomes a key (the hash of a small nested tuple can take for ever).
    """

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self.item_bytes: dict[str, int] = {}

    def load_build(self) -> None:
        """Drop what would become attributes of an ordered dict; nothing else may be changed."""
        self.stack.pop()
        if type(self.stack[-1]) is not OrderedDict:
            raise _Forbidden("a change of what is no ordered dict")

    def load_reduce(self) -> None:
        """Call an allowed name."""
        arguments, function = self.stack.pop(), self.stack[-1]
        if not isinstance(arguments, tuple):
            raise ValueError("a call without arguments")
        if function is OrderedDict:
            pairs = arguments[0] if arguments else []
            if len(arguments) > 1 or not isinstance(pairs, list) or any(len(pair) != 2 for pair in pairs):
                raise ValueError("an ordered dict of something else than pairs")
            self.stack[-1] = OrderedDict((_check_key(key), value) for key, value in pairs)
        elif isinstance(function, _StandIn):
            self.stack[-1] = function(*arguments)
        else:
            raise _Forbidden("a call of what cannot be called")

    def load_setitem(self) -> None:
        """Put one entry into a dict."""
        value, key = self.stack.pop(), self.stack.pop()
        self._put([key, value])

    def load_setitems(self) -> None:
        """Put several entries into a dict."""
        self._put(self.pop_mark())

    def load_dict(self) -> None:
        """Make a dict of entries."""
        entries = self.pop_mark()
        self.stack.append({})
        self._put(entries)

    def load_append(self) -> None:
        """Put one value into a list."""
        self._extend([self.stack.pop()])

    def load_appends(self) -> None:
        """Put several values into a list."""
        self._extend(self.pop_mark())

    def _put(self, entries: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(entries) % 2:
            raise ValueError("entries of what is no dict")
        for key, value in zip(entries[::2], entries[1::2], strict=True):
            target[_check_key(key)] = value

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise ValueError("values of what is no list")
        target.extend(values)

    for _code, _step in (
        (pickle.BUILD, load_build),
        (pickle.REDUCE, load_reduce),
        (pickle.DICT, load_dict),
        (pickle.SETITEM, load_setitem),
        (pickle.SETITEMS, load_setitems),
        (pickle.APPEND, load_append),
        (pickle.APPENDS, load_appends),
    ):
        dispatch[_code[0]] = _step

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for an allowed name."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in STORAGE_DTYPES:
            return _StorageType(STORAGE_DTYPES[name])
        if (module, name) in _CALLABLE:
            return _StandIn(_CALLABLE[module, name])
        raise _Forbidden(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the storage that a persistent id names."""
        kind, storage_type, key, _location, n_items, *rest = pid
        if (
            kind != "storage"
            or not isinstance(storage_type, _StorageType)
            or type(n_items) is not int
            or n_items < 0
        ):
            raise ValueError("an unknown kind of storage")
        if not isinstance(key, (str, int)):
            raise ValueError("a storage without a name")
        key = str(key)
        self.item_bytes[key] = storage_type.dtype.itemsize
        if not rest or rest[0] is None:
            return _Storage(key, storage_type.dtype, n_items)
        _view_key, offset, view_items = rest[0]
        if (
            type(offset) is not int
            or type(view_items) is not int
            or offset < 0
            or view_items < 0
            or offset + view_items > n_items
        ):
            raise ValueError("a storage view that reaches beyond its storage")
        return _Storage(key, storage_type.dtype, view_items, offset)


class _StorageType(NamedTuple):
    dtype: np.dtype[Any]


def _check_key(key: object) -> Any:
    if not isinstance(key, (str, bytes, int, float, type(None))):
        raise ValueError(f"a {type(key).__name__} as a key")
    return key


def _take_pickle(stream: BinaryIO) -> bytes:
    """Return the bytes of the next pickle of a stream, after a check of each of its instructions.

    A memo position beyond the pickle's own length would make the unpickler reserve memory for
    it (up to 64 GB), so it is rejected here.
    """
    start = stream.tell()
    highest = 0
    bounded = cast("BinaryIO", _Bounded(stream, MAX_PICKLE_BYTES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's own, about escapes in damaged text
        for opcode, argument, _position in pickletools.genops(bounded):
            if opcode.name.endswith("PUT") and isinstance(argument, int):
                highest = max(highest, argument)
            if opcode.name not in _INSTRUCTIONS:
                raise _Forbidden(f"the instruction {opcode.name}")
    n_bytes = stream.tell() - start
    if highest > n_bytes:
        raise ValueError("a memo position beyond the pickle's end")
    stream.seek(start)
    return stream.read(n_bytes)


class _Bounded:
    """A stream from which pickletools may read no more than ``limit`` bytes."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream, self._end = stream, stream.tell() + limit

    def read(self, size: int = -1) -> bytes:
        if size < 0 or self._stream.tell() + size > self._end:
            raise ValueError("a pickle that is too long")
        return self._stream.read(size)

    def readline(self) -> bytes:
        return self._stream.readline(4096)

    def tell(self) -> int:
        return self._stream.tell()


def _load_pickle(stream: BinaryIO) -> tuple[Any, dict[str, int]]:
    """Return what one pickle holds, and for each storage that it names the bytes of one number."""
    unpickler = _RestrictedUnpickler(io.BytesIO(_take_pickle(stream)))
    return unpickler.load(), unpickler.item_bytes


def list_legacy_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a torch.save file of the legacy (non-zip) format.

    Raises:
        InputError: the file is no such checkpoint, is cut short, or names what is not allowed.
    """
    with _reading_torch(path), path.open("rb") as stream:
        if _load_pickle(stream)[0] != LEGACY_MAGIC:
            raise ValueError("a pickle that torch.save did not write")
        _load_pickle(stream)  # protocol version
        system, _ = _load_pickle(stream)
        if not system["little_endian"]:
            raise ValueError("big-endian numbers")
        content, item_bytes = _load_pickle(stream)
        keys, _ = _load_pickle(stream)
        places = _locate_storages(stream, keys, item_bytes, path.stat().st_size)
        described = _find_state_dict(content)
        if {item.storage.key for item in described.values()} - set(places):
            raise ValueError("a tensor whose numbers are not in the file")

    def fetch(storage: _Storage, skip_bytes: int, n_bytes: int) -> bytes:
        with path.open("rb") as stream:
            stream.seek(places[storage.key] + skip_bytes)
            return stream.read(n_bytes)

    return {name: _to_tensor(path, item, fetch) for name, item in described.items()}


def _locate_storages(
    stream: BinaryIO, keys: Any, item_bytes: Mapping[str, int], n_file_bytes: int
) -> dict[str, int]:
    """Return where each storage's numbers begin; they follow the pickles, each after its own count."""
    places: dict[str, int] = {}
    for key in keys:
        (n_items,) = struct.unpack("<q", stream.read(8))
        places[key] = stream.tell()
        if n_items < 0 or places[key] + n_items * item_bytes[key] > n_file_bytes:
            raise EOFError("the file ends early")
        stream.seek(n_items * item_bytes[key], io.SEEK_CUR)
    return places


def list_zip_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a torch.save file of the zip format.

    Raises:
        InputError: the file is no such checkpoint, is damaged, names what is not allowed, or has
            parts that claim to be larger than the file.
    """
    with _reading_torch(path), zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        n_bytes = path.stat().st_size
        if (
            any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist())
            or sum(sizes.values()) > n_bytes
        ):
            raise ValueError("compressed parts, or parts larger than the file; torch.save writes neither")
        roots = [
            name.removesuffix("data.pkl")
            for name in sizes
            if name.endswith("/data.pkl") or name == "data.pkl"
        ]
        if len(roots) != 1:
            raise ValueError(f"{len(roots)} parts named data.pkl; one is needed")
        root = roots[0]
        order = archive.read(f"{root}byteorder") if f"{root}byteorder" in sizes else b"little"
        if order != b"little":
            raise ValueError("big-endian numbers")
        content, item_bytes = _load_pickle(io.BytesIO(archive.read(f"{root}data.pkl")))
        described = _find_state_dict(content)
        for item in described.values():
            key = item.storage.key
            end = (item.storage.offset + item.storage.n_items) * item_bytes[key]
            if sizes.get(f"{root}data/{key}", -1) < end:
                raise EOFError(f"part data/{key} is missing or short")

    def fetch(storage: _Storage, skip_bytes: int, n_bytes: int) -> bytes:
        with zipfile.ZipFile(path) as archive, archive.open(f"{root}data/{storage.key}") as stream:
            stream.seek(skip_bytes)
            return stream.read(n_bytes)

    return {name: _to_tensor(path, item, fetch) for name, item in described.items()}


@contextmanager
def _reading_torch(path: Path) -> Iterator[None]:
    try:
        with reading_weights(path, "a whole torch checkpoint is needed"):
            yield
    except _Forbidden as error:
        rule = "a checkpoint may hold tensors and plain containers only"
        raise weights_error(path, rule, error, DO_STATE_DICT) from error


def _find_state_dict(content: Any) -> dict[str, _Description]:
    """Return the named tensors, at the top level or inside a training checkpoint."""
    for _ in range(3):
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__} where a state dict is needed")
        found = {
            name: item
            for name, item in content.items()
            if isinstance(name, str) and isinstance(item, _Description)
        }
        nested = next((content[name] for name in NESTS if isinstance(content.get(name), dict)), None)
        if nested is None:
            break
        content = nested
    if not found:
        raise ValueError("no tensors; they are looked for at the top and under " + ", ".join(NESTS))
    if all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): item for name, item in found.items()}
    return found


def _to_tensor(path: Path, item: _Description, fetch: Callable[[_Storage, int, int], bytes]) -> Tensor:
    def read() -> FloatArray:
        with _reading_torch(path):
            return _read_numbers(item, fetch)

    return Tensor(item.shape, read)


def _read_numbers(item: _Description, fetch: Callable[[_Storage, int, int], bytes]) -> FloatArray:
    """Return one tensor as float32 in its logical order, whatever its strides in the file.

    Its bounds are checked once more where memory is read by them.
    """
    item = _describe_tensor(*item)
    dtype = item.storage.dtype
    if 0 in item.shape:
        return np.zeros(item.shape, np.float32)
    span = 1 + sum((size - 1) * step for size, step in zip(item.shape, item.strides, strict=True))
    raw = fetch(item.storage, (item.storage.offset + item.offset) * dtype.itemsize, span * dtype.itemsize)
    if len(raw) != span * dtype.itemsize:
        raise EOFError("the file ends early")
    numbers = np.frombuffer(raw, dtype).astype(np.float32)
    steps = tuple(step * numbers.itemsize for step in item.strides)
    view = np.lib.stride_tricks.as_strided(numbers, item.shape, steps, writeable=False)
    return np.array(view, dtype=np.float32, order="C")
