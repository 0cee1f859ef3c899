"""Windows of a frame, what they show, and the fraction that they add up to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.labels import Labels
from georgia.model.load import load_bundled_model
from georgia.monitor.fraction import count_effective, estimate_fractions, find_smoothing
from georgia.monitor.settings import TileConfig
from georgia.monitor.tile import (
    FrameAnalyzer,
    choose_impurity,
    find_blindness,
    find_tile_px,
    measure_detail,
    place_windows,
)
from georgia.synthetic import render_frame
from georgia.synthetic.fields import FIELD_KINDS, render_empty

NAMES = ("CEX", "PG")


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


def test_effective_count_follows_overlap() -> None:
    apart = place_windows(400, 400, 100, 0.0)
    assert count_effective(apart) == pytest.approx(16)
    assert count_effective(np.repeat(apart[:1], 5, axis=0)) == pytest.approx(1)
    overlapping = place_windows(400, 400, 100, 0.5)
    assert len(overlapping) == 49
    assert 12 <= count_effective(overlapping) <= 20
    assert count_effective(apart[:0]) == 0


def test_fraction_is_mean_probability() -> None:
    boxes = place_windows(300, 300, 100, 0.0)
    p = np.array([0, 0, 0, 0, 0.5, 1, 1, 0, 0], np.float32)
    codes = (p > 0.5).astype(np.int8)
    codes[7], codes[8] = -1, -2
    classes, n_effective = estimate_fractions(boxes, codes, np.stack([1 - p, p], axis=1), NAMES)
    assert n_effective == pytest.approx(7)
    assert classes[1].fraction == pytest.approx(2.5 / 7)
    assert classes[0].fraction + classes[1].fraction == pytest.approx(1)
    assert (classes[0].n, classes[1].n) == (5, 2)
    assert classes[1].low < 2.5 / 7 < classes[1].high


def test_label_smoothing_is_undone() -> None:
    boxes = place_windows(300, 300, 100, 0.0)
    truth = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1], np.float32)
    p = 0.9 * truth + 0.05
    classes, _ = estimate_fractions(boxes, truth.astype(np.int8), np.stack([1 - p, p], axis=1), NAMES, 0.1)
    assert classes[1].fraction == pytest.approx(1 / 3)
    clean, _ = estimate_fractions(
        boxes, np.zeros(9, np.int8), np.full((9, 2), [0.95, 0.05], np.float32), NAMES, 0.1
    )
    assert clean[1].fraction == pytest.approx(0, abs=1e-6)
    assert clean[1].low == 0
    assert find_smoothing({"recipe": {"label_smoothing": 0.1}}) == 0.1
    assert find_smoothing({"recipe": {"label_smoothing": 0.1}, "calibration": {}}) == 0
    assert find_smoothing({}) == 0


def test_more_windows_narrow_interval() -> None:
    widths = []
    for side in (200, 400, 800):
        boxes = place_windows(side, side, 100, 0.25)
        p = np.tile([0.0, 0.0, 0.0, 1.0], len(boxes))[: len(boxes)].astype(np.float32)
        classes, _ = estimate_fractions(boxes, p.astype(np.int8), np.stack([1 - p, p], axis=1), NAMES)
        widths.append(classes[1].high - classes[1].low)
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize(("fraction", "excludes_none"), [(0.01, False), (0.2, True)])
def test_interval_below_one_window_includes_zero(fraction: float, excludes_none: bool) -> None:
    boxes = place_windows(600, 600, 100, 0.0)
    p = np.full(len(boxes), fraction, np.float32)
    classes, _ = estimate_fractions(boxes, np.zeros(len(boxes), np.int8), np.stack([1 - p, p], 1), NAMES)
    assert (classes[1].low > 0) == excludes_none
    assert classes[0].high == 1 or excludes_none


@pytest.mark.parametrize("kind", FIELD_KINDS)
def test_empty_field_is_blind(kind: str) -> None:
    for seed in range(5):
        assert find_blindness(render_empty(seed, (300, 340), kind).image)


@pytest.mark.parametrize("coverage", [0.0, 0.05, 0.4])
def test_frame_is_not_blind(coverage: float) -> None:
    for seed in range(4):
        assert find_blindness(render_frame(100 + seed, (300, 340), 0.2, coverage).image) == ""


def test_detail_ignores_strength_of_grain() -> None:
    rng = np.random.default_rng(0)
    boxes = place_windows(200, 200, 100, 0.0)
    for sigma in (3, 30):
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
    assert analysis.status == "camera blind"
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

    monkeypatch.setattr(analyzer, "_engine", Net())
    analysis = analyzer.analyze(render_frame(3, (300, 300), 0.5, 0.5).image)
    assert (analysis.status, analysis.n_unknown, analysis.n_judged) == (status, n_rejected, 9 - n_rejected)
    if status == "judged":
        fraction = analysis.fraction_of("PG")
        assert fraction is not None
        assert fraction.fraction == pytest.approx(0.25)
