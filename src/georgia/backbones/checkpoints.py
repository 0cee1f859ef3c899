"""Weight files as named tensors, opened without running anything that is in them.

``read_checkpoint`` knows the formats by their first bytes, not by their suffix:

    torch   zip or legacy (pickle) files of torch.save      torch_files.py
    torch   safetensors                                     safetensors_files.py
    keras   .h5, .weights.h5, .keras                        keras_files.py

A tensor is read only when it is asked for, so a file that claims to hold far more than it does
costs nothing, and what is not needed (optimiser state, a classification top) is never touched.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, describe_fault

FloatArray = npt.NDArray[np.float32]
Layout = Literal["torch", "keras"]

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
ZIP_MAGIC = b"PK\x03\x04"
# Length at which what a library says of a file is cut off, characters.
MAX_GOT_CHARS = 300
FORMATS = "a torch checkpoint (.pth, .pt, .bin), .safetensors, .h5, .weights.h5 or .keras file is needed"


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
    line = textwrap.shorten(str(got), MAX_GOT_CHARS, placeholder=" …")
    return InputError(describe_fault(f"Cannot read weights {str(path)!r}", rule, line, do))


def check_named_hash(path: Path, sha256: str) -> None:
    r"""Compare the hash in a name such as ``resnet18-f37072fd.pth`` with the file's own.

    Raises:
        InputError: the name promises another file. Names without a hash pass.

    Source: torch.hub's rule, ``-([a-f0-9]{8,})\.`` holds the first digits of the SHA-256.
    """
    named = re.search(r"-([a-f0-9]{8,64})\.(?:pth?|bin|safetensors)$", path.name)
    if named and not sha256.startswith(named[1]):
        rule = f"its SHA-256 must begin with {named[1]}, as its name says"
        raise unreadable(path, rule, sha256[:16] + "…", "Download it again.")


def read_checkpoint(path: Path) -> Checkpoint:
    """Open a weight file of any known format.

    Raises:
        InputError: the file cannot be read, is of no known format, is damaged, or holds anything
            but tensors and plain containers.
    """
    from georgia.backbones.keras_files import list_hdf5_tensors, list_keras_archive_tensors
    from georgia.backbones.safetensors_files import is_safetensors, list_safetensors
    from georgia.backbones.torch_files import list_legacy_tensors, list_zip_tensors

    sha256 = hash_file(path)
    check_named_hash(path, sha256)
    with path.open("rb") as stream:
        head = stream.read(16)
    if head.startswith(HDF5_MAGIC):
        return Checkpoint(path, "keras", sha256, list_hdf5_tensors(path))
    if head.startswith(ZIP_MAGIC):
        if _is_keras_archive(path):
            return Checkpoint(path, "keras", sha256, list_keras_archive_tensors(path))
        return Checkpoint(path, "torch", sha256, list_zip_tensors(path))
    if is_safetensors(path, head):
        return Checkpoint(path, "torch", sha256, list_safetensors(path))
    if head.startswith(b"\x80"):
        return Checkpoint(path, "torch", sha256, list_legacy_tensors(path))
    raise unreadable(path, FORMATS, f"a file that begins with {head[:8]!r}")


def _is_keras_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "model.weights.h5" in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise unreadable(
            path, "a whole zip archive is needed", error, "Copy or download it again."
        ) from error
