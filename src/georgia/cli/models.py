"""Which argument of ``georgia predict`` is the model, and how to open it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from georgia.cli import console
from georgia.cli.options import parse_classes
from georgia.errors import InputError

if TYPE_CHECKING:
    from georgia.images.listing import FoundImages
    from georgia.model.bundle import Bundle

PathsT = TypeVar("PathsT", bound=Iterable[Path])


def open_model(path: Path | None, classes: str | None, preprocess: str | None = None) -> Bundle:
    """Open a model, or the bundled one, with a note on stderr, if there is no path.

    The note of a Keras file from elsewhere says how images are prepared for it.

    Raises:
        InputError: the model cannot be opened, or class names are missing or do not fit.
    """
    from georgia.model.bundle import KERAS_SUFFIXES
    from georgia.model.load import load_bundle, load_bundled_model

    if path is None:
        if classes is not None or preprocess is not None:
            raise InputError(
                "Cannot use --classes" if classes is not None else "Cannot use --preprocess",
                needs="it is for a Keras file from elsewhere",
                got="no model",
                hint="Leave it out, or name a model first.",
            )
        bundle = load_bundled_model()
        console.show_note(bundle.note or f"no model given: using the {bundle.name}.")
        return bundle
    if path.suffix.lower() in KERAS_SUFFIXES and path.exists() and classes is not None:
        console.load_keras(for_training=False)
    bundle = load_bundle(path, parse_classes(classes), preprocess)
    if path.suffix.lower() in KERAS_SUFFIXES and bundle.note:
        console.show_note(bundle.note)
    return bundle


def check_references(bundle: Bundle, path: Path | None, texts: Sequence[str]) -> None:
    """Check that a Keras file from elsewhere reproduces images whose label is known; say so on stderr.

    Raises:
        InputError: it does not; the model is none of that kind; or a reference cannot be used.
    """
    if not texts:
        return
    from georgia.model.bundle import KERAS_SUFFIXES

    if path is None or path.suffix.lower() not in KERAS_SUFFIXES or bundle.model_path.parent == path.parent:
        raise InputError(
            "Cannot use --reference",
            needs="it is for a Keras file from elsewhere",
            got="no model" if path is None else repr(str(path)),
            hint="Leave it out: the model brings its own preprocessing.",
        )
    from georgia.export import reference_check

    references = [reference_check.parse_reference(text) for text in texts]
    console.show_note(reference_check.check_references(bundle, path, references))


def take_model(args: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Split the arguments into the model, None if the first names images, and the images.

    Raises:
        InputError: a model is given without images.
    """
    from georgia.model.load import is_model

    first = Path(args[0])
    is_alone = len(args) == 1 and first.exists()
    if not is_model(first) and (is_alone or _names_images(first)):
        later = [arg for arg in args[1:] if is_model(Path(arg))]
        if later:
            raise InputError(
                "Cannot predict",
                needs="the model comes first, then the images",
                got=f"the model {later[0]!r} behind {args[0]!r}",
                hint=f"Example: georgia predict {later[0]!r} {args[0]!r}.",
            )
        return None, list(args)
    if is_alone:
        raise InputError(
            "Cannot predict",
            needs="image files or folders are needed",
            got="only a model",
            hint=f"Example: georgia predict {args[0]!r} images/.",
        )
    return first, list(args[1:])


def _names_images(path: Path) -> bool:
    from georgia.catalog.sources import is_table
    from georgia.images.containers import find_format, is_image_name
    from georgia.records import split_window

    if is_image_name(split_window(path)[0].name) or path.is_dir() or is_table(path):
        return True
    if path.is_file():
        with path.open("rb") as stream:
            return find_format(stream.read(12)) is not None
    return any(sign in path.name for sign in "*?[")


def show_others(images: FoundImages) -> None:
    """Say on stderr which files in the folders were not read, after a whole pass over the images."""
    told = images.others.tell()
    if told:
        console.show_note(told)


def find_images(sources: Sequence[str | Path]) -> list[Path]:
    """Return the images that files, folders, globs and tables name; say what was not read.

    Raises:
        InputError: a source names nothing, or a table cannot be read.
    """
    from georgia.catalog.sources import find_sources

    found = find_sources(sources)
    paths = list(iter(found))
    show_others(found)
    return paths


def check_not_read(images: PathsT, targets: Mapping[str, Path | None], sources: Sequence[str] = ()) -> PathsT:
    """Return the images; reject a file to write to that is one of them, or a source such as a table.

    Raises:
        InputError: one of ``targets``, by the option that names it, is an image or one of ``sources``.
    """
    from georgia.records import split_window

    for option, target in targets.items():
        if target is None or not target.exists():
            continue
        files = (split_window(path)[0] for path in chain(map(Path, sources), images))
        if any(file.name == target.name and file.exists() and file.samefile(target) for file in files):
            raise InputError(
                f"Cannot use {option}",
                needs="files that are read are never written over",
                got=repr(str(target)),
                hint="Name another file.",
            )
    return images
