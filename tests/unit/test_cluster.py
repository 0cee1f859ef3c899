"""Clusters of drawn features with known groups, and the maps of them."""

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
from georgia.report.cluster_map import choose_apart, draw_cluster_map, save_cluster_map
from georgia.report.cluster_page import render_cluster_page, save_cluster_page


def draw(n: int = 60, folder: Path = Path("d")) -> tuple[list[Path], np.ndarray, list[str]]:
    """Three clouds of 30, 20 and 10 in every 60; all but one file of the second are labelled as it."""
    rng = np.random.default_rng(0)
    group = np.array([0] * (n // 2) + [1] * (n // 3) + [2] * (n - n // 2 - n // 3))
    centres = rng.normal(0, 10, (3, 12))
    files = [folder / f"{at:03d}.png" for at in range(n)]
    labels = [("a", "b", "c")[one] for one in group]
    labels[n // 2] = "a"
    return files, centres[group] + rng.normal(0, 0.3, (n, 12)), labels


def test_known_groups_are_found_largest_first() -> None:
    result = cluster_features(*draw(), ClusterConfig(k=3))
    assert [one.size for one in result.clusters] == [30, 20, 10]
    assert [one.purity for one in result.clusters] == [1.0, 0.95, 1.0]
    assert result.purity == pytest.approx(59 / 60)
    assert 0.9 < (result.rand or 0) < 1
    assert sum(result.explained) > 0.9
    assert "98.3 % carry the commonest label" in result.describe()


def test_order_of_files_changes_nothing() -> None:
    files, features, labels = draw()
    shuffled = np.random.default_rng(1).permutation(len(files))
    one = cluster_features(files, features, labels)
    other = cluster_features([files[i] for i in shuffled], features[shuffled], [labels[i] for i in shuffled])
    assert other == one


def test_shift_of_all_features_changes_no_place() -> None:
    files, features, labels = draw()
    one, other = (cluster_features(files, values, labels) for values in (features, features + 7.5))
    assert [o.cluster for o in other.assignments] == [o.cluster for o in one.assignments]
    places = [[(o.x, o.y) for o in result.assignments] for result in (one, other)]
    assert np.allclose(*places)


def test_pictures_need_no_labels() -> None:
    files, features, _ = draw()
    result = cluster_features(files, features, [""] * 60)
    assert (result.purity, result.rand, result.labels) == (None, None, ())
    assert all(one.purity is None for one in result.clusters)
    assert "commonest" not in result.describe()


def test_equal_pictures_are_one_cluster() -> None:
    result = cluster_features(draw()[0], np.ones((60, 12)), [""] * 60)
    assert [one.size for one in result.clusters] == [60]
    assert result.explained == (0.0, 0.0)


def test_saved_clusters_load_as_they_were(tmp_path: Path) -> None:
    failed = (Failure(Path("x.png"), "the file is empty"),)
    result = replace(cluster_features(*draw()), failed=failed, model="m")
    result.save(tmp_path)
    assert Clustering.load(tmp_path) == result
    (tmp_path / "cluster.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="Cannot read the clusters"):
        Clustering.load(tmp_path)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="k must be 1 or more; got 0 · components must be 2 or more; got 1"):
        ClusterConfig(k=0, components=1)
    with pytest.raises(InputError, match="for k = 4; got 3"):
        cluster_features(draw()[0][:3], np.zeros((3, 2)), [""] * 3)


def test_thumbnails_keep_apart_and_take_dense_places_first() -> None:
    points = np.random.default_rng(2).normal(0, 1, (5000, 2))
    chosen = choose_apart(points, 40)
    assert 20 < len(chosen) <= 40
    cells = np.ptp(points, axis=0) / (15, 11)
    for at, one in enumerate(chosen):
        for other in chosen[:at]:
            assert (np.abs(points[one] - points[other]) >= 0.78 * cells).any()
    assert choose_apart(np.zeros((3, 2)), 5) == [0]


@pytest.fixture
def pictures(tmp_path: Path) -> Clustering:
    files, features, labels = draw(24, tmp_path)
    for at, file in enumerate(files[1:]):
        Image.new("RGB", (30, 20), (10 * at, 90, 90)).save(file)
    return cluster_features(files, features, labels, ClusterConfig(k=3), model="$odd_ <name>")


def test_map_is_a_picture_of_all_points(pictures: Clustering, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    drawn = draw_cluster_map(pictures, Figure().add_subplot())
    assert (drawn["n"], drawn["sizes"]) == (24, [12, 8, 4])
    with Image.open(save_cluster_map(pictures, tmp_path)) as image:
        assert image.size == (1650, 1260)


def test_page_holds_everything_and_nothing_can_break_out(pictures: Clustering, tmp_path: Path) -> None:
    evil = replace(pictures.assignments[0], label="</script><b>")
    result = replace(pictures, assignments=(evil, *pictures.assignments[1:]))
    html = save_cluster_page(result, tmp_path).read_text(encoding="utf-8")
    assert "http" not in html
    assert html.count("</script>") == 1
    assert "&lt;name&gt;" in html
    data = json.loads(re.findall(r"^const D = (.*);$", html, re.M)[0])
    assert len(data["x"]) == len(data["name"]) == len(data["label"]) == 24
    assert "</script><b>" in data["labels"]
    assert len(data["sheets"]) == 1
    assert data["sheets"][0].startswith("data:image/jpeg;base64,")
    assert str(tmp_path) not in html


def test_page_works_without_labels(pictures: Clustering) -> None:
    bare = tuple(replace(one, label="") for one in pictures.assignments)
    clusters = tuple(replace(one, labels={}, purity=None) for one in pictures.clusters)
    html = render_cluster_page(replace(pictures, assignments=bare, clusters=clusters, purity=None, rand=None))
    assert "Colour by" not in html
    assert "Commonest label" not in html
