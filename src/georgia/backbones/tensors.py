"""What the readers of weight files share: a tensor that is read when asked for, and their one error."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError

FloatArray = npt.NDArray[np.float32]


Layout = Literal["torch", "keras"]


# Length at which what a library says of a file is cut off, characters.
MAX_GOT_CHARS = 300


@dataclass(frozen=True)
class Tensor:
    """One tensor of a weight file: its shape, and a function that reads it as float32."""

    shape: tuple[int, ...]
    read: Callable[[], FloatArray]


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of one weight file by name, and the file's SHA-256.

    In the ``torch`` layout names are those of the state dict and kernels stand as (out, in, H, W).
    In the ``keras`` layout a name is ``<layer>/<position among the layer's weights>`` and kernels
    stand as (H, W, in, out).
    """

    path: Path
    layout: Layout
    sha256: str
    tensors: Mapping[str, Tensor]


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, "a readable file is needed", error.strerror or error) from error


def unreadable(path: Path, rule: str, got: object, do: str = "") -> InputError:
    """Return the error for a weight file that cannot be used: one line, however long ``got`` is."""
    return InputError(
        f"Cannot read weights {str(path)!r}",
        needs=rule,
        got=textwrap.shorten(str(got), MAX_GOT_CHARS, placeholder=" …"),
        hint=do,
    )


BFLOAT16 = "bfloat16"


def widen_numbers(numbers: npt.NDArray[Any], dtype: str) -> FloatArray:
    """Return stored numbers as float32; bfloat16, kept as 16-bit words, is float32's upper half.

    >>> widen_numbers(np.array([0x3F80, 0xC000], np.uint16), "bfloat16").tolist()
    [1.0, -2.0]
    """
    if dtype == BFLOAT16:
        return (numbers.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return numbers.astype(np.float32)
