"""Laws of the changes and of the table: what leaves pixels alone changes no figure, and shortcuts show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from georgia.errors import InputError
from georgia.evaluate import robustness as step
from georgia.evaluate.perturbations import brighten, crop_to, list_perturbations, scale, stretch
from georgia.evaluate.robustness import (
    Robustness,
    RobustnessConfig,
    choose_sample,
    find_common_size,
    measure_robustness,
)
from georgia.images.decode import read_image
from georgia.images.preprocess import PreprocessSpec
from georgia.labels import UNKNOWN, Labels
from georgia.model.bundle import Bundle
from georgia.predict.prediction import Prediction
from georgia.records import Record

LABELS = Labels(("CEX", "PG"))
NAMES = [change.name for change in list_perturbations((40, 40))]


@pytest.fixture
def image() -> np.ndarray:
    rows, columns = np.mgrid[:50, :64]
    waves = 120 + 60 * np.sin(rows / 5)[..., None] + 40 * np.cos(columns / 7)[..., None]
    return np.repeat(waves, 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_perturbation_keeps_type_and_input(name: str, image: np.ndarray) -> None:
    change = next(first for first in list_perturbations((40, 44)) if first.name == name)
    before = image.copy()
    result = change.apply(image)
    assert (result.dtype, result.ndim, result.shape[2]) == (np.uint8, 3, 3)
    assert result.flags.c_contiguous
    assert (image == before).all()
    assert (change.apply(image) == result).all()
    assert change.apply(image[:1, :1]).size > 0
    if name == "one_size":
        assert result.shape[:2] == (40, 44)
    elif name in ("rot90", "rot270", "transpose", "transverse"):
        assert result.shape[:2] == (64, 50)
    else:
        assert result.shape == image.shape


def test_zero_strength_is_identity(image: np.ndarray) -> None:
    for result in (
        crop_to(image, (50, 64)),
        scale(image, 1.0),
        brighten(image, 1.0),
        stretch(image, 1.0),
    ):
        assert (result == image).all()


def test_enlarging_undoes_shrinking_in_the_middle(image: np.ndarray) -> None:
    back = scale(scale(image, 0.8), 1.25)
    middle = (slice(15, 35), slice(20, 44))
    assert np.abs(back[middle].astype(int) - image[middle]).mean() < 3


def test_small_images_are_padded_by_reflection(image: np.ndarray) -> None:
    wide = crop_to(image, (50, 80))
    assert (wide[:, 8:72] == image).all()
    assert (wide[:, 7] == image[:, 0]).all()


class FakePredictor:
    """Predicts images by a rule on their pixels, as a net that has learned just that rule."""

    rule: Callable[[np.ndarray], str]

    def __init__(self, bundle: Bundle, _: object) -> None:
        self.bundle = bundle

    def iterate(self, paths: Iterable[Path], change: Any = None) -> Iterator[Prediction]:
        for path in paths:
            image = read_image(path)
            label = type(self).rule(image if change is None else change(image))
            yield Prediction(path, label, 0.9, {"CEX": 0.5, "PG": 0.5})


@pytest.fixture
def shortcut_set(tmp_path: Path) -> list[Record]:
    """CEX is 48×48 and PG is not; PG holds a bright disc as well."""
    rng, records = np.random.default_rng(0), []
    for at in range(60):
        name = LABELS.names[at % 2]
        height, width = (48, 48) if name == "CEX" else (int(rng.integers(52, 80)), int(rng.integers(52, 80)))
        pixels = rng.integers(90, 110, (height, width, 3)).astype(np.uint8)
        if name == "PG":
            pixels[height // 2 - 8 : height // 2 + 8, width // 2 - 8 : width // 2 + 8] = 250
        path = tmp_path / name / f"{at}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
        records.append(Record(path, name, group=f"crystal {at // 2}"))
    return records


def measure(monkeypatch: pytest.MonkeyPatch, records: list[Record], rule: Any, n: int = 60) -> Robustness:
    monkeypatch.setattr(FakePredictor, "rule", staticmethod(rule), raising=False)
    monkeypatch.setattr(step, "Predictor", FakePredictor)
    monkeypatch.setattr(step, "_N_DRAWS", 2000)
    bundle = Bundle(Path("model.onnx"), LABELS, PreprocessSpec())
    return measure_robustness(bundle, records, RobustnessConfig(n))


def by_size(image: np.ndarray) -> str:
    return "CEX" if image.shape[:2] == (48, 48) else "PG"


def by_disc(image: np.ndarray) -> str:
    return "PG" if np.percentile(image, 98) > 160 else "CEX"


def test_only_model_relying_on_size_drops(
    monkeypatch: pytest.MonkeyPatch, shortcut_set: list[Record]
) -> None:
    shortcut = measure(monkeypatch, shortcut_set, by_size)
    assert shortcut.accuracy == 1.0
    assert [row.name for row in shortcut.significant] == ["one_size"]
    assert shortcut.significant[0].accuracy.difference == -0.5
    assert "significantly worse when images are: cropped to one size" in shortcut.describe()
    robust = measure(monkeypatch, shortcut_set, by_disc)
    assert not robust.significant
    assert "No perturbation lowers the metrics significantly" in robust.describe()
    assert 0 < robust.undetected_drop < 0.3


def test_symmetries_change_no_metric_of_invariant_model(
    monkeypatch: pytest.MonkeyPatch, shortcut_set: list[Record]
) -> None:
    result = measure(monkeypatch, shortcut_set, by_disc)
    for row in result.rows:
        if row.name in ("rot90", "rot180", "rot270", "flip_x", "flip_y", "transpose", "transverse"):
            assert (row.accuracy.difference, row.f1.difference) == (0.0, 0.0)


def test_order_of_files_changes_nothing(monkeypatch: pytest.MonkeyPatch, shortcut_set: list[Record]) -> None:
    first = measure(monkeypatch, shortcut_set, by_size, 20)
    other = measure(monkeypatch, shortcut_set[::-1], by_size, 20)
    assert first.rows == other.rows


def test_rejected_images_are_counted(monkeypatch: pytest.MonkeyPatch, shortcut_set: list[Record]) -> None:
    result = measure(monkeypatch, shortcut_set, lambda image: UNKNOWN if image.mean() > 115 else "CEX", 20)
    assert result.has_rejected
    assert next(row for row in result.rows if row.name == "brighter").n_unknown == 20


def test_sample_is_balanced_over_classes_and_groups() -> None:
    records = [Record(Path(f"d/a{i}"), "a", group=f"g{i // 10}") for i in range(100)]
    records += [Record(Path(f"d/b{i}"), "b", group=f"h{i}") for i in range(5)]
    sample = choose_sample(records, 15)
    assert [record.class_name for record in sample].count("b") == 5
    assert len({record.group for record in sample if record.class_name == "a"}) == 10
    assert set(choose_sample(records[::-1], 15)) == set(sample)
    assert set(choose_sample(records, 15, seed=1)) != set(sample)
    assert len(choose_sample(records, 1000)) == 105


def test_common_size_fits_nine_in_ten() -> None:
    sizes = [(100 + i, 200 - i) for i in range(50)]
    height, width = find_common_size(sizes)
    assert np.mean([first >= height for first, _ in sizes]) >= 0.9
    assert np.mean([first >= width for _, first in sizes]) >= 0.9
    assert find_common_size([(7, 9)]) == (7, 9)


def test_saved_robustness_loads_equal(
    monkeypatch: pytest.MonkeyPatch, shortcut_set: list[Record], tmp_path: Path
) -> None:
    result = measure(monkeypatch, shortcut_set, by_size, 20)
    result.save(tmp_path)
    assert Robustness.load(tmp_path) == result
    # At level 1 no number of groups would be enough, and the search for one without an end.
    for odd in ({"level": 1}, {"n_groups": 10**30}, {"rows": [{}]}, {"accuracy": "high"}):
        values = {**json.loads((tmp_path / "robustness.json").read_text(encoding="utf-8")), **odd}
        (tmp_path / "odd").mkdir(exist_ok=True)
        (tmp_path / "odd" / "robustness.json").write_text(json.dumps(values), encoding="utf-8")
        with pytest.raises(InputError, match="a file that a robustness test wrote is needed"):
            Robustness.load(tmp_path / "odd")
    (tmp_path / "robustness.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="Cannot read"):
        Robustness.load(tmp_path)


def test_bad_input_is_named(monkeypatch: pytest.MonkeyPatch, shortcut_set: list[Record]) -> None:
    with pytest.raises(InputError, match="n_files must be 1 or more; got 0"):
        RobustnessConfig(0)
    with pytest.raises(InputError, match="class names must be the model's"):
        measure(monkeypatch, [Record(Path("x.png"), "QQ")], by_size)
    with pytest.raises(InputError, match="can be read"):
        measure(monkeypatch, [Record(Path("x.png"), "PG")], by_size)
