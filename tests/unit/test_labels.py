"""Class names and numbers meet in one place."""

from __future__ import annotations

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.labels import Labels, outputs_to_probabilities, parse_class_names

LABELS = Labels(("CEX", "PG"))


def test_decode_gives_probability_of_label() -> None:
    first, second = LABELS.decode(np.array([[0.999, 0.001], [0.124, 0.876]]))
    assert (first.label, first.probability) == ("CEX", 0.999)
    assert (second.label, second.probability) == ("PG", 0.876)
    assert second.probabilities == {"CEX": 0.124, "PG": 0.876}


def test_decode_ignores_class_order() -> None:
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], size=20)
    names, order = ("a", "b", "c"), [2, 0, 1]
    plain = Labels(names).decode(probabilities)
    permuted = Labels(tuple(names[i] for i in order)).decode(probabilities[:, order])
    assert [one.label for one in plain] == [one.label for one in permuted]
    assert [one.probability for one in plain] == [one.probability for one in permuted]


def test_labels_index_inverts_name() -> None:
    assert [LABELS.index(LABELS.name(i)) for i in range(len(LABELS))] == [0, 1]
    np.testing.assert_array_equal(LABELS.indices(["PG", "CEX"]), [1, 0])


def test_sigmoid_output_is_second_class() -> None:
    both = outputs_to_probabilities(np.array([[0.0], [0.8585]]))
    np.testing.assert_allclose(both, [[1.0, 0.0], [0.1415, 0.8585]], atol=1e-6)


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        (("CEX",), "two classes or more"),
        (("CEX", "CEX"), "each name may stand once"),
        (("CEX", "unknown"), "neither empty nor 'unknown'"),
    ],
)
def test_labels_reject_unusable_names(names: tuple[str, ...], rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        Labels(names)


def test_labels_suggest_nearest_class() -> None:
    with pytest.raises(InputError, match="Did you mean 'CEX'"):
        LABELS.index("CEXX")


def test_decode_rejects_wrong_columns() -> None:
    with pytest.raises(InputError, match="one probability for each of CEX, PG"):
        LABELS.decode(np.zeros((2, 3)))


@pytest.mark.parametrize("text", ["0:CEX", "0=CEX,0=PG", "0=", ""])
def test_parse_class_names_rejects_bad_text(text: str) -> None:
    with pytest.raises(InputError, match="folder=name pairs"):
        parse_class_names(text)


@pytest.mark.parametrize("name", ["fine, large", "A|B", "two\nlines"])
def test_labels_reject_separators(name: str) -> None:
    with pytest.raises(InputError, match="separate names"):
        Labels(("CEX", name))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('"CEX, wet"=WET,PG=PG', {"CEX, wet": "WET", "PG": "PG"}),
        ('"a=b"="c"', {"a=b": "c"}),
        ('"say ""x"""=quoted', {'say "x"': "quoted"}),
        ("0 = CEX , 1 = a=b", {"0": "CEX", "1": "a=b"}),
    ],
)
def test_class_names_in_quotes_hold_separators(text: str, names: dict[str, str]) -> None:
    assert parse_class_names(text) == names
