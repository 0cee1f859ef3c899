"""Synthetic crystals: same seed same bytes, exact truth, and nothing but the crystal tells classes apart."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from georgia.errors import InputError
from georgia.synthetic import (
    FIELD_KINDS,
    CropPlan,
    PlantedDefects,
    render_crop,
    render_dataset,
    render_empty,
    render_frame,
)
from georgia.synthetic.scene import sample_noise

CLASSES = ("CEX", "PG")


def read_tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


# ---- crops


@pytest.mark.parametrize("class_name", CLASSES)
def test_same_seed_gives_same_bytes(class_name: str) -> None:
    first, second = (render_crop(class_name, seed=11) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert first.mask_pg.tobytes() == second.mask_pg.tobytes()
    assert render_crop(class_name, seed=12).image.tobytes() != first.image.tobytes()


@pytest.mark.parametrize("class_name", CLASSES)
def test_crop_is_grey_rgb_of_the_real_sizes(class_name: str) -> None:
    for seed in range(20):
        crop = render_crop(class_name, seed)
        height, width = crop.image.shape[:2]
        assert crop.image.dtype == np.uint8
        assert np.ptp(crop.image, axis=2).max() == 0
        assert 100 <= min(height, width) <= max(height, width) <= 260
        assert 0.78 <= width / height <= 1.28


def test_crop_has_the_requested_size() -> None:
    assert render_crop("CEX", 1, (120, 140)).image.shape == (120, 140, 3)


def test_masks_tell_class_without_overlap() -> None:
    for seed in range(20):
        cex, pg = render_crop("CEX", seed), render_crop("PG", seed)
        assert not cex.mask_pg.any()
        assert cex.mask_cex.shape == cex.image.shape[:2]
        assert pg.mask_pg.mean() > 0.1
        assert not (pg.mask_cex & pg.mask_pg).any()


def test_generator_advances_with_each_call() -> None:
    rng = np.random.default_rng(3)
    assert render_crop("PG", rng).image.tobytes() != render_crop("PG", rng).image.tobytes()


def test_unknown_class_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"classes are CEX, PG; got 'CEXX'\. Did you mean 'CEX'\?"):
        render_crop("CEXX", 1)


def test_tiny_crop_is_rejected() -> None:
    with pytest.raises(InputError, match=r"32 px or more each way are needed; got \(8, 40\)"):
        render_crop("PG", 1, (8, 40))


def measure_shortcuts(image: npt.NDArray[np.uint8]) -> list[float]:
    """Return what must say nothing about the crystal: size, brightness, contrast and sharpness."""
    grey = image[..., 0].astype(np.float32)
    low, high = np.percentile(grey, [5, 95])
    sharpness = cv2.Laplacian(grey, cv2.CV_32F).var()
    return [*grey.shape, float(grey.mean()), float(grey.std()), float(low), float(high), float(sharpness)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        GradientBoostingClassifier(n_estimators=40, random_state=0),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ],
    ids=["boosting", "logistic"],
)
def test_shortcuts_do_not_predict_the_class(model: object, shortcut_table: tuple) -> None:  # type: ignore[type-arg]
    values, truth = shortcut_table
    predicted = cross_val_predict(model, values, truth, cv=5)
    assert balanced_accuracy_score(truth, predicted) < 0.60


@pytest.fixture(scope="module")
def shortcut_table() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    n = 250
    plan = CropPlan(n, seed=5)
    values = [measure_shortcuts(plan.render(item).image) for item in plan.items()]
    return np.array(values), np.repeat([0, 1], n)


# ---- frames


def test_frame_fraction_is_the_mask_area() -> None:
    frame = render_frame(2, (400, 440), pg_fraction=0.5)
    n_pg, n_cex = frame.mask_pg.sum(), frame.mask_cex.sum()
    assert frame.image.shape == (400, 440, 3)
    assert not (frame.mask_pg & frame.mask_cex).any()
    assert frame.fraction == n_pg / (n_pg + n_cex)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_pure_frames_are_pure(fraction: float) -> None:
    frame = render_frame(4, (300, 330), pg_fraction=fraction)
    assert frame.fraction == fraction
    assert {box.class_name for box in frame.boxes} == {"PG" if fraction else "CEX"}


@pytest.mark.parametrize("fraction", [0.15, 0.5, 0.85])
def test_frames_come_near_the_target_fraction(fraction: float) -> None:
    got = [render_frame(seed, (500, 560), pg_fraction=fraction).fraction for seed in range(4)]
    assert abs(np.mean(got) - fraction) < 0.12


def test_boxes_hold_all_of_the_plates() -> None:
    frame = render_frame(9, (400, 440), pg_fraction=0.6)
    inside = np.zeros_like(frame.mask_pg)
    for box in frame.boxes:
        if box.class_name == "PG":
            # Enlarging rounds to the nearest canvas pixel: up to three image pixels.
            top, left = max(0, box.top - 3), max(0, box.left - 3)
            inside[top : box.top + box.height + 3, left : box.left + box.width + 3] = True
    assert not (frame.mask_pg & ~inside).any()


def test_frame_without_coverage_holds_no_crystal() -> None:
    frame = render_frame(1, (200, 220), coverage=0.0)
    assert (frame.fraction, frame.boxes) == (0.0, ())


def test_same_seed_gives_same_frame() -> None:
    first, second = (render_frame(6, (200, 220)) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert first.boxes == second.boxes


def test_frame_faults_are_reported_together() -> None:
    with pytest.raises(
        InputError, match=r"size_px must be 64 px.*pg_fraction must be from 0 to 1; got 2.*coverage must"
    ):
        render_frame(1, (10, 10), pg_fraction=2, coverage=-1)


# ---- empty fields


@pytest.mark.parametrize("kind", FIELD_KINDS)
def test_empty_field_repeats_with_its_seed(kind: str) -> None:
    first, second = (render_empty(8, (90, 110), kind) for _ in range(2))
    assert first.image.shape == (90, 110, 3)
    assert first.kind == kind
    assert first.image.tobytes() == second.image.tobytes()


def test_fields_are_dark_or_saturated() -> None:
    for seed in range(5):
        assert render_empty(seed, kind="dark").image.mean() < 25
        assert render_empty(seed, kind="saturated").image.mean() > 235


def test_unknown_field_kind_is_rejected() -> None:
    with pytest.raises(InputError, match=r"Cannot render a field: kinds are .*Did you mean 'dark'\?"):
        render_empty(1, kind="drak")


# ---- data sets


def test_files_do_not_depend_on_count(tmp_path: Path) -> None:
    render_dataset(tmp_path / "few", 2, seed=1)
    render_dataset(tmp_path / "more", 4, seed=1)
    few, more = read_tree(tmp_path / "few"), read_tree(tmp_path / "more")
    few.pop("truth.csv")
    assert few.items() <= more.items()


def test_order_of_rendering_changes_nothing() -> None:
    plan = CropPlan(3, seed=2)
    forward = {item.stem: plan.render(item).image.tobytes() for item in plan.items()}
    backward = {item.stem: plan.render(item).image.tobytes() for item in reversed(list(plan.items()))}
    assert forward == backward


def test_dataset_has_class_folders_and_truth(tmp_path: Path) -> None:
    records = render_dataset(tmp_path / "set", 3, seed=1)
    with (tmp_path / "set" / "truth.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows[:2]] == ["CEX/CEX (1).png", "CEX/CEX (2).png"]
    assert [tmp_path / "set" / row["path"] for row in rows] == [record.path for record in records]
    assert all(record.path.is_file() for record in records)
    assert [row["class"] for row in rows] == ["CEX"] * 3 + ["PG"] * 3
    assert len({row["group"] for row in rows}) == 6
    assert {row["transform"] for row in rows} == {"none"}


@pytest.mark.parametrize("file_format", ["png", "tif", "bmp", "webp"])
def test_lossless_formats_keep_pixels(tmp_path: Path, file_format: str) -> None:
    records = render_dataset(tmp_path / "set", 1, seed=3, file_format=file_format)
    plan = CropPlan(1, seed=3)
    for record, item in zip(records, plan.items(), strict=True):
        with Image.open(record.path) as image:
            assert np.array_equal(np.asarray(image), plan.render(item).image)


def test_planted_size_reveals_the_class(tmp_path: Path) -> None:
    records = render_dataset(tmp_path / "set", 12, seed=4, defects=PlantedDefects(cex_size_151=True))
    sizes: dict[str, set[tuple[int, int]]] = {"CEX": set(), "PG": set()}
    for record in records:
        with Image.open(record.path) as image:
            sizes[record.class_name].add(image.size)
    assert sizes["CEX"] == {(151, 151)}
    assert (151, 151) not in sizes["PG"]
    assert len(sizes["PG"]) > 5


@pytest.mark.parametrize("fraction", [0.25, 0.5, 2 / 3, 0.875])
def test_duplicates_make_up_their_fraction(fraction: float) -> None:
    items = [
        item
        for item in CropPlan(240, defects=PlantedDefects(duplicates=fraction)).items()
        if item.class_name == "PG"
    ]
    assert np.mean([item.symmetry != "identity" for item in items]) == pytest.approx(fraction, abs=0.02)
    by_group: dict[str, list[str]] = {}
    for item in items:
        by_group.setdefault(item.group, []).append(item.symmetry)
    assert all(len(set(symmetries)) == len(symmetries) for symmetries in by_group.values())


def test_planted_duplicates_are_exact() -> None:
    plan = CropPlan(8, seed=6, defects=PlantedDefects(duplicates=0.875))
    items = [item for item in plan.items() if item.class_name == "PG"]
    original = plan.render(items[0])
    for item in items[1:]:
        duplicate = plan.render(item)
        assert item.group == items[0].group
        back = item.symmetry.inverse
        assert np.array_equal(back.apply(duplicate.image), original.image)
        assert np.array_equal(back.apply(duplicate.mask_pg), original.mask_pg)


def test_plan_without_defects_has_no_duplicates() -> None:
    assert {item.symmetry for item in CropPlan(20).items()} == {"identity"}


def test_full_folder_stays_untouched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"a new or empty folder is needed; got a full one"):
        render_dataset(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_broken_run_leaves_nothing(tmp_path: Path) -> None:
    class Breaking:
        def start(self, stage: str, total: int | None) -> None:
            assert (stage, total) == ("render", 4)

        def advance(self, count: int = 1, note: str = "") -> None:
            raise KeyboardInterrupt

        def say(self, line: str) -> None: ...

    with pytest.raises(KeyboardInterrupt):
        render_dataset(tmp_path / "set", 2, progress=Breaking())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: PlantedDefects(duplicates=0.95), r"duplicates must be from 0 to 0\.875; got 0\.95"),
        (lambda: CropPlan(0), r"n_per_class must be 1 or more; got 0"),
        (lambda: CropPlan(1, seed=-1), r"seed must be 0 or more"),
    ],
)
def test_wrong_settings_are_rejected(make, text: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=text):
        make()


def test_unknown_file_format_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"file formats are png, jpg, tif, bmp, webp; got 'gif'"):
        render_dataset(tmp_path / "set", 1, file_format="gif")


# ---- the canvas


@pytest.mark.parametrize("grain_px", [1.0, 3.0, 12.0])
def test_noise_has_zero_mean_unit_variance(grain_px: float) -> None:
    noise = sample_noise(np.random.default_rng(1), (400, 400), grain_px)
    assert abs(noise.mean()) < 0.15
    assert 0.6 < noise.std() < 1.4
