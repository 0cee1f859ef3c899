"""What an ONNX file may hold before an engine opens it: a net of plain operators with its numbers inside.

An ONNX file may name other files as its numbers, hold graphs within graphs and functions, ask for operators
of an engine's own, or for arrays of any size that no number in it pays for. Georgia writes none of these, so
a file with them is another's, or was changed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from georgia.errors import InputError
from georgia.files import reading
from georgia.model.description import read_field

# Source: onnx.proto. Fields of a message that hold another message, by what that is.
_WITHIN = {
    "model": {7: "graph", 25: "functions"},
    "graph": {1: "node", 5: "tensor", 15: "sparse numbers"},
    "node": {5: "attribute"},
    "attribute": {
        **{5: "tensor", 10: "tensor", 6: "a graph in an operator", 11: "a graph in an operator"},
        **{22: "sparse numbers", 23: "sparse numbers"},
    },
    "tensor": {13: "numbers in another file"},
}
_REJECTED = ("functions", "sparse numbers", "a graph in an operator", "numbers in another file")
_OPERATOR, _DOMAIN = 4, 7
_PLAIN_DOMAINS = ("", "ai.onnx")
# They make an array of any size from a few numbers, or from none.
_FROM_NOTHING = frozenset(
    (
        *("ConstantOfShape", "EyeLike", "OneHot", "Bernoulli", "Multinomial"),
        *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
    )
)
_LONGEST_NAME = 200


def check_plain_net(file: Path) -> None:
    """Check that an ONNX file holds plain operators alone, and all its numbers.

    Raises:
        InputError: it does not, or is no ONNX file.
    """
    what = f"Cannot open model {str(file)!r}"
    with (
        reading(what, "a whole ONNX file is needed"),
        file.open("rb") as stream,
        # An empty file cannot be mapped.
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        found = next(_find_faults(data, "model", len(data)), None)
    if found is not None:
        raise InputError(
            what,
            needs="a net of plain ONNX operators with its numbers inside is needed",
            got=found,
            hint="Export it with Georgia.",
        )


def _find_faults(stream: mmap.mmap, kind: str, end: int) -> Iterator[str]:
    while stream.tell() < end:
        field, length = read_field(stream, end)
        after = stream.tell() + length
        within = _WITHIN[kind].get(field)
        if within in _REJECTED:
            yield within
        elif within is not None:
            yield from _find_faults(stream, within, after)
        elif kind == "node" and field in (_OPERATOR, _DOMAIN):
            name = stream.read(min(length, _LONGEST_NAME)).decode()
            if field == _DOMAIN and name not in _PLAIN_DOMAINS:
                yield f"an operator of {name!r}"
            elif field == _OPERATOR and name in _FROM_NOTHING:
                yield f"the operator {name}"
        stream.seek(after)
