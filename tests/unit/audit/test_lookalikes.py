"""Look-alikes: images of one apparatus, plate or shape are not joined, and their duplicates are found."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.helpers.audit_examples import draw_letter, render_texture

from georgia.audit import AuditConfig, group_catalog, run_audit
from georgia.audit.checks.duplicates import SameScene
from georgia.audit.near_duplicates.common import is_silhouette, learn_common
from georgia.audit.near_duplicates.descriptors import Description, describe_image
from georgia.audit.near_duplicates.search import Duplicates, GroupKind, find_near_duplicates
from georgia.images.symmetry import SYMMETRIES
from georgia.labels import Labels
from georgia.progress import Quiet
from georgia.records import Catalog, Record

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "benchmarks"))
planted: Any = importlib.import_module("planted_lookalikes")

# Duplicates that need not be found: a cropped silhouette or smooth cell could be another object.
UNSURE = {
    "solar cells, smooth": ("cropped",),
    "H silhouettes": ("cropped",),
    "hexagon silhouettes": ("cropped",),
}


def describe(scenes: Iterable[Any]) -> tuple[list[Description], list[Any]]:
    items = list(scenes)
    return [describe_image(np.repeat(item.pixels[:, :, None], 3, axis=2)) for item in items], items


def count_scenes(found: Duplicates, items: list[Any]) -> list[int]:
    return [len({items[member].scene for member in group}) for group in found.groups]


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(planted.LOOKALIKES))
def test_lookalikes_are_not_joined(kind: str) -> None:
    descriptions, items = describe(planted.render_lookalikes(kind, 60, seed=8))
    found = find_near_duplicates(descriptions)
    assert set(count_scenes(found, items)) == {1}
    joined = {member for group in found.groups for member in group}
    certain = [k for k, item in enumerate(items) if item.change and item.change != UNSURE.get(kind)]
    assert sum(k in joined for k in certain) >= 0.8 * len(certain)


@pytest.mark.slow
def test_frames_of_few_scenes_are_joined() -> None:
    for drift_px in (0.0, 0.4):
        descriptions, items = describe(planted.render_videos(4, 16, seed=8, drift_px=drift_px))
        found = find_near_duplicates(descriptions)
        assert count_scenes(found, items) == [1] * len(found.groups)
        assert max(map(len, found.groups)) == 16


def test_shape_at_two_places_is_a_question() -> None:
    letters = [draw_letter(20), draw_letter(48), draw_letter(20)[::-1].copy()]
    letters.append(np.where(letters[0] > 0, 230, 10).astype(np.uint8))
    found = find_near_duplicates([describe_image(image) for image in letters])
    assert found.groups == ((0, 2, 3),)
    assert found.kind_of(found.groups[0]) is GroupKind.OVERLAPPING
    assert len(found.same_scene) == 1
    assert 1 in found.same_scene[0]


def test_group_of_equal_pixels_is_exact() -> None:
    image = render_texture(1, 90, 80)
    found = find_near_duplicates([describe_image(image), describe_image(image[::-1])])
    assert found.kind_of(found.groups[0]) is GroupKind.EXACT


def test_unrelated_squares_have_nothing_common() -> None:
    rng = np.random.default_rng(0)
    common = learn_common(rng.standard_normal((40, 64, 64)).astype(np.float32))
    assert common is not None
    assert common.fraction.mean() < 0.03


def test_shared_structure_is_taken_off() -> None:
    rng = np.random.default_rng(1)
    frame = np.zeros((64, 64), np.float32)
    frame[20:24] = 3
    squares = rng.standard_normal((60, 64, 64)).astype(np.float32) + frame
    common = learn_common(squares)
    assert common is not None
    for symmetry in SYMMETRIES:
        own, weight = common.take_off(symmetry.apply(squares[0]))
        rows = symmetry.apply(frame) > 0
        assert abs(own[rows].mean()) < 0.3
        assert weight[rows].max() < 0.5 < weight[~rows].mean()


def test_images_with_nothing_own_are_common() -> None:
    rng = np.random.default_rng(2)
    scene = rng.standard_normal((64, 64)).astype(np.float32)
    assert learn_common(scene + 0.1 * rng.standard_normal((30, 64, 64)).astype(np.float32)) is None


def test_only_flat_shapes_are_silhouettes() -> None:
    assert is_silhouette(draw_letter(30)[::2, ::2, 0].copy())
    assert not is_silhouette(render_texture(2, 64, 64)[:, :, 0].copy())
    assert not is_silhouette(np.full((64, 64), 90, np.uint8))


def draw_discs(n: int, seed: int) -> list[np.ndarray]:
    """Return images (100, 100, 3) of discs, each 5 % larger than the one before, in sloping light."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:100, :100] / 100 - 0.5
    discs = []
    for k in range(n):
        edge = np.clip(0.5 - 40 * (np.hypot(x, 0.9 * y) - 0.14 * 1.05**k), 0, 1)
        slope = 90 + x * rng.uniform(-60, 60) + y * rng.uniform(-60, 60)
        light = slope + edge * rng.choice((-1, 1)) * rng.uniform(35, 60) + rng.normal(0, 3, x.shape)
        discs.append(np.repeat(np.clip(light, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2))
    return discs


def test_round_particles_of_any_light_are_not_joined() -> None:
    """Bubbles and droplets: one shape of many sizes; nothing says that two of them are one."""
    discs = draw_discs(20, seed=1)
    again = [np.clip(discs[k].astype(np.int16) + 12, 0, 255).astype(np.uint8) for k in (3, 9, 15)]
    again[1] = np.ascontiguousarray(np.rot90(again[1]))
    found = find_near_duplicates([describe_image(image) for image in [*discs, *again]])
    assert found.groups == ((3, 20), (9, 21), (15, 22))
    assert found.same_scene, "what they have in common is a question"


def test_slope_and_noise_hide_no_silhouette() -> None:
    assert all(is_silhouette(describe_image(disc).square) for disc in draw_discs(12, seed=2))
    y, x = np.mgrid[:64, :64]
    for slope in (x + y, 2 * x, np.hypot(x - 32, y - 32) * 3, 60 * np.sin(x / 8) + 100):
        assert not is_silhouette(slope.astype(np.uint8))


@pytest.fixture
def letters(tmp_path: Path) -> Catalog:
    """Two letters of one shape at two places, and textures."""
    images = {"CEX/a.png": draw_letter(20), "PG/b.png": draw_letter(48)}
    images |= {f"{'CEX' if k % 2 else 'PG'}/{k}.png": render_texture(k, 60, 64) for k in range(8)}
    for name, image in images.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / name)
    records = tuple(Record(tmp_path / name, name.split("/")[0]) for name in sorted(images))
    return Catalog(tmp_path, Labels(("CEX", "PG")), records)


class Listener(Quiet):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_question_is_asked_and_decided(letters: Catalog) -> None:
    listener = Listener()
    apart = group_catalog(letters, AuditConfig(), listener)
    assert not any(record.group for record in apart.records)
    assert "same scene or apparatus? 2 files" in listener.lines[0]
    joined = group_catalog(letters, AuditConfig(same_scene="join"))
    assert {record.path.name for record in joined.records if record.group} == {"a.png", "b.png"}


def test_finding_says_kind_of_groups(letters: Catalog) -> None:
    audit = run_audit(letters, AuditConfig(n_permutations=99))
    (finding,) = [found for found in audit.findings if found.check == SameScene.name]
    assert finding.evidence["group_kinds"] == ["same scene or apparatus"]
    assert "are not kept together" in finding.message
    assert finding.files == ("CEX/a.png", "PG/b.png")
    assert not audit.pairs
