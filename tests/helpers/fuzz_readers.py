"""Give mutated files to a reader of model files: it may read them or raise InputError, nothing else.

Run in a process of its own, as memory is limited: reader, number of files, seed, folder with a sample.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import sys
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from georgia.errors import InputError

# Beside what the libraries take when they are imported, bytes.
SPARE_BYTES = 2 * 2**30
ODD_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)


def read_weights(path: Path) -> None:
    from georgia.backbones.checkpoints import read_checkpoint

    for tensor in read_checkpoint(path).tensors.values():
        tensor.read()


def read_description(path: Path) -> None:
    """Open a foreign model up to the point where Keras would build it."""
    from georgia.export.keras_import import _check_layers, _read_description

    _check_layers(path, _read_description(path))


def read_model(path: Path) -> None:
    from georgia.model.description import read_onnx_description

    read_onnx_description(path)


READERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "zip": ("net.pth", read_weights),
    "legacy": ("legacy.pth", read_weights),
    "safetensors": ("net.safetensors", read_weights),
    "hdf5": ("net.h5", read_weights),
    "weights": ("net.weights.h5", read_weights),
    "archive": ("net.keras", read_weights),
    "foreign hdf5": ("net.h5", read_description),
    "foreign archive": ("net.keras", read_description),
    "onnx": ("net.onnx", read_model),
}


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Change some bytes, put in odd numbers, or cut, double or move a piece."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, max(1, len(changed))))
        kind = int(rng.integers(0, 6))
        if kind == 0:
            changed[at : at + 1] = bytes([int(rng.integers(0, 256))])
        elif kind == 1:
            width = int(rng.choice([1, 2, 4, 8]))
            number = ODD_NUMBERS[int(rng.integers(0, len(ODD_NUMBERS)))] % 256**width
            changed[at : at + width] = number.to_bytes(width, "little")
        elif kind == 2:
            del changed[at : at + int(rng.integers(1, 32))]
        elif kind == 3:
            changed[at:at] = changed[at : at + int(rng.integers(1, 32))] * int(rng.integers(1, 4))
        elif kind == 4:
            source = int(rng.integers(0, max(1, len(changed))))
            changed[at : at + 16] = changed[source : source + 16]
        else:
            changed[at : at + 1] = bytes(
                byte ^ (1 << int(rng.integers(0, 8))) for byte in changed[at : at + 1]
            )
    return bytes(changed[: int(rng.integers(0, len(changed) + 1))] if rng.random() < 0.05 else changed)


def mutate_archive(data: bytes, rng: np.random.Generator) -> bytes:
    """Change one part of a zip archive, whose check sum is then made to fit."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist()]
    chosen = int(rng.integers(0, len(parts)))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number, (name, content) in enumerate(parts):
            archive.writestr(name, mutate(content, rng) if number == chosen else content)
    return stream.getvalue()


def run(reader: str, n_files: int, seed: int, folder: Path) -> Counter[str]:
    """Return how many mutated files were read and rejected."""
    name, read = READERS[reader]
    data, rng = (folder / name).read_bytes(), np.random.default_rng(seed)
    read(folder / name)  # imports everything
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_BYTES, used + SPARE_BYTES))
    path = folder / f"fuzzed-{reader.replace(' ', '-')}-{seed}" / name
    path.parent.mkdir(exist_ok=True)
    counts: Counter[str] = Counter()
    for _ in range(n_files):
        is_inside = data.startswith(b"PK") and rng.random() < 0.8
        path.write_bytes(mutate_archive(data, rng) if is_inside else mutate(data, rng))
        try:
            read(path)
        except InputError as error:
            if "\n" in str(error):
                raise
            counts["rejected"] += 1
        else:
            counts["read"] += 1
    return counts


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with contextlib.redirect_stderr(io.StringIO()) if "--quiet" in sys.argv else contextlib.nullcontext():
        found = run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    print(sys.argv[1], dict(found))
