"""Weight files as named tensors, opened without running anything that is in them.

``read_checkpoint`` knows the formats by their first bytes, not by their suffix:

    torch   zip or legacy (pickle) files of torch.save      torch_files.py
    torch   safetensors                                     safetensors_files.py
    keras   .h5, .weights.h5, .keras                        keras_files.py

A tensor is read only when it is asked for, so a file that claims to hold far more than it does
costs nothing, and what is not needed (optimiser state, a classification top) is never touched.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from georgia.backbones.tensors import Checkpoint, hash_file, unreadable

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
