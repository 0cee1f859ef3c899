"""Clusters of synthetic features with known groups, and their maps."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from georgia.cluster import ClusterConfig, Clustering, cluster_features
from georgia.errors import InputError
from georgia.records import Failure
from georgia.report.canvas import make_figure
from georgia.report.cluster_map import (
    CLUSTER_COLORS,
    MARKERS,
    OTHER_COLOR,
    choose_apart,
    cluster_color,
    draw_cluster_map,
    find_centres,
    label_colors,
    save_cluster_map,
)
from georgia.report.cluster_page import render_cluster_page, save_cluster_page


def make_features(n: int = 60, folder: Path = Path("d")) -> tuple[list[Path], np.ndarray, list[str]]:
    """Return three groups of 30, 20 and 10 in every 60; one file of the second has the label of the first."""
    rng = np.random.default_rng(0)
    group = np.array([0] * (n // 2) + [1] * (n // 3) + [2] * (n - n // 2 - n // 3))
    centres = rng.normal(0, 10, (3, 12))
    files = [folder / f"{at:03d}.png" for at in range(n)]
    labels = [("a", "b", "c")[number] for number in group]
    labels[n // 2] = "a"
    return files, centres[group] + rng.normal(0, 0.3, (n, 12)), labels


def test_kmeans_finds_groups_largest_first() -> None:
    result = cluster_features(*make_features(), ClusterConfig(k=3))
    assert [cluster.size for cluster in result.clusters] == [30, 20, 10]
    assert [cluster.purity for cluster in result.clusters] == [1.0, 0.95, 1.0]
    assert result.purity == pytest.approx(59 / 60)
    assert 0.9 < (result.rand or 0) < 1
    assert sum(result.explained) > 0.9
    assert "98.3 % have the most common label" in result.describe()


def test_file_order_changes_no_cluster() -> None:
    files, features, labels = make_features()
    shuffled = np.random.default_rng(1).permutation(len(files))
    first = cluster_features(files, features, labels)
    other = cluster_features([files[i] for i in shuffled], features[shuffled], [labels[i] for i in shuffled])
    assert other == first


def test_feature_shift_changes_no_position() -> None:
    files, features, labels = make_features()
    first, other = (cluster_features(files, values, labels) for values in (features, features + 7.5))
    assert [row.cluster for row in other.assignments] == [row.cluster for row in first.assignments]
    places = [[(row.x, row.y) for row in result.assignments] for result in (first, other)]
    assert np.allclose(*places)


def test_clustering_needs_no_labels() -> None:
    files, features, _ = make_features()
    result = cluster_features(files, features, [""] * 60)
    assert (result.purity, result.rand, result.labels) == (None, None, ())
    assert all(cluster.purity is None for cluster in result.clusters)
    assert "commonest" not in result.describe()


def test_equal_images_form_one_cluster() -> None:
    result = cluster_features(make_features()[0], np.ones((60, 12)), [""] * 60)
    assert [cluster.size for cluster in result.clusters] == [60]
    assert result.explained == (0.0, 0.0)
    text = "60 images in 1 cluster of 60: only 1 distinct image, so 1 cluster instead of 4."
    assert result.describe() == text


def test_few_distinct_images_limit_clusters() -> None:
    features = np.repeat(np.random.default_rng(3).normal(0, 5, (3, 12)), (5, 3, 2), axis=0)
    features += np.random.default_rng(4).normal(0, 1e-7, features.shape)
    result = cluster_features(make_features()[0][:10], features, [""] * 10)
    assert [cluster.size for cluster in result.clusters] == [5, 3, 2]
    assert "in 3 clusters of 5, 3, 2: only 3 distinct images, so 3 clusters instead" in result.describe()
    fitting = cluster_features(make_features()[0][:10], features, [""] * 10, ClusterConfig(k=3))
    assert "only" not in fitting.describe()


def test_axis_without_variance_is_zero() -> None:
    features = np.random.default_rng(5).normal(2, 3, (2, 12)).astype(np.float32)
    result = cluster_features(make_features()[0][:2], features, ["", ""], ClusterConfig(k=2))
    assert [row.y for row in result.assignments] == [0.0, 0.0]
    assert result.explained == (pytest.approx(1), 0.0)
    axes = make_figure(draw_cluster_map, result).axes[0]
    low, high = axes.get_ylim()
    assert low == -high
    assert high == pytest.approx(abs(result.assignments[0].x))
    assert axes.get_ylabel() == "second principal component (no variance)"
    assert list(axes.get_yticks()) == [0]


def test_clustering_round_trip(tmp_path: Path) -> None:
    failed = (Failure(Path("x.png"), "the file is empty"),)
    result = replace(cluster_features(*make_features()), failed=failed, model="m")
    result.save(tmp_path)
    assert Clustering.load(tmp_path) == result
    values = json.loads((tmp_path / "cluster.json").read_text(encoding="utf-8"))
    assert values.pop("k") == 4
    (tmp_path / "cluster.json").write_text(json.dumps(values), encoding="utf-8")
    assert Clustering.load(tmp_path) == replace(result, k=0)
    (tmp_path / "cluster.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="Cannot read the clusters"):
        Clustering.load(tmp_path)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="k must be 1 or more; got 0 · components must be 2 or more; got 1"):
        ClusterConfig(k=0, components=1)
    with pytest.raises(InputError, match="for k = 4; got 3"):
        cluster_features(make_features()[0][:3], np.zeros((3, 2)), [""] * 3)


def test_thumbnails_keep_apart_in_dense_places() -> None:
    points = np.random.default_rng(2).normal(0, 1, (5000, 2))
    chosen = choose_apart(points, 40)
    assert 20 < len(chosen) <= 40
    cells = np.ptp(points, axis=0) / (15, 11)
    for at, index in enumerate(chosen):
        for other in chosen[:at]:
            assert (np.abs(points[index] - points[other]) >= 0.78 * cells).any()
    assert choose_apart(np.zeros((3, 2)), 5) == [0]
    first = [int(points[:, 0].argmin()), int(points[:, 0].argmax())]
    assert not set(first) <= set(chosen)
    assert set(first) <= set(choose_apart(points, 40, first=first))


def test_cluster_colors_are_distinct() -> None:
    from skimage.color import deltaE_ciede2000, rgb2lab

    rgb = np.array([[int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)] for color in CLUSTER_COLORS])
    lab = rgb2lab(rgb[None])[0]
    distance = deltaE_ciede2000(lab[:, None], lab[None]) + 100 * np.eye(len(lab))
    assert len(lab) == 24
    assert distance.min() > 13
    assert len({cluster_color(number) for number in range(1, 25)}) == 24


def spread_out(n_labels: int, k: int) -> Clustering:
    """Return 240 images, without files, on a grid, in k clusters and ``n_labels`` labels."""
    points = np.array([(x, 0.9 * y) for x in range(20) for y in range(12)], float)
    names = [f"d{at % n_labels}" for at in range(240)]
    return cluster_features([Path(f"{at}.png") for at in range(240)], points, names, ClusterConfig(k=k))


def legend_of(result: Clustering) -> tuple[list[str], list[str]]:
    """Return the texts of the legend and the shapes of its keys."""
    legend = make_figure(draw_cluster_map, result).axes[0].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()], [
        str(line.get_marker()) for line in legend.get_lines()
    ]


def test_cluster_number_stands_at_centre() -> None:
    result = spread_out(10, 10)
    axes = make_figure(draw_cluster_map, result).axes[0]
    centres = find_centres(result)
    numbers = {int(text.get_text()): text.xy for text in axes.texts}
    assert sorted(numbers) == sorted(centres) == list(range(1, 11))
    for number, position in centres.items():
        own = np.array([(row.x, row.y) for row in result.assignments if row.cluster == number])
        nearest = result.assignments[position]
        assert nearest.cluster == number
        assert numbers[number] == (nearest.x, nearest.y)
        gaps = ((own - own.mean(axis=0)) ** 2).sum(axis=1)
        assert ((np.array((nearest.x, nearest.y)) - own.mean(axis=0)) ** 2).sum() == pytest.approx(gaps.min())


def test_labels_have_shapes_or_a_note() -> None:
    texts, shapes = legend_of(spread_out(10, 10))
    assert texts[-10:] == [f"d{at}" for at in range(10)]
    assert len(set(shapes[-10:])) == 10
    texts, _ = legend_of(spread_out(len(MARKERS) + 1, 4))
    assert texts[-2:] == ["13 labels, too many for shapes;", "cluster_map.html colours by label"]


@pytest.mark.slow
def test_legend_fits_the_page() -> None:
    texts, _ = legend_of(spread_out(12, 60))
    assert len(texts) <= 36
    assert texts[23] == "and 37 smaller ones"
    assert len(legend_of(spread_out(1, 24))[0]) == 24


def test_unlabelled_images_appear_beside_labelled_ones() -> None:
    result = spread_out(3, 2)
    rows = tuple(replace(row, label="" if at % 2 else row.label) for at, row in enumerate(result.assignments))
    axes = make_figure(draw_cluster_map, replace(result, assignments=rows)).axes[0]
    assert sum(len(np.asarray(dots.get_offsets())) for dots in axes.collections) == 240
    assert legend_of(replace(result, assignments=rows))[0][-1] == "no label"


def test_only_common_labels_have_colors() -> None:
    result = spread_out(40, 4)
    colors = label_colors(result)
    assert len(colors) == 40
    assert colors.count(OTHER_COLOR) == 16
    assert len(set(colors)) == 25
    assert label_colors(spread_out(3, 4)) == list(CLUSTER_COLORS[:3])


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.05, 1.0, 3.0])
def test_names_overlap_neither_names_nor_thumbnails(tmp_path: Path, spread: float) -> None:
    from matplotlib.offsetbox import AnnotationBbox

    rng = np.random.default_rng(6)
    files = [tmp_path / f"image $ of the {at:02d}.png" for at in range(40)]
    for file in files:
        Image.new("RGB", (60, 44 + int(rng.integers(40))), (90, 120, 90)).save(file)
    features = np.concatenate([rng.normal(0, spread, (30, 2)), rng.normal(9, 2, (10, 2))])
    result = cluster_features(files, features, [""] * 40, ClusterConfig(k=3))
    figure = make_figure(draw_cluster_map, result, (11, 8.4), "A name of two words")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    names = [text.get_window_extent() for text in axes.texts if not text.get_text().isdigit()]
    images = [box.get_window_extent() for box in axes.artists if isinstance(box, AnnotationBbox)]
    assert len(names) >= 5
    for at, box in enumerate(names):
        assert not box.count_overlaps([*names[:at], *images])
        assert axes.bbox.containsx(box.x0)
        assert axes.bbox.containsx(box.x1)


@pytest.fixture
def images(tmp_path: Path) -> Clustering:
    files, features, labels = make_features(24, tmp_path)
    for at, file in enumerate(files[1:]):
        Image.new("RGB", (30, 20), (10 * at, 90, 90)).save(file)
    return cluster_features(files, features, labels, ClusterConfig(k=3), model="$odd_ <name>")


@pytest.mark.slow
def test_map_image_shows_all_points(images: Clustering, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    numbers = draw_cluster_map(images, Figure().add_subplot())
    assert (numbers["n"], numbers["sizes"]) == (24, [12, 8, 4])
    assert 1 <= numbers["names"] < 24
    with Image.open(save_cluster_map(images, tmp_path)) as image:
        assert image.size == (1650, 1260)


def test_cluster_page_escapes_labels(images: Clustering, tmp_path: Path) -> None:
    evil = replace(images.assignments[0], label="</script><b>")
    result = replace(images, assignments=(evil, *images.assignments[1:]))
    html = save_cluster_page(result, tmp_path).read_text(encoding="utf-8")
    assert "http" not in html
    assert html.count("</script>") == 1
    assert "&lt;name&gt;" in html
    data = json.loads(re.findall(r"^const D = (.*);$", html, re.M)[0])
    assert len(data["x"]) == len(data["name"]) == len(data["label"]) == 24
    assert "</script><b>" in data["labels"]
    assert [number for number, _ in data["centres"]] == [1, 2, 3]
    assert len(data["colors"]) == 24
    assert len(data["labelColors"]) == len(data["labels"])
    assert len(data["sheets"]) == 1
    assert data["sheets"][0].startswith("data:image/jpeg;base64,")
    assert str(tmp_path) not in html


def test_cluster_page_works_without_labels(images: Clustering) -> None:
    bare = tuple(replace(row, label="") for row in images.assignments)
    clusters = tuple(replace(cluster, labels={}, purity=None) for cluster in images.clusters)
    html = render_cluster_page(replace(images, assignments=bare, clusters=clusters, purity=None, rand=None))
    assert "Colour by" not in html
    assert "Commonest label" not in html


def test_cluster_page_keeps_close_positions(images: Clustering) -> None:
    near = tuple(replace(row, x=1e-6 * row.x, y=1e-6 * row.y) for row in images.assignments)
    data = json.loads(
        re.findall(r"^const D = (.*);$", render_cluster_page(replace(images, assignments=near)), re.M)[0]
    )
    assert np.allclose(
        data["x"], [row.x for row in near], rtol=0, atol=1e-5 * np.ptp([row.x for row in near])
    )


def test_cluster_page_explains_single_cluster() -> None:
    html = render_cluster_page(cluster_features(make_features()[0], np.ones((60, 12)), [""] * 60))
    assert "only 1 distinct image, so 1 cluster instead of 4" in html
    assert "To the model all images are the same." in html
    assert "Colours repeat" not in html
    assert "Colours repeat after 24 clusters" in render_cluster_page(spread_out(2, 25))
