"""Tensors out of .safetensors files: a JSON table, then the numbers, nothing else."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from georgia.backbones.tensors import BFLOAT16, FloatArray, Tensor, unreadable, widen_numbers

# Source: the safetensors format description; its writer refuses longer tables too.
MAX_TABLE_BYTES = 100_000_000
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": BFLOAT16,
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def is_safetensors(path: Path, head: bytes) -> bool:
    """Return whether a file begins as .safetensors do: a table's length, then its first brace."""
    n_table = int.from_bytes(head[:8], "little")
    return (
        len(head) > 8 and head[8:9] == b"{" and 2 <= n_table <= min(MAX_TABLE_BYTES, path.stat().st_size - 8)
    )


def list_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file.

    Raises:
        InputError: the table is damaged, or a tensor does not lie inside the file.
    """
    try:
        with path.open("rb") as stream:
            n_table = int.from_bytes(stream.read(8), "little")
            table = json.loads(stream.read(n_table))
        table.pop("__metadata__", None)
        start, n_data = 8 + n_table, path.stat().st_size - 8 - n_table
        return {name: _to_tensor(path, name, entry, start, n_data) for name, entry in table.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        rule = "a whole safetensors file is needed"
        raise unreadable(
            path, rule, f"{type(error).__name__}: {error}", "Copy or download it again."
        ) from error


def _to_tensor(path: Path, name: str, entry: dict[str, Any], start: int, n_data: int) -> Tensor:
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    first, end = entry["data_offsets"]
    if dtype not in DTYPES:
        raise ValueError(f"tensor {name!r} of type {dtype}; known are {', '.join(DTYPES)}")
    stored = np.dtype("<u2" if DTYPES[dtype] == BFLOAT16 else DTYPES[dtype])
    whole = all(type(v) is int and v >= 0 for v in (*shape, first, end))
    if not whole or end > n_data or end - first != math.prod(shape) * stored.itemsize:
        raise ValueError(f"tensor {name!r} of shape {list(shape)} that does not fit bytes {first} to {end}")

    def read() -> FloatArray:
        numbers = np.fromfile(path, stored, count=math.prod(shape), offset=start + first)
        return widen_numbers(numbers, DTYPES[dtype]).reshape(shape)

    return Tensor(shape, read)
