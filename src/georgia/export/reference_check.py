"""Check how a foreign Keras net is prepared for, on images whose label the user knows.

A Keras file does not say what its input was, and a wrong one gives labels that look as good as right ones.
Images of the training, or any with a known label, tell: the net is opened with each preprocessing of
``MODES``, and those are named that reproduce what is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from georgia.errors import InputError
from georgia.export.keras_import import MODES, convert_keras_file
from georgia.labels import Labels
from georgia.model.bundle import Bundle
from georgia.predict import PredictConfig, Prediction, Predictor

# |Δ| of a probability that is still the same: the way an image is reduced to the input's size differs
# between programs. A wrong preprocessing moves it by tenths.
PROBABILITY_TOLERANCE = 0.05


@dataclass(frozen=True)
class Reference:
    """One image whose label is known, and its probability (0–1) where that is known too."""

    image: Path
    label: str
    probability: float | None = None


def parse_reference(text: str) -> Reference:
    """Read ``NAME=IMAGE`` or ``NAME:PROBABILITY=IMAGE``.

    >>> parse_reference("CEX:0.93=known.png")
    Reference(image=PosixPath('known.png'), label='CEX', probability=0.93)

    Raises:
        InputError: it is neither.
    """
    expected, mark, image = text.partition("=")
    label, colon, number = expected.rpartition(":")
    try:
        probability = float(number) if colon else None
    except ValueError:  # a class name may hold a colon
        label, probability = expected, None
    label = label if colon and probability is not None else expected
    if not mark or not label or not image or not 0 <= (probability or 0) <= 1:
        raise InputError(
            "Cannot use --reference",
            needs="a class and an image are needed, the probability (0 to 1) between them",
            got=repr(text),
            hint="Example: --reference CEX=known.png --reference PG:0.97=other.png.",
        )
    return Reference(Path(image), label, probability)


def check_references(bundle: Bundle, path: Path, references: Sequence[Reference]) -> str:
    """Return one line that says which preprocessing reproduces the references.

    ``bundle`` is the file as it was opened, and ``path`` the file.

    Raises:
        InputError: the bundle does not reproduce them; the message names what does. Or a reference is of no
            class of the net, or cannot be read.
    """
    labels = bundle.labels
    for reference in references:
        if reference.label not in labels.names:
            raise InputError(
                "Cannot use --reference",
                needs="the class must be one of " + ", ".join(labels.names),
                got=repr(reference.label),
            )
    found = {mode: _predict(convert_keras_file(path, labels, mode), references) for mode in MODES}
    fitting = [mode for mode, predictions in found.items() if not _find_fault(predictions, references)]
    own = _predict(bundle, references)
    fault = _find_fault(own, references)
    named = next((name for name in MODES if found[name] == own), "the one assumed")
    if fault:
        raise InputError(
            f"Cannot use preprocessing {named} for {str(path)!r}",
            needs="it must reproduce the references",
            got=fault,
            hint=_advise(fitting, found, references, labels),
        )
    others = [mode for mode in fitting if mode != named]
    n = f"{len(references)} reference{'s' * (len(references) > 1)}"
    if others:
        return (
            f"preprocessing {named} reproduces {n}; so does {', '.join(others)}: "
            "more references, or their probabilities, tell them apart."
        )
    return f"preprocessing {named} reproduces {n}; no other does."


def _predict(bundle: Bundle, references: Sequence[Reference]) -> tuple[Prediction, ...]:
    predictor = Predictor(bundle, PredictConfig("onnxruntime"))
    found = predictor.predict([reference.image for reference in references])
    if found.failed:
        raise InputError(
            f"Cannot use reference {str(found.failed[0].path)!r}",
            needs="it must be an image",
            got=found.failed[0].error,
        )
    return found.items


def _find_fault(predictions: Sequence[Prediction], references: Sequence[Reference]) -> str:
    for prediction, reference in zip(predictions, references, strict=True):
        got = f"{prediction.label} {prediction.probability:.3f} for {str(reference.image)!r}"
        if prediction.label != reference.label:
            return f"{got}, which is {reference.label}"
        known = reference.probability
        if known is not None and abs(prediction.probability - known) > PROBABILITY_TOLERANCE:
            return f"{got}, which had {known:g}"
    return ""


def _advise(
    fitting: Sequence[str],
    found: dict[str, tuple[Prediction, ...]],
    references: Sequence[Reference],
    labels: Labels,
) -> str:
    if len(fitting) == 1:
        return f"{fitting[0]} does, as the only one: give --preprocess {fitting[0]}."
    if fitting:
        return f"{', '.join(fitting)} do: give more references, or their probabilities."
    text = f"None of {', '.join(MODES)} does"
    if len(labels) == 2:
        first, second = labels.names
        exchanged = {first: second, second: first}
        swapped = [
            Reference(reference.image, exchanged[reference.label], reference.probability)
            for reference in references
        ]
        fitting = [mode for mode, predictions in found.items() if not _find_fault(predictions, swapped)]
        if fitting:
            return f"{text}; with --classes {second},{first}, {', '.join(fitting)} would. Check their order."
    return f"{text}: check the order of --classes, and that the images are those that the net knows."
