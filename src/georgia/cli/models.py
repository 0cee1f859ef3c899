"""Which of the words after ``georgia predict`` is the model, and how to open it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from georgia.cli import console
from georgia.cli.options import parse_classes
from georgia.errors import InputError, describe_fault

if TYPE_CHECKING:
    from georgia.bundle import Bundle

KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")


def open_model(path: Path | None, classes: str | None) -> Bundle:
    """Open a model, or the bundled one if there is no path; say on stderr what the bundled one is.

    Raises:
        InputError: the model cannot be opened, or class names are missing or refused.
    """
    from georgia.bundle import load_bundle, load_bundled_model

    if path is None:
        if classes is not None:
            do = "Leave it out, or name a model first."
            raise InputError(
                describe_fault("Cannot use --classes", "it names the classes of a model", "no model", do)
            )
        bundle = load_bundled_model()
        console.show_note(bundle.note or f"no model given: using the {bundle.name}.")
        return bundle
    if path.suffix.lower() in KERAS_SUFFIXES and path.exists() and classes is not None:
        console.load_keras()
    return load_bundle(path, parse_classes(classes))


def take_model(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Split the words into the model, None if the first names pictures, and the pictures.

    Raises:
        InputError: a model stands alone.
    """
    from georgia.bundle import is_model

    first = Path(words[0])
    if not is_model(first) and _names_pictures(first):
        return None, list(words)
    if len(words) == 1 and first.exists():
        do = f"Example: georgia predict {words[0]!r} pictures/."
        raise InputError(
            describe_fault("Cannot predict", "picture files or folders are needed", "only a model", do)
        )
    return first, list(words[1:])


def _names_pictures(path: Path) -> bool:
    from georgia.images import SUFFIXES

    if path.suffix.lower() in SUFFIXES or path.is_dir():
        return True
    return not path.exists() and any(sign in path.name for sign in "*?[")
