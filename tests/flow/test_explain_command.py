"""``georgia explain`` from arguments to overlays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def test_explain_shows_decisive_region(georgia: Any, brightness_model: Path, tmp_path: Path) -> None:
    pixels = np.full((48, 64, 3), 60, np.uint8)
    pixels[:, 40:] = 255
    Image.fromarray(pixels).save(tmp_path / "half.png")
    for method in ("class map", "occlusion"):
        out = tmp_path / method
        args = ("--class", "PG", "--method", method, "--out", out)
        code, result, _ = georgia("explain", brightness_model, tmp_path / "half.png", *args)
        assert code == 0
        assert [Path(file).name for file in result["files"]] == ["explain.json", "half.png"]
        entry = result["explanations"][0]
        assert (entry["class_name"], entry["rival"], entry["method"]) == ("PG", "CEX", method)
    from georgia.explain import Explanations

    values = Explanations.load(tmp_path / "class map").items[0].values
    assert values[:, -1].min() > 0 > values[:, 0].max()


def test_broken_image_is_listed_with_exit_3(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    (grey_images / "PG" / "empty.png").touch()
    code, result, _ = georgia("explain", brightness_model, grey_images / "PG", "--out", tmp_path / "why")
    assert code == 3
    assert len(result["files"]) == 5
    assert [Path(failure["file"]).name for failure in result["failed"]] == ["empty.png"]


def test_explain_overwrites_no_image(georgia: Any, brightness_model: Path, grey_images: Path) -> None:
    folder = grey_images / "PG"
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    code, _, err = georgia("explain", brightness_model, folder, "--out", folder)
    assert code == 2
    assert "beside it" in err
    image = folder / "PG (0).png"
    code, result, _ = georgia("explain", brightness_model, image, "--out", folder.parent)
    assert code == 0
    assert result["explanations"][0]["overlay"].endswith("PG (0).png")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
