"""Windows of a frame and what they show."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from georgia.errors import InputError
from georgia.labels import Labels
from georgia.model.load import load_bundled_model
from georgia.monitor.settings import MonitorConfig, TileConfig
from georgia.monitor.tile import (
    FrameAnalyzer,
    choose_impurity,
    find_tile_px,
    measure_detail,
    place_windows,
)
from georgia.predict.precision import WINDOW_TOLERANCE
from georgia.synthetic import render_frame
from georgia.synthetic.scenes import SceneKind, foul, render_scene


@pytest.mark.parametrize("size", [(1000, 1112), (168, 168), (169, 500), (100, 90)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_windows_cover_whole_frame(size: tuple[int, int], overlap: float) -> None:
    boxes = place_windows(*size, 168, overlap)
    covered = np.zeros(size, bool)
    for left, top, width, height in boxes:
        assert 0 <= left <= size[1] - width
        assert 0 <= top <= size[0] - height
        covered[top : top + height, left : left + width] = True
    assert covered[: boxes[:, 1].max() + boxes[0, 3], : boxes[:, 0].max() + boxes[0, 2]].all()
    if min(size) >= 168:
        assert covered.all()
        for column in (0, 1):
            starts = np.unique(boxes[:, column])
            assert np.diff(starts).max(initial=0) <= 168 * (1 - overlap) + 1


@pytest.mark.parametrize("level", [60, 130, 235])
@pytest.mark.parametrize("slope", [0.0, 0.8])
def test_ground_is_empty_whatever_its_light(level: int, slope: float) -> None:
    rng = np.random.default_rng(level)
    boxes = place_windows(300, 340, 100, 0.0)
    light = level * (1 + slope * (np.linspace(-0.5, 0.2, 340)))[None, :, None].repeat(300, axis=0)
    for noise in (0.0, 0.5, 2.0):
        grey = np.clip(light + rng.normal(0, noise, light.shape), 0, 255).astype(np.uint8)
        for quality in (0, 50):
            image = grey.repeat(3, axis=2)
            if quality:
                packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
                image = cv2.imdecode(packed, cv2.IMREAD_COLOR)
            assert measure_detail(image, boxes).max() < 4.6


def test_detail_ignores_strength_of_grain() -> None:
    rng = np.random.default_rng(0)
    boxes = place_windows(200, 200, 100, 0.0)
    for sigma in (6, 30):
        grain = np.clip(rng.normal(128, sigma, (200, 200, 1)), 0, 255).astype(np.uint8).repeat(3, axis=2)
        assert measure_detail(grain, boxes) == pytest.approx(3.8, abs=0.45)
    with_edges = grain.copy()
    with_edges[20:24, 10:90] = 255
    assert measure_detail(with_edges, boxes)[0] > 4.6


def test_impurity_defaults_to_pg_or_last() -> None:
    labels = Labels(("PG", "CEX"))
    assert choose_impurity(labels, "") == "PG"
    assert choose_impurity(Labels(("a", "b", "c")), "") == "c"
    assert choose_impurity(labels, "CEX") == "CEX"
    with pytest.raises(InputError, match="it must be one of PG, CEX"):
        choose_impurity(labels, "XX")
    assert find_tile_px(load_bundled_model(), 99) == 99


@pytest.fixture(scope="module")
def analyzer() -> FrameAnalyzer:
    return FrameAnalyzer(load_bundled_model(), TileConfig(min_judged=2), threads=1)


def test_pg_frame_has_larger_fraction(analyzer: FrameAnalyzer) -> None:
    fractions = []
    for pg_fraction in (0.0, 1.0):
        analysis = analyzer.analyze(render_frame(7, (400, 440), pg_fraction, 0.5).image)
        assert analysis.status == "judged"
        assert analysis.n_judged + analysis.n_empty + analysis.n_unknown == analysis.n_tiles
        assert analysis.n_effective <= analysis.n_judged
        fraction = analysis.fraction_of("PG")
        assert fraction is not None
        fractions.append(fraction.fraction)
    assert fractions[0] < 0.25
    assert fractions[1] > 0.7


def test_blind_frame_has_no_fractions(analyzer: FrameAnalyzer) -> None:
    analysis = analyzer.analyze(np.zeros((300, 300, 3), np.uint8))
    assert analysis.status == "dark"
    assert analysis.error == "it is dark"
    assert (analysis.classes, analysis.n_judged) == ((), 0)


@pytest.mark.parametrize(("n_rejected", "status"), [(0, "judged"), (2, "judged"), (7, "unknown material")])
def test_rejected_windows_do_not_count(n_rejected: int, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundled_model()
    metadata = {**bundle.metadata, "unknown": {"threshold": 1.0}}
    del metadata["recipe"]
    analyzer = FrameAnalyzer(replace(bundle, metadata=metadata), TileConfig(100, 0.0, 0.0, 2), threads=1)

    class Net:
        name = "net"

        def prepare(self, image: np.ndarray) -> np.ndarray:
            return image

        def run(self, prepared: list[np.ndarray]) -> dict[str, np.ndarray]:
            scores = np.where(np.arange(len(prepared)) < n_rejected, 1.5, 0.5)
            p = np.where(scores > 1, 1.0, 0.25)
            return {"probabilities": np.stack([1 - p, p], axis=1), "unknown_score": scores}

    monkeypatch.setattr(analyzer._engine, "_engines", {1: Net()})
    analysis = analyzer.analyze(render_frame(3, (300, 300), 0.5, 0.5).image)
    assert (analysis.status, analysis.n_unknown, analysis.n_judged) == (status, n_rejected, 9 - n_rejected)
    if status == "judged":
        fraction = analysis.fraction_of("PG")
        assert fraction is not None
        assert fraction.fraction == pytest.approx(0.25)


def test_clear_solution_is_not_blind(analyzer: FrameAnalyzer) -> None:
    analysis = analyzer.analyze(render_scene(3, SceneKind.CLEAR, (300, 340)))
    assert (analysis.status, analysis.error) == ("clear", "nothing is in the solution")


def test_first_crystals_in_clear_solution_are_analyzed(analyzer: FrameAnalyzer) -> None:
    image = render_scene(3, SceneKind.CLEAR, (500, 560))
    image[:200, :200] = render_frame(7, (200, 200), 0.0, 0.6).image
    analysis = analyzer.analyze(image)
    assert analysis.status in ("judged", "no crystals")
    assert analysis.n_judged > 0


@pytest.mark.slow
def test_what_does_not_move_is_fouling() -> None:
    analyzer = FrameAnalyzer(load_bundled_model(), TileConfig(min_judged=2, fouled_after=2), threads=1)
    statuses = []
    for seed in range(8):
        frame = render_frame(seed, (300, 340), 0.2, 0.4).image
        if seed >= 4:
            frame = foul(frame)
        statuses.append(str(analyzer.analyze(frame).status))
    assert statuses[:5] == ["judged"] * 5
    assert statuses[-1] == "fouled"


def test_precision_of_the_machine_holds_where_a_monitor_asks_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GEORGIA_PRECISION", "rotations")
    analyzer = FrameAnalyzer.of_monitor(load_bundled_model(), MonitorConfig(threads="1"))
    assert analyzer.precision == "rotations"


def test_views_as_needed_keep_windows_and_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both classes in a frame: their windows lie near a threshold more often than crops of one."""
    image = render_frame(11, (330, 330), 0.4, 0.4).image
    found = []
    # A monitor's own setting goes before what the machine is set to.
    monkeypatch.setenv("GEORGIA_PRECISION", "rotations")
    for precision in ("float32", "views"):
        settings = MonitorConfig(engine="openvino", threads="1", precision=precision)
        analyzer = FrameAnalyzer.of_monitor(load_bundled_model(), settings)
        assert analyzer.precision == precision
        found.append(analyzer.analyze(image))
    full, few = found
    assert full.map is not None
    assert few.map is not None
    np.testing.assert_array_equal(few.map.codes, full.map.codes)
    assert (full.map.codes >= 0).sum() >= 4
    difference = few.map.probabilities.astype(np.float64) - full.map.probabilities
    assert 0 < np.abs(difference).max() <= WINDOW_TOLERANCE
