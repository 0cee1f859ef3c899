"""Tensors of a weight file, each read on demand, and the errors of all readers."""

from __future__ import annotations

import hashlib
import pickle
import struct
import textwrap
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError

FloatArray = npt.NDArray[np.float32]
Layout = Literal["torch", "keras"]
# Length at which a library's message about a file is cut off, characters.
MAX_GOT_CHARS = 300
# What damaged or hostile bytes make the standard library, h5py and numpy raise.
READING_FAULTS = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(MemoryError, RuntimeError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile),
)


@dataclass(frozen=True)
class Tensor:
    """One tensor of a weight file: its shape, and a function that reads it as float32."""

    shape: tuple[int, ...]
    read: Callable[[], FloatArray]


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of one weight file by name, and the file's SHA-256.

    In the ``torch`` layout names are those of the state dict and kernels have shape (out, in, H, W).
    In the ``keras`` layout a name is ``<layer>/<position among the layer's weights>`` and kernels
    have shape (H, W, in, out).
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
        raise weights_error(path, "a readable file is needed", error.strerror or error) from error


def weights_error(path: Path, needs: str, got: object, hint: str = "") -> InputError:
    """Return the error for a weight file that cannot be used: one line, however long ``got`` is."""
    shown = textwrap.shorten(str(got), MAX_GOT_CHARS, placeholder=" …")
    return InputError(f"Cannot read weights {str(path)!r}", needs=needs, got=shown, hint=hint)


@contextmanager
def reading_weights(
    path: Path, needs: str, hint: str = "Copy or download it again.", library: type[Exception] = OSError
) -> Iterator[None]:
    """Turn what damaged bytes raise, a ``library``'s own error among it, into the error of all readers."""
    try:
        yield
    except InputError:
        raise
    except (library, *READING_FAULTS) as error:
        got = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise weights_error(path, needs, got, hint) from error
