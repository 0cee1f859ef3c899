"""Keras' own ImageNet weight files: which ones, their checksums, and how they are fetched."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from georgia.backbones.tensors import weights_error
from georgia.errors import InputError

# Source: keras/src/applications/resnet.py, BASE_WEIGHTS_PATH and WEIGHTS_HASHES.
BASE_URL = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
# Longest silence of the server, seconds, before the download is given up.
SILENCE_S = 30.0
RECIPE_HINT = "or work offline with --recipe fast"


@dataclass(frozen=True)
class KerasFile:
    """One file of Keras' store: its name, its MD5 (the checksum that Keras publishes), its net."""

    name: str
    md5: str
    backbone: str
    has_top: bool

    @property
    def url(self) -> str:
        """Where Keras keeps the file."""
        return BASE_URL + self.name


def _file(backbone: str, md5: str, *, has_top: bool) -> KerasFile:
    ending = "" if has_top else "_notop"
    return KerasFile(f"{backbone}_weights_tf_dim_ordering_tf_kernels{ending}.h5", md5, backbone, has_top)


KERAS_FILES = (
    _file("resnet50", "4d473c1dd8becc155b73f8504c6f6626", has_top=False),
    _file("resnet50", "2cb95161c43110f7111970584f804107", has_top=True),
    _file("resnet101", "88cf7a10940856eca736dc7b7e228a21", has_top=False),
    _file("resnet101", "f1aeb4b969a6efcfb50fad2f0c20cfc5", has_top=True),
)


def find_keras_file(backbone: str, *, has_top: bool) -> KerasFile:
    """Return the file that holds a net's ImageNet weights."""
    return next(file for file in KERAS_FILES if (file.backbone, file.has_top) == (backbone, has_top))


def check_keras_file(path: Path) -> KerasFile | None:
    """Return which of Keras' files this is, by its MD5; None if it is another one.

    Raises:
        InputError: it has the name of one of them, but is not it.
    """
    try:
        with path.open("rb") as stream:
            md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise weights_error(path, "a readable file is needed", error.strerror or error) from error
    known = next((file for file in KERAS_FILES if file.md5 == md5), None)
    named = next((file for file in KERAS_FILES if file.name == path.name), None)
    if named and known is None:
        raise weights_error(path, f"Keras' file of that name has MD5 {named.md5}", md5, "Download it again.")
    return known


def fetch_keras_file(file: KerasFile) -> Path:
    """Return Keras' cached copy of a file, fetched and compared with its MD5 first if need be.

    Raises:
        InputError: there is no connection, or what came is not the file; the message names it.
    """
    import keras

    try:
        # Keras prints its progress on stdout, which belongs to the command's own output.
        with contextlib.redirect_stdout(sys.stderr), _limited_silence():
            fetched = keras.utils.get_file(
                file.name, file.url, cache_subdir="models", file_hash=file.md5, hash_algorithm="md5"
            )
    except Exception as error:  # Keras raises bare Exception for a failed connection
        raise InputError(
            f"Cannot fetch ImageNet weights for {file.backbone}",
            needs=f"{file.url} (MD5 {file.md5}) must be reachable",
            got=" ".join(re.sub(r"^URL fetch failure on \S+ (None -- )?", "", str(error)).split())
            or type(error).__name__,
            hint=f"Bring {file.name} and pass --weights {file.name}, {RECIPE_HINT}.",
        ) from error
    return Path(fetched)


@contextlib.contextmanager
def _limited_silence() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
