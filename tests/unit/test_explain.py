"""Maps of a net whose decisive region is known, and the overlays made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from georgia import explain as step
from georgia.errors import InputError
from georgia.explain import (
    ExplainConfig,
    Explanation,
    Explanations,
    enlarge,
    explain_files,
    occlude,
    place_on_image,
)
from georgia.images.preprocess import PreprocessSpec
from georgia.labels import Labels
from georgia.model.bundle import Bundle
from georgia.report.overlay import AGAINST_RGB, FOR_RGB, blend_map, draw_explanation, save_overlays

LABELS = Labels(("CEX", "PG"))


class SpotEngine:
    """A net that predicts PG by the brightness of the upper left quarter alone; ``cam`` on request."""

    name = "spot"
    has_map = False

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return image

    def run(self, prepared: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        quarter = [image[: image.shape[0] // 2, : image.shape[1] // 2].mean() / 32 for image in prepared]
        logits = np.stack([np.full(len(quarter), 2.0), np.array(quarter)], axis=1).astype(np.float32)
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        outputs = {"logits": logits, "probabilities": probabilities.astype(np.float32)}
        if self.has_map:
            maps = np.zeros((len(prepared), 2, 4, 4), np.float32)
            maps[:, 0], maps[:, 1, :2, :2] = 2.0, 4 * logits[:, 1, None, None]
            outputs["cam"] = maps
        return outputs


class FakePredictor:
    has_map = False

    def __init__(self, bundle: Bundle, _: object) -> None:
        self.bundle, self.engine = bundle, SpotEngine()
        self.engine.has_map = type(self).has_map


@pytest.fixture
def spot(tmp_path: Path) -> Path:
    pixels = np.full((60, 90, 3), 40, np.uint8)
    pixels[8:22, 10:34] = 250
    Image.fromarray(pixels).save(tmp_path / "spot.png")
    return tmp_path / "spot.png"


def explain(
    monkeypatch: pytest.MonkeyPatch,
    paths: list[Path],
    has_map: bool = False,
    window_px: float = 0.0,
    **settings: Any,
) -> Explanations:
    monkeypatch.setattr(FakePredictor, "has_map", has_map)
    monkeypatch.setattr(step, "Predictor", FakePredictor)
    bundle = Bundle(Path("m.onnx"), LABELS, PreprocessSpec(32, window_px=window_px), {"name": "spot"})
    return explain_files(bundle, paths, ExplainConfig(**settings))


def test_occlusion_finds_decisive_region(monkeypatch: pytest.MonkeyPatch, spot: Path) -> None:
    item = explain(monkeypatch, [spot]).items[0]
    assert (item.label, item.class_name, item.rival, item.method) == ("PG", "PG", "CEX", "occlusion")
    values = item.values
    assert values.shape == (7, 7)
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    assert (row, column) <= (3, 3)
    assert np.abs(values[5:, 5:]).max() < 1e-6


def test_map_of_rival_has_opposite_sign(monkeypatch: pytest.MonkeyPatch, spot: Path) -> None:
    for has_map in (False, True):
        own, other = (
            explain(monkeypatch, [spot], has_map, class_name=name).items[0].values for name in ("PG", "CEX")
        )
        assert np.allclose(own, -other, atol=1e-6)


def test_class_map_mean_is_logit_difference(monkeypatch: pytest.MonkeyPatch, spot: Path) -> None:
    item = explain(monkeypatch, [spot], has_map=True).items[0]
    assert item.method == "class map"
    margin = np.log(item.class_probability / (1 - item.class_probability))
    assert item.values.mean() == pytest.approx(margin, abs=1e-3)


def test_occlusion_of_flat_image_is_zero() -> None:
    flat = np.full((50, 50, 3), 90, np.uint8)
    plain = float(np.diff(SpotEngine().run([flat])["logits"][0])[0])
    assert np.abs(occlude(SpotEngine(), flat, (1, 0), plain)).max() < 1e-6


def test_file_order_changes_no_map(monkeypatch: pytest.MonkeyPatch, spot: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    Image.new("RGB", (31, 20), (200, 200, 200)).save(other)
    ahead, back = (explain(monkeypatch, paths).items for paths in ([spot, other], [other, spot]))
    assert [item.file for item in ahead] == [spot, other]
    assert np.array_equal(ahead[0].values, back[1].values)


def test_window_map_is_placed_on_image() -> None:
    input_map = np.arange(16, dtype=np.float32).reshape(4, 4)
    stretched, window = PreprocessSpec(32), PreprocessSpec(32, window_px=40)
    assert (place_on_image(input_map, stretched, (80, 120)) == input_map).all()
    laid = place_on_image(input_map, window, (40, 80))
    assert laid.shape == (4, 8)
    assert (laid[:, 2:6] == input_map).all()
    assert np.isnan(laid[:, :2]).all()
    assert np.isnan(laid[:, 6:]).all()
    small = place_on_image(input_map, window, (20, 20))
    assert (small == input_map[1:3, 1:3]).all()


def test_map_of_padded_image_leaves_padding_out() -> None:
    input_map = np.arange(36, dtype=np.float32).reshape(6, 6)
    spec = PreprocessSpec(60, keeps_aspect=True)
    assert (place_on_image(input_map, spec, (50, 50)) == input_map).all()
    assert (place_on_image(input_map, spec, (40, 120)) == input_map[2:4]).all()
    assert (place_on_image(input_map, spec, (120, 40)) == input_map[:, 2:4]).all()
    assert np.isfinite(place_on_image(input_map, spec, (7, 300))).all()


def test_enlarged_map_keeps_size_and_mean() -> None:
    values = np.random.default_rng(0).normal(0, 1, (7, 7)).astype(np.float32)
    large = enlarge(values, (70, 105))
    assert large.shape == (70, 105)
    assert large.mean() == pytest.approx(values.mean(), abs=0.05)
    assert enlarge(np.full((3, 3), 2.5, np.float32), (10, 20)) == pytest.approx(2.5)
    values[:, 0] = np.nan
    assert np.isnan(enlarge(values, (70, 70))[:, 0]).all()


def make_explanation(file: Path, values: np.ndarray, label: str = "PG") -> Explanation:
    return Explanation(file, label, 0.9, "PG", 0.9, "CEX", "occlusion", values.astype(np.float32))


def test_overlay_colours_show_sign() -> None:
    image = np.full((40, 40, 3), 128, np.uint8)
    values = np.zeros((4, 4))
    values[:, 0], values[:, 3] = 2.0, -2.0
    mixed = blend_map(image, make_explanation(Path("x.png"), values)).astype(int)
    assert np.abs(mixed[20, 2] - FOR_RGB).sum() < np.abs(mixed[20, 2] - 128).sum()
    assert np.abs(mixed[20, 37] - AGAINST_RGB).sum() < np.abs(mixed[20, 37] - 128).sum()
    assert np.abs(mixed[20, 19] - 128).max() < 3


def test_faint_map_stays_grey() -> None:
    image = np.full((40, 40, 3), 128, np.uint8)
    faint = make_explanation(Path("x.png"), np.full((4, 4), 1e-4))
    assert np.abs(blend_map(image, faint).astype(int) - 128).max() <= 1


@pytest.mark.parametrize("shape", [(30, 30), (20, 200), (300, 40)])
def test_overlay_shows_whole_image_twice(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 77, np.uint8)
    overlay = draw_explanation(make_explanation(Path("a $long$ name.png"), np.zeros((3, 3))), image, "CEX")
    pixels = np.asarray(overlay)
    wide = (pixels == 77).all(axis=2).sum()
    height, width = shape
    side = 380 / max(shape)
    assert wide == pytest.approx(2 * round(height * side) * round(width * side), rel=0.02)


def test_overlays_of_equal_names_are_kept_apart(tmp_path: Path) -> None:
    items = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (20, 20)).save(tmp_path / folder / "x.png")
        items.append(make_explanation(tmp_path / folder / "x.png", np.zeros((3, 3))))
    written = save_overlays(Explanations(LABELS, tuple(items)), tmp_path / "out")
    assert [path.name for path in written] == ["x.png", "x_2.png"]


def test_explanations_round_trip(monkeypatch: pytest.MonkeyPatch, spot: Path, tmp_path: Path) -> None:
    result = explain(monkeypatch, [spot, tmp_path / "none.png"], has_map=True, window_px=40)
    assert np.isnan(result.items[0].values).any()
    result.save(tmp_path)
    loaded = Explanations.load(tmp_path)
    assert (loaded.failed, loaded.model, loaded.labels) == (result.failed, "spot", LABELS)
    assert np.allclose(loaded.items[0].values, result.items[0].values, atol=1e-4, equal_nan=True)
    kept = ("file", "label", "probability", "class_name", "class_probability", "rival", "method")
    assert [getattr(loaded.items[0], name) for name in kept] == [
        getattr(result.items[0], name) for name in kept
    ]
    (tmp_path / "explain.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="Cannot read"):
        Explanations.load(tmp_path)


def test_bad_input_is_named(monkeypatch: pytest.MonkeyPatch, spot: Path) -> None:
    with pytest.raises(InputError, match="Unknown class"):
        explain(monkeypatch, [spot], class_name="PGG")
    with pytest.raises(InputError, match="a class map is needed; got none. Use method occlusion"):
        explain(monkeypatch, [spot], method="class map")
