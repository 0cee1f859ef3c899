"""``georgia split`` with the audit's groups: duplicates stay together, folds, saved audits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.audit_examples import render_textures

from georgia.audit import AuditConfig, run_audit
from georgia.catalog.read import read_catalog
from georgia.images.symmetry import Symmetry

Command = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def crystals(tmp_path: Path) -> Path:
    """Five crystals a class, each with a rotated and a mirrored duplicate; name order separates them."""
    example = render_textures(5)
    for place, name in enumerate(("CEX", "PG")):
        for number in range(5):
            image = example.images[5 * place + number].image
            assert image is not None
            example = example.add(f"{name}/{number + 5}.png", Symmetry.ROTATE_90.apply(image))
            example = example.add(f"{name}/{number + 10}.png", Symmetry.FLIP_LEFT_RIGHT.apply(image))
    example.write(tmp_path / "data")
    return tmp_path / "data"


def test_split_keeps_duplicates_together(georgia: Command, crystals: Path, tmp_path: Path) -> None:
    args = ("split", crystals, "--mode", "manifest", "--fractions", "0.6,0.2,0.2")
    code, result, _ = georgia(*args, "--out", tmp_path / "a")
    assert code == 0
    assert (result["n_groups"], result["groups_from"], result["leaks"]) == (10, "audit", 0)
    assert result["counts"]["test"] == {"CEX": 3, "PG": 3}
    code, result, _ = georgia(*args, "--out", tmp_path / "b", "--audit", "none")
    assert (code, result["n_groups"], result["groups_from"]) == (0, 30, "source")


def test_name_order_reports_test_leaks(georgia: Command, crystals: Path, tmp_path: Path) -> None:
    args = ("split", crystals, "--out", tmp_path / "a", "--mode", "manifest", "--order", "name")
    code, result, err = georgia(*args, "--fractions", "0.6,0.2,0.2")
    assert code == 0
    assert result["leaks"] == 10
    assert "6 of 6 test images have an image of their group in train" in err


@pytest.mark.slow
def test_split_uses_saved_audit(georgia: Command, crystals: Path, tmp_path: Path) -> None:
    config = AuditConfig(group_regex=r"/([01])\.png$")
    run_audit(read_catalog(crystals, verify=False), config).save(tmp_path / "audit")
    options = ("--mode", "manifest", "--fractions", "0.6,0.2,0.2")
    code, result, _ = georgia(
        "split", crystals, *options, "--audit", tmp_path / "audit", "--out", tmp_path / "a"
    )
    assert (code, result["n_groups"]) == (0, 8)
    table = tmp_path / "audit" / "audit.csv"
    again = georgia("split", table, "--audit", "none", *options, "--out", tmp_path / "b")
    assert again[1]["counts"] == result["counts"]


@pytest.mark.slow
def test_split_rejects_foreign_audit(georgia: Command, crystals: Path, tmp_path: Path) -> None:
    render_textures(3).write(tmp_path / "other")
    run_audit(read_catalog(tmp_path / "other", verify=False), AuditConfig()).save(tmp_path / "audit")
    code, _, err = georgia("split", crystals, "--out", tmp_path / "a", "--audit", tmp_path / "audit")
    assert code == 2
    assert "it must know every image" in err


def test_folds_test_each_image_once(georgia: Command, crystals: Path, tmp_path: Path) -> None:
    code, result, _ = georgia("split", crystals, "--out", tmp_path / "f", "--folds", "5")
    assert (code, len(result["folds"]), result["leaks"]) == (0, 5, 0)
    assert [fold["counts"]["test"] for fold in result["folds"]] == [{"CEX": 3, "PG": 3}] * 5
    assert all(sum(fold["counts"]["valid"].values()) for fold in result["folds"])
    assert sorted(path.name for path in (tmp_path / "f").iterdir()) == [f"fold-{n}" for n in range(1, 6)]
    assert not list((tmp_path / "f").rglob("*.png"))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--folds", "1"), "two or more are needed"),
        (("--folds", "3", "--mode", "move"), "can move into one fold only"),
        (("--folds", "3", "--order", "name"), "they are grouped"),
        (("--folds", "9"), "each class needs 9 groups or more"),
    ],
)
def test_impossible_folds_are_rejected(
    georgia: Command, crystals: Path, tmp_path: Path, args: tuple[str, ...], message: str
) -> None:
    code, _, err = georgia("split", crystals, "--out", tmp_path / "f", *args)
    assert code == 2
    assert message in err
