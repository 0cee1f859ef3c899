"""Weight files as named tensors, opened without running anything that is in them.

``read_checkpoint`` recognises the formats by their first bytes, not by their suffix:

    torch   zip or legacy (pickle) files of torch.save      torch_files.py
    torch   safetensors                                     the library of that name
    keras   .h5, .weights.h5, .keras                        keras_files.py

A tensor is read on demand only, so a file that claims to hold far more than it does costs nothing,
and what is not needed (optimiser state, a classification top) is never read.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from georgia.backbones.tensors import (
    Checkpoint,
    FloatArray,
    Tensor,
    hash_file,
    reading_weights,
    weights_error,
)
from georgia.errors import MissingDependencyError

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
ZIP_MAGIC = b"PK\x03\x04"
FORMATS = "a torch checkpoint (.pth, .pt, .bin), .safetensors, .h5, .weights.h5 or .keras file is needed"


def check_named_hash(path: Path, sha256: str) -> None:
    r"""Compare the hash in a name such as ``resnet18-f37072fd.pth`` with the file's own.

    Raises:
        InputError: the name promises another file. Names without a hash pass.

    Source: torch.hub's rule, ``-([a-f0-9]{8,})\.`` holds the first digits of the SHA-256.
    """
    named = re.search(r"-([a-f0-9]{8,64})\.(?:pth?|bin|safetensors)$", path.name)
    if named and not sha256.startswith(named[1]):
        rule = f"its SHA-256 must begin with {named[1]}, as its name says"
        raise weights_error(path, rule, sha256[:16] + "…", "Download it again.")


def read_checkpoint(path: Path) -> Checkpoint:
    """Open a weight file of any known format.

    Raises:
        InputError: the file cannot be read, is of no known format, is damaged, or holds anything
            but tensors and plain containers.
    """
    from georgia.backbones.keras_files import list_hdf5_tensors, list_keras_archive_tensors
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
    if _is_safetensors(path, head):
        return Checkpoint(path, "torch", sha256, list_safetensors(path))
    if head.startswith(b"\x80"):
        return Checkpoint(path, "torch", sha256, list_legacy_tensors(path))
    raise weights_error(path, FORMATS, f"a file that begins with {head[:8]!r}")


def _is_keras_archive(path: Path) -> bool:
    with reading_weights(path, "a whole zip archive is needed"), zipfile.ZipFile(path) as archive:
        return "model.weights.h5" in archive.namelist()


def _is_safetensors(path: Path, head: bytes) -> bool:
    """Return whether a file begins as .safetensors do: the length of its table, then a brace."""
    n_table = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= n_table <= path.stat().st_size - 8


def list_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file.

    Raises:
        InputError: the table is damaged, or a tensor does not lie inside the file.
        MissingDependencyError: the library is not installed.
    """
    try:
        import ml_dtypes  # noqa: F401 - makes bfloat16 a type of numpy's
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingDependencyError(
            f"Cannot read weights {str(path)!r}",
            needs="safetensors is needed",
            got=error,
            hint="Run pip install 'georgia[train]'.",
        ) from error

    rule = "a whole safetensors file is needed"

    @contextmanager
    def opened() -> Iterator[Any]:
        with reading_weights(path, rule, library=SafetensorError), safe_open(path, "numpy") as file:
            yield file

    def make_reader(name: str) -> Callable[[], FloatArray]:
        def read() -> FloatArray:
            with opened() as file:
                return np.asarray(file.get_tensor(name), np.float32)

        return read

    with opened() as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return {name: Tensor(shape, make_reader(name)) for name, shape in shapes.items()}
