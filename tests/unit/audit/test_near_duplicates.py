"""Near-duplicates: laws of the search and of its parts, and known truth in synthetic crops."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from PIL import Image

from georgia.audit.near_duplicates.alignment import count_filled, count_independent, measure_significance
from georgia.audit.near_duplicates.candidates import transform_features, transform_points
from georgia.audit.near_duplicates.descriptors import SIDE_PX, describe_image, find_features, level_contrast
from georgia.audit.near_duplicates.neighbours import CellIndex
from georgia.audit.near_duplicates.search import find_near_duplicates
from georgia.audit.settings import NearDuplicateConfig
from georgia.images.decode import read_image
from georgia.images.listing import find_images
from georgia.images.symmetry import SYMMETRIES, Symmetry
from georgia.synthetic import render_crop, render_empty

ROOT = Path(__file__).parents[3]
CRYSTALS = ROOT.parent / "shared" / "data" / "crystals"


@pytest.fixture(scope="module")
def crops() -> list[np.ndarray]:
    return [render_crop(name, seed, (120, 140)).image for seed in range(6) for name in ("CEX", "PG")]


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_exact_duplicates_have_their_transform(crops: list[np.ndarray], symmetry: Symmetry) -> None:
    images = [crops[0], crops[1], symmetry.apply(crops[0])]
    found = find_near_duplicates([describe_image(image) for image in images])
    assert found.groups == ((0, 2),)
    assert [(pair.first, pair.second, pair.kind, pair.similarity) for pair in found.pairs] == [
        (0, 2, "exact", 1.0)
    ]
    assert np.array_equal(found.pairs[0].transform.apply(images[0]), images[2])


def test_changed_crops_are_near_duplicates(crops: list[np.ndarray]) -> None:
    packed = cv2.imencode(".jpg", crops[2], [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    changed = [
        np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8),
        cv2.resize(Symmetry("transpose").apply(crops[3]), (100, 130), interpolation=cv2.INTER_AREA),
        np.clip(crops[4] * 0.7 + 30, 0, 255).astype(np.uint8),
        Symmetry("rotate 90").apply(crops[5][10:-10, 12:-12]),
    ]
    found = find_near_duplicates([describe_image(image) for image in [*crops, *changed]])
    n = len(crops)
    assert found.groups == ((2, n), (3, n + 1), (4, n + 2), (5, n + 3))
    transforms = [pair.transform for pair in found.pairs]
    assert transforms == ["identity", "transpose", "identity", "rotate 90"]
    assert {pair.kind for pair in found.pairs} == {"near"}


def test_order_of_files_changes_nothing(crops: list[np.ndarray]) -> None:
    images = [*crops, Symmetry("rotate 90").apply(crops[1]), crops[3][8:, 8:]]
    descriptions = [describe_image(image) for image in images]
    order = np.random.default_rng(0).permutation(len(images))
    shuffled = find_near_duplicates([descriptions[place] for place in order])
    straight = find_near_duplicates(descriptions)
    back = {frozenset(int(order[place]) for place in group) for group in shuffled.groups}
    assert back == {frozenset(group) for group in straight.groups} == {frozenset((1, 12)), frozenset((3, 13))}


def test_small_sets_have_no_duplicates(crops: list[np.ndarray]) -> None:
    assert find_near_duplicates([]).pairs == ()
    assert find_near_duplicates([None, describe_image(crops[0]), None]).groups == ()


def test_search_can_be_exact_only(crops: list[np.ndarray]) -> None:
    descriptions = [describe_image(image) for image in (crops[0], crops[0][4:], crops[0][::-1])]
    assert find_near_duplicates(descriptions, NearDuplicateConfig(near=False)).groups == ((0, 2),)


@pytest.mark.parametrize("is_grey", [True, False])
def test_symmetric_images_have_one_key_and_a_true_transform(is_grey: bool) -> None:
    rng = np.random.default_rng(5)
    corner = rng.integers(0, 255, (12, 12, 3), np.uint8)
    corner = np.repeat(corner[..., :1], 3, axis=2) if is_grey else corner
    mirrored = np.concatenate([corner, corner[:, ::-1]], axis=1)
    # Two pixels changed for one another leave the sums of rows and columns as they were.
    blank = np.zeros((6, 6, 3), np.uint8)
    blank[[1, 4], [1, 4]] = 90
    both_ways = np.concatenate([mirrored, mirrored[::-1]])
    for image in (mirrored, both_ways, np.full((9, 7, 3), 4, np.uint8), blank):
        first = describe_image(image)
        for symmetry in Symmetry:
            rotated = symmetry.apply(image)
            other = describe_image(rotated)
            assert other.key == first.key
            assert np.array_equal(first.find_transform(other).apply(image), rotated)
    changed = blank.copy()
    changed[[1, 4], [1, 4]] = 0
    changed[[1, 4], [4, 1]] = 90
    assert describe_image(changed).key == describe_image(blank).key, "the mirror image of it"
    changed[1, 4], changed[4, 1] = 80, 100
    assert describe_image(changed).key != describe_image(blank).key


def test_order_of_pair_inverts_transform(crops: list[np.ndarray]) -> None:
    first = describe_image(crops[6])
    second = describe_image(Symmetry("rotate 90").apply(crops[6][6:-6, 6:-6]))
    there, back = (
        find_near_duplicates([first, second]).pairs[0],
        find_near_duplicates([second, first]).pairs[0],
    )
    assert (there.transform, back.transform) == ("rotate 90", "rotate 270")
    assert there.similarity == back.similarity


def test_file_depth_and_mode_change_nothing(crops: list[np.ndarray], tmp_path: Path) -> None:
    grey = crops[0][:, :, 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "b.tif")
    Image.fromarray(grey).convert("RGBA").save(tmp_path / "c.png")
    Image.fromarray(grey).save(tmp_path / "d.bmp")
    found = find_near_duplicates([describe_image(read_image(path)) for path in sorted(tmp_path.iterdir())])
    assert found.groups == ((0, 1, 2, 3),)
    assert {pair.kind for pair in found.pairs} == {"exact"}


def test_truncated_16_bit_is_near_duplicate(crops: list[np.ndarray], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    deep = crops[1][:, :, 0].astype(np.uint16) * 256 + rng.integers(0, 256, crops[1].shape[:2], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray((deep >> 8).astype(np.uint8)).save(tmp_path / "cut.png")
    images = [read_image(tmp_path / name) for name in ("deep.png", "cut.png")]
    (pair,) = find_near_duplicates([describe_image(image) for image in images]).pairs
    assert (pair.kind, pair.similarity > 0.99) == ("near", True)


def test_drifting_scene_is_one_group() -> None:
    rng = np.random.default_rng(2)
    scene = render_crop("PG", 5, (180, 180)).image[:, :, :1].astype(float)
    frames = [scene[k : k + 150, 2 * k : 2 * k + 150] + rng.normal(0, 2, (150, 150, 1)) for k in range(10)]
    images = [np.repeat(np.clip(frame, 0, 255), 3, axis=2).astype(np.uint8) for frame in frames]
    assert find_near_duplicates([describe_image(image) for image in images]).groups == (tuple(range(10)),)


def test_empty_fields_are_no_near_duplicates() -> None:
    images = [render_empty(seed, (100, 110)).image for seed in range(40)]
    packed = [cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1] for image in images]
    images = [np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8) for data in packed]
    images += [np.full((50, 60, 3), level, np.uint8) for level in (0, 90, 255)]
    assert not [
        pair for pair in find_near_duplicates(list(map(describe_image, images))).pairs if pair.kind == "near"
    ]


def test_single_spot_is_no_near_duplicate() -> None:
    images = []
    for x in (20, 45):
        image = np.full((80, 80, 3), 120, np.uint8)
        image[30:36, x : x + 6] = 60
        images.append(image)
    assert find_near_duplicates([describe_image(image) for image in images]).pairs == ()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 3), (3, 200, 3), (700, 2, 3)])
def test_image_of_any_shape_is_described(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    rotated = Symmetry("rotate 90").apply(image)
    assert find_near_duplicates([describe_image(image), describe_image(rotated)]).pairs[0].kind == "exact"


def test_slope_of_light_leaves_no_contrast() -> None:
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    slope = (40 + 2 * x + y).astype(np.uint8)
    for fine in (False, True):
        assert np.abs(level_contrast(slope, fine)).max() < 0.05


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_features_transform_as_pixels_do(crops: list[np.ndarray], symmetry: Symmetry) -> None:
    square = cv2.resize(crops[0][:, :, 0], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    points, features = find_features(square)
    expected, other = find_features(symmetry.apply(square))
    moved = transform_points(points, symmetry)
    distance = np.linalg.norm(moved[:, None, :2] - expected[None, :, :2], axis=2)
    near = distance.argmin(axis=1)
    same = distance.min(axis=1) < 0.5
    assert same.mean() > 0.8
    difference = transform_features(features, symmetry)[same].astype(float) - other[near[same]]
    assert np.median(np.linalg.norm(difference, axis=1)) < 60


def test_index_finds_nearly_all_neighbours() -> None:
    rng = np.random.default_rng(3)
    points = rng.standard_normal((4000, 8)).astype(np.float32)
    queries = points[:500] + 0.05 * rng.standard_normal((500, 8)).astype(np.float32)
    near = CellIndex(points).query(queries, 3)
    assert (near[:, 0] == np.arange(500)).mean() > 0.97
    assert len({tuple(sorted(row)) for row in near.tolist()}) > 400


def test_significance_grows_with_fine_structure() -> None:
    rng = np.random.default_rng(4)
    noise = rng.standard_normal((2, SIDE_PX, SIDE_PX)).astype(np.float32)
    smooth = np.array([cv2.GaussianBlur(image, (0, 0), 6) for image in noise])
    assert count_independent(*smooth) < 60 < 3000 < count_independent(*noise)
    assert measure_significance(0.75, *smooth, 1.0) < 12 < measure_significance(0.75, *noise, 1.0)
    spot = np.zeros((SIDE_PX, SIDE_PX), np.float32)
    spot[3:6, 3:6] = 1
    assert count_filled(spot) == 1
    assert count_filled(noise[0]) > 55
    assert measure_significance(0.99, spot, spot, 1.0) == 0


@pytest.mark.skipif(not CRYSTALS.is_dir(), reason="the sample crystals are not here")
def test_sample_has_two_pg_crystals() -> None:
    paths = find_images([CRYSTALS])
    found = find_near_duplicates([describe_image(read_image(path)) for path in paths])
    names = [{paths[place].stem for place in group} for group in found.groups]
    assert names == [{"PG (565)", "PG (566)", "PG (567)"}, {"PG (5946)", "PG (5947)", "PG (5950)"}]
    for pair in found.pairs:
        assert np.array_equal(
            pair.transform.apply(read_image(paths[pair.first])), read_image(paths[pair.second])
        )


def load_benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_planted_duplicates_are_found(tmp_path: Path) -> None:
    planted = load_benchmark("planted_duplicates")
    files = planted.write_planted(planted.make_planted(180, seed=4), tmp_path)
    found = find_near_duplicates([describe_image(read_image(file.path)) for file in files])
    pairs = {(files[pair.first].scene, files[pair.second].scene) for pair in found.pairs}
    assert all(first == second for first, second in pairs), "two scenes were joined"
    counts = Counter(files[pair.second].kind for pair in found.pairs)
    assert all(counts[kind] == 20 for kind in planted.EXACT)
    assert all(counts[kind] >= 19 for kind in planted.NEAR)
