"""What a model learned from, by content: ``trained_on.txt`` beside it holds a hash of each file, sorted.

It says so where the images are gone, moved or renamed. A window counts by its whole frame: other windows of
that frame are no new images. A file that was written anew, though with the same pixels, is another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from georgia.files import DAMAGE, write_text
from georgia.model.bundle import Bundle
from georgia.records import Record, hash_files, split_window

TRAINED_FILE = "trained_on.txt"
# Splits that a training uses: it learns from one, and stops and chooses thresholds by the other.
FITTED_SPLITS = ("train", "valid")
# Hexadecimal digits of a hash: that two of a million files have the same 64 bits has a probability of 3e-8.
_DIGITS = 16
# More files than this, 17 MB of hashes, are not written.
MOST_FILES = 1_000_000
_HEAD = "# SHA-256, first 16 digits, of the files that a model learned from. Files: {n}. Data: {data}\n"


def save_training_hashes(
    folder: Path, records: Iterable[Record], data_sha256: str, most: int = MOST_FILES
) -> Path | None:
    """Write the hashes of the training and validation images' files; None for too many, or one unreadable.

    ``data_sha256`` is the data's fingerprint in ``bundle.json``: hashes of other data are not read.

    Raises:
        UnwritableFileError: the folder cannot be written to.
    """
    paths = [record.path for record in records if record.split in FITTED_SPLITS]
    files = sorted({split_window(path)[0] for path in paths})
    if len(files) > most:
        return None
    digests = hash_contents(files)
    if not all(digests):
        return None
    lines = sorted(set(digests))
    target = folder / TRAINED_FILE
    write_text(target, _HEAD.format(n=len(lines), data=data_sha256) + "".join(f"{line}\n" for line in lines))
    return target


def read_training_hashes(bundle: Bundle) -> frozenset[str] | None:
    """Return the hashes of all files that a model learned from; None where they are not known."""
    try:
        data = bundle.metadata["data"]["sha256"]
        text = bundle.model_path.with_name(TRAINED_FILE).read_text("ascii")
        head, *lines = text.splitlines()
        is_whole = head + "\n" == _HEAD.format(n=len(lines), data=data) and text.endswith("\n")
        is_sound = all(len(line) == _DIGITS for line in lines)
        return frozenset(lines) if lines and is_whole and is_sound else None
    except DAMAGE:
        return None


def hash_contents(paths: Sequence[Path]) -> list[str]:
    """Return the hash of each path's file as the table has it, of a window's frame; "" for no such file."""
    return [(digest or "")[:_DIGITS] for digest in hash_files([split_window(path)[0] for path in paths])]
