"""Images whose label is known tell which preprocessing a foreign net was trained on."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from georgia.errors import InputError
from georgia.export.reference_check import Reference, check_references, parse_reference
from georgia.model.load import load_bundle

pytest.importorskip("keras")
DARK, LIGHT = np.full((32, 32, 3), 110, np.uint8), np.full((32, 32, 3), 140, np.uint8)
# What the net gives them on x / 255; other inputs saturate it.
P_DARK, P_LIGHT = 0.694, 0.643


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a net on x / 255 that looks like a ResNet's: "dark" below 0.5, "light" above."""
    import keras

    layers = keras.layers
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(1, 1, name="conv1_conv")(inputs)
    x = layers.Dense(2, activation="softmax", name="head")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    model.get_layer("conv1_conv").set_weights([np.full((1, 1, 3, 1), 1 / 3), np.zeros(1)])
    model.get_layer("head").set_weights([np.array([[-6.0, 6.0]]), np.array([3.0, -3.0])])
    folder = tmp_path_factory.mktemp("references")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(folder / "net.h5")
    for name, pixels in (("dark.png", DARK), ("light.png", LIGHT)):
        Image.fromarray(pixels).save(folder / name)
    return folder / "net.h5"


def check(net: Path, mode: str | None, *texts: str, classes: tuple[str, ...] = ("dark", "light")) -> str:
    references = [parse_reference(text.replace("=", f"={net.parent}/")) for text in texts]
    return check_references(load_bundle(net, classes, mode), net, references)


@pytest.mark.slow
def test_right_preprocessing_is_confirmed(net: Path) -> None:
    assert check(net, "unit", f"dark:{P_DARK}=dark.png", "light=light.png") == (
        "preprocessing unit reproduces 2 references; no other does."
    )


@pytest.mark.slow
def test_assumed_preprocessing_that_fails_names_right_one(net: Path) -> None:
    with pytest.raises(InputError, match=r"preprocessing caffe for .*net\.h5'.*give --preprocess unit"):
        check(net, None, f"dark:{P_DARK}=dark.png", "light=light.png")


@pytest.mark.slow
def test_few_references_are_said_not_to_tell(net: Path) -> None:
    assert "so does caffe, tf, torch: more references" in check(net, "unit", "dark=dark.png")


@pytest.mark.slow
def test_swapped_classes_are_named(net: Path) -> None:
    texts = (f"dark:{P_DARK}=dark.png", f"light:{P_LIGHT}=light.png")
    with pytest.raises(InputError, match="with --classes dark,light, unit would. Check their order"):
        check(net, "unit", *texts, classes=("light", "dark"))


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        (["grey=dark.png"], "the class must be one of dark, light; got 'grey'"),
        (["dark=none.png"], r"Cannot use reference .*none\.png'.*no such file"),
    ],
)
def test_unusable_reference_is_rejected(net: Path, texts: list[str], match: str) -> None:
    with pytest.raises(InputError, match=match):
        check(net, "unit", *texts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b.png", Reference(Path("b.png"), "a")),
        ("a:1=b=c.png", Reference(Path("b=c.png"), "a", 1.0)),
        ("a:b=c.png", Reference(Path("c.png"), "a:b")),
    ],
)
def test_reference_is_parsed(text: str, expected: Any) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize("text", ["", "a", "=b.png", "a=", "a:2=b.png", "a:nan=b.png"])
def test_broken_reference_is_rejected(text: str) -> None:
    with pytest.raises(InputError, match="Cannot use --reference: a class and an image are needed"):
        parse_reference(text)
