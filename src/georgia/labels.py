"""Class names and output positions: the one place where they meet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, suggest

UNKNOWN = "unknown"
# Separators of names: in the ONNX metadata and --classes, and in the sets of a table.
_SEPARATORS = ",|"
Activation = Literal["sigmoid", "softmax"]


@dataclass(frozen=True)
class Decision:
    """One image's decision: the label and *its* probability, with those of all classes in order.

    A rejected image is ``unknown`` with probability 0. ``set`` holds the classes that the image may
    be of at the model's error rate; it is empty, and ``unknown_score`` None, where the model holds no
    thresholds for them.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    unknown_score: float | None = None
    set: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labels:
    """Class names in the order of the network's outputs.

    >>> labels = Labels(("CEX", "PG"))
    >>> labels.index("PG"), labels.name(0)
    (1, 'CEX')
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        problems = []
        if len(self.names) < 2:
            problems.append("two classes or more are needed")
        if len(set(self.names)) != len(self.names):
            problems.append("each name may stand once")
        if any(not name or name == UNKNOWN for name in self.names):
            problems.append(f"a name may be neither empty nor {UNKNOWN!r}")
        if any(sign in _SEPARATORS or sign < " " for name in self.names for sign in name):
            problems.append("a name may hold no comma, bar or control sign, as these separate names")
        if problems:
            raise InputError("Cannot use the class names", needs=", ".join(problems), got=list(self.names))

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Return the output position of a class name.

        Raises:
            InputError: no class has that name.
        """
        if name not in self.names:
            raise InputError(
                "Unknown class",
                needs="it must be one of " + ", ".join(self.names),
                got=repr(name),
                hint=suggest(name, self.names).strip(),
            )
        return self.names.index(name)

    def name(self, index: int) -> str:
        """Return the class name at an output position."""
        return self.names[index]

    def indices(self, names: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return output positions (N,) of class names."""
        return np.array([self.index(name) for name in names], dtype=np.int64)

    def decode(self, probabilities: npt.NDArray[np.floating]) -> list[Decision]:
        """Return a decision for each row of probabilities (N, C); ties go to the first class.

        Raises:
            InputError: the number of columns is not the number of classes.
        """
        if probabilities.ndim != 2 or probabilities.shape[1] != len(self.names):
            raise InputError(
                "Cannot name the predictions",
                needs=f"one probability for each of {', '.join(self.names)} is needed",
                got=f"shape {probabilities.shape}",
            )
        decisions = []
        for row in probabilities:
            best = int(np.argmax(row))
            by_name = {name: float(p) for name, p in zip(self.names, row, strict=True)}
            decisions.append(Decision(self.names[best], float(row[best]), by_name))
        return decisions


def outputs_to_probabilities(outputs: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Give every class a column: a lone sigmoid column (N, 1) = P(second class) becomes (N, 2).

    Outputs with two columns or more are returned as float32, unchanged.
    """
    array = np.asarray(outputs, dtype=np.float32)
    if array.ndim == 2 and array.shape[1] == 1:
        return np.concatenate([1.0 - array, array], axis=1)
    return array


def parse_class_names(text: str) -> dict[str, str]:
    """Read ``0=CEX,1=PG`` (folder → class name); a folder with a comma stands in double quotes.

    >>> parse_class_names('0=CEX,"CEX, wet"=WET')
    {'0': 'CEX', 'CEX, wet': 'WET'}

    Raises:
        InputError: a pair has no ``=``, or a folder occurs twice.
    """
    mapping: dict[str, str] = {}
    for folder, name in split_pairs(text):
        if not folder or not name or folder in mapping:
            raise InputError(
                "Cannot use --class-names",
                needs="folder=name pairs with commas between them are needed, each folder once",
                got=repr(text),
                hint="Example: 0=CEX,1=PG; a folder with a comma: '\"CEX, wet\"=WET'.",
            )
        mapping[folder] = name
    return mapping


def split_pairs(text: str) -> list[tuple[str, str]]:
    """Return the pairs of ``a=b,c=d``; what stands in double quotes holds no separator.

    >>> split_pairs('a=b, "c,=d" = e,f')
    [('a', 'b'), ('c,=d', 'e'), ('f', '')]
    """
    pairs, pieces, is_value = [], ["", ""], False
    for token in re.findall(r'"(?:[^"]|"")*"|.', f"{text},", re.DOTALL):
        if token == ",":
            pairs.append((_unquote(pieces[0]), _unquote(pieces[1])))
            pieces, is_value = ["", ""], False
        elif token == "=" and not is_value:
            is_value = True
        else:
            pieces[is_value] += token
    return pairs


def _unquote(piece: str) -> str:
    piece = piece.strip()
    is_quoted = len(piece) > 1 and piece[0] == piece[-1] == '"'
    return piece[1:-1].replace('""', '"') if is_quoted else piece
