"""Keras' own weight files: checked by their checksums, and one clear line when they are not available."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from georgia.backbones import build_backbone, download
from georgia.errors import InputError

# Keras' own code, under numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_checksums_equal_those_of_keras() -> None:
    from keras.src.applications import resnet

    assert download.BASE_URL == resnet.BASE_WEIGHTS_PATH
    for file in download.KERAS_FILES:
        assert file.md5 == resnet.WEIGHTS_HASHES[file.backbone][0 if file.has_top else 1]


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_no_connection_names_file_and_recipe(
    monkeypatch: pytest.MonkeyPatch, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import keras

    def fail(*_: Any, **__: Any) -> str:
        print("Downloading data from somewhere")
        raise Exception("URL fetch failure on https://x: None -- [Errno -2]\nName or service not known")

    monkeypatch.setattr(keras.utils, "get_file", fail)
    file = f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    with pytest.raises(InputError, match=f"{file}.*not known. Bring {file}.*--recipe fast") as caught:
        build_backbone(name, "imagenet", 64)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "file"), [("resnet18", "f37072fd"), ("resnet34", "b627a593")])
def test_nets_outside_keras_name_their_file(name: str, file: str) -> None:
    with pytest.raises(InputError, match=f"Bring torchvision's {name}-{file}.pth.*--recipe fast"):
        build_backbone(name, "imagenet", 64)


def test_keras_file_name_must_match_checksum(tmp_path: Path) -> None:
    path = tmp_path / "resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path.write_bytes(b"damaged")
    with pytest.raises(
        InputError, match=f"MD5 88cf7a10940856eca736dc7b7e228a21; got {hashlib.md5(b'damaged').hexdigest()}"
    ):
        build_backbone("resnet101", path, 64)


def test_keras_file_of_other_net_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.h5"
    path.write_bytes(b"resnet50")
    known = download.KerasFile("r50.h5", hashlib.md5(b"resnet50").hexdigest(), "resnet50", False)
    monkeypatch.setattr(download, "KERAS_FILES", (*download.KERAS_FILES, known))
    with pytest.raises(InputError, match="weights of resnet101 without its top are needed; got r50"):
        build_backbone("resnet101", path, 64)
    with pytest.raises(InputError, match="Bring resnet18-f37072fd"):
        build_backbone("resnet18", path, 64)


@pytest.mark.slow
def test_keras_file_loads_by_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras
    import numpy as np

    net = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(32, 32, 3))
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(layer.moving_mean + 0.1)
            layer.moving_variance.assign(layer.moving_variance * 1.1)
    path = tmp_path / "any.h5"
    net.save(path)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    known = download.KerasFile("known.h5", md5, "resnet50", False)
    monkeypatch.setattr(download, "KERAS_FILES", (known,))
    monkeypatch.setattr(keras.utils, "get_file", lambda *_, **__: str(path))
    backbone = build_backbone("resnet50", "imagenet", 32)
    x = np.full((1, 32, 32, 3), 20, np.float32)
    np.testing.assert_array_equal(np.asarray(backbone.model(x)), np.asarray(net(x)))
    assert backbone.source == "ImageNet, Keras' file known.h5"
    assert backbone.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
