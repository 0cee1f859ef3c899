"""Which argument of ``georgia predict`` is the model, and how to open it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from georgia.cli import console
from georgia.cli.options import parse_classes
from georgia.errors import InputError

if TYPE_CHECKING:
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
    from georgia.images.containers import find_format, is_image_name

    if is_image_name(path.name) or path.is_dir():
        return True
    if path.is_file():
        with path.open("rb") as stream:
            return find_format(stream.read(12)) is not None
    return any(sign in path.name for sign in "*?[")


def check_not_read(images: PathsT, targets: Mapping[str, Path | None]) -> PathsT:
    """Return the images; reject a file to write to that is one of them.

    Raises:
        InputError: one of ``targets``, by the option that names it, is an image.
    """
    for option, target in targets.items():
        if target is None or not target.exists():
            continue
        if any(path.name == target.name and path.exists() and path.samefile(target) for path in images):
            raise InputError(
                f"Cannot use {option}",
                needs="images that are read are never written over",
                got=repr(str(target)),
                hint="Name another file.",
            )
    return images
