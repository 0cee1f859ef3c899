"""Which of the words after ``georgia predict`` is the model, and how to open it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from georgia.cli import console
from georgia.cli.options import parse_classes
from georgia.errors import InputError, describe_fault

if TYPE_CHECKING:
    from georgia.model.bundle import Bundle

Pictures = TypeVar("Pictures", bound=Iterable[Path])
KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")


def open_model(path: Path | None, classes: str | None) -> Bundle:
    """Open a model, or the bundled one if there is no path; say on stderr what the bundled one is.

    Raises:
        InputError: the model cannot be opened, or class names are missing or refused.
    """
    from georgia.model.load import load_bundle, load_bundled_model

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
    from georgia.model.load import is_model

    first = Path(words[0])
    is_alone = len(words) == 1 and first.exists()
    if not is_model(first) and (is_alone or _names_pictures(first)):
        return None, list(words)
    if is_alone:
        do = f"Example: georgia predict {words[0]!r} pictures/."
        raise InputError(
            describe_fault("Cannot predict", "picture files or folders are needed", "only a model", do)
        )
    return first, list(words[1:])


def _names_pictures(path: Path) -> bool:
    from georgia.images.containers import find_format, is_picture_name

    if is_picture_name(path.name) or path.is_dir():
        return True
    if path.is_file():
        with path.open("rb") as stream:
            return find_format(stream.read(12)) is not None
    return any(sign in path.name for sign in "*?[")


def check_not_read(pictures: Pictures, targets: Mapping[str, Path | None]) -> Pictures:
    """Return the pictures; refuse to write to a file that is one of them.

    Raises:
        InputError: one of ``targets``, by the option that names it, is a picture.
    """
    for option, target in targets.items():
        if target is None or not target.exists():
            continue
        if any(path.name == target.name and path.exists() and path.samefile(target) for path in pictures):
            rule = "pictures that are read are never written over"
            do = "Name another file."
            raise InputError(describe_fault(f"Cannot use {option}", rule, repr(str(target)), do))
    return pictures
