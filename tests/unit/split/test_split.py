"""Laws of splitting: no group in two splits, each class near its target, whatever the order and place."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.labels import Labels
from georgia.records import SPLITS, Catalog, Record
from georgia.split.assign import assign_groups
from georgia.split.make import Split, SplitConfig, kfold_split, make_split

ROOT = Path("/data/set")


def make_catalog(counts: dict[str, int], group_size: int = 1, root: Path = ROOT) -> Catalog:
    """Return a catalog without files: ``counts`` images of each class, in groups of one size."""
    records = []
    for name, n in counts.items():
        for index in range(n):
            group = f"{name}-{index // group_size}" if group_size > 1 else ""
            records.append(Record(root / name / f"{name} ({index + 1}).png", name, group))
    return Catalog(root, Labels(tuple(counts)), tuple(records))


def make_random_catalog(seed: int, n_groups: int = 60, mixed: bool = False) -> Catalog:
    rng = random.Random(seed)
    names = ("CEX", "PG", "third")
    records = []
    for index in range(n_groups):
        own = names[index % 3]
        for copy in range(rng.choice([1, 1, 2, 3, 8, 12])):
            name = rng.choice(names) if mixed else own
            records.append(Record(ROOT / name / f"{index}_{copy}.png", name, f"g{index}"))
    return Catalog(ROOT, Labels(names), tuple(records))


def splits_by_name(split: Split) -> dict[str, str]:
    return {record.path.relative_to(split.root).as_posix(): record.split for record in split.records}


# --- name order: the study ---------------------------------------------------------------------


def test_name_order_gives_study_counts():
    split = make_split(make_catalog({"PG": 6804, "CEX": 6860}), SplitConfig(order="name"))
    assert split.counts == {
        "train": {"PG": 4762, "CEX": 4802},
        "valid": {"PG": 1701, "CEX": 1715},
        "test": {"PG": 341, "CEX": 343},
    }


def test_name_order_sorts_as_text():
    split = make_split(make_catalog({"A": 20, "B": 20}), SplitConfig(order="name"))
    own = sorted((r.path.name, SPLITS.index(r.split)) for r in split.records if r.class_name == "A")
    assert [split for _, split in own] == [0] * 14 + [1] * 5 + [2]
    assert own[-1][0] == "A (9).png"


def test_name_order_reports_leaks():
    split = make_split(make_catalog({"A": 100, "B": 100}, group_size=10), SplitConfig(order="name"))
    assert len(split.leaks) > 0
    assert set(split.leaks) <= {f"{name}-{index}" for name in "AB" for index in range(10)}


# --- grouped order -----------------------------------------------------------------------------


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_grouped_order_never_leaks(seed, mixed):
    split = make_split(make_random_catalog(seed, mixed=mixed), SplitConfig(seed=seed))
    assert split.leaks == ()
    assert split.n_groups == 60
    splits: dict[str, set[str]] = {}
    for record in split.records:
        splits.setdefault(record.group, set()).add(record.split)
    assert all(len(names) == 1 for names in splits.values())


@pytest.mark.parametrize("seed", range(6))
def test_grouped_order_meets_target_fractions(seed):
    split = make_split(make_random_catalog(seed, n_groups=300), SplitConfig(seed=seed))
    assert max(abs(d) for row in split.distance.values() for d in row.values()) < 0.01


@pytest.mark.slow
def test_grouped_order_meets_target_within_one():
    split = make_split(make_catalog({"PG": 6804, "CEX": 6860}))
    for part, fraction in zip(SPLITS, (0.7, 0.25, 0.05), strict=True):
        for name, n in (("PG", 6804), ("CEX", 6860)):
            assert abs(split.counts[part][name] - fraction * n) <= 1


@pytest.mark.parametrize("seed", range(8))
def test_assign_groups_is_near_optimum(seed):
    rng = np.random.default_rng(seed)
    counts = np.zeros((8, 2), np.int64)
    counts[:5, 0] = rng.integers(1, 9, 5)
    counts[5:, 1] = rng.integers(1, 9, 3)
    fractions = np.array([0.6, 0.25, 0.15])

    def distance(splits) -> float:
        have = np.array([counts[np.asarray(splits) == split].sum(axis=0) for split in range(3)])
        target = fractions[:, None] * counts.sum(axis=0)
        empty = 1e6 * (have == 0).sum()
        return float(((have - target) ** 2 / (fractions[:, None] * counts.sum(axis=0) ** 2)).sum() + empty)

    best = min(distance(splits) for splits in itertools.product(range(3), repeat=8))
    assert distance(assign_groups(counts, fractions.tolist(), seed)) <= best * 1.5 + 0.02


def test_grouped_order_fills_three_splits():
    split = make_split(make_catalog({"A": 300, "B": 30}, group_size=10))
    assert {part: split.counts[part]["B"] for part in SPLITS} == {"train": 10, "valid": 10, "test": 10}


def test_split_ignores_record_order():
    catalog = make_random_catalog(1, mixed=True)
    records = list(catalog.records)
    random.Random(0).shuffle(records)
    shuffled = Catalog(catalog.root, catalog.labels, tuple(records))
    assert splits_by_name(make_split(catalog)) == splits_by_name(make_split(shuffled))


def test_split_ignores_folder_location():
    here = make_catalog({"A": 50, "B": 70})
    there = make_catalog({"A": 50, "B": 70}, root=Path("/elsewhere/x"))
    assert splits_by_name(make_split(here)) == splits_by_name(make_split(there))


def test_split_ignores_group_names():
    catalog = make_random_catalog(2)
    renamed = [Record(r.path, r.class_name, f"z{hash(r.group) % 997}-{r.group}") for r in catalog.records]
    other = Catalog(catalog.root, catalog.labels, tuple(renamed))
    assert splits_by_name(make_split(catalog)) == splits_by_name(make_split(other))


def test_split_depends_on_seed():
    catalog = make_catalog({"A": 100, "B": 100})
    first, again = make_split(catalog), make_split(catalog)
    other = make_split(catalog, SplitConfig(seed=7))
    assert first.records == again.records
    assert first.records != other.records
    assert first.counts == other.counts


def test_fraction_of_zero_leaves_split_empty():
    for order in ("grouped", "name"):
        split = make_split(make_catalog({"A": 11, "B": 11}), SplitConfig((0.8, 0.2, 0.0), order))
        assert split.counts["test"] == {"A": 0, "B": 0}


# --- what cannot be split ----------------------------------------------------------------------


def test_too_few_groups_suggest_what_works():
    with pytest.raises(InputError, match=r"3 groups or more.*got B: 2 groups \(20 files\).*0\.7,0,0\.3"):
        make_split(make_catalog({"A": 100, "B": 20}, group_size=10))
    with pytest.raises(InputError, match=r"got B: 1 groups \(10 files\)\. Bring images of more crystals"):
        make_split(make_catalog({"A": 100, "B": 10}, group_size=10))
    split = make_split(make_catalog({"A": 100, "B": 20}, group_size=10), SplitConfig((0.7, 0, 0.3)))
    assert split.counts["test"]["B"] == 10


def test_name_order_rejects_too_few_files():
    with pytest.raises(
        InputError, match=r"every split needs an image of every class; got none for valid of B"
    ):
        make_split(make_catalog({"A": 100, "B": 3}), SplitConfig(order="name"))


@pytest.mark.parametrize(
    "fractions",
    [(0.7, 0.3), (70, 25, 5), (0.7, 0.25, 0.1), (0.0, 0.5, 0.5), (1.2, -0.2, 0.0), (float("nan"),) * 3],
)
def test_config_rejects_wrong_fractions(fractions):
    with pytest.raises(InputError, match="fractions must be (three that sum to 1|from 0 to 1|finite)"):
        SplitConfig(fractions)


def test_given_order_keeps_splits():
    records = tuple(
        Record(ROOT / part / name / f"{index}.png", name, split=part)
        for part in SPLITS for name in "AB" for index in range(2)
    )  # fmt: skip
    catalog = Catalog(ROOT, Labels(("A", "B")), records)
    assert make_split(catalog, SplitConfig(order="given")).records == records
    with pytest.raises(InputError, match="needs a source whose images have a split; got 10 images without"):
        make_split(make_catalog({"A": 5, "B": 5}), SplitConfig(order="given"))


# --- manifest ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["grouped", "name"])
def test_split_survives_save_and_load(tmp_path, order):
    catalog = make_random_catalog(3, n_groups=90)
    odd = Record(ROOT / "CEX" / 'a, "b"; µ.png', "CEX", "gröup, 1", time="2024-01-01")
    catalog = Catalog(ROOT, catalog.labels, (odd, *catalog.records))
    split = make_split(catalog, SplitConfig(order=order))
    split.save(tmp_path)
    assert Split.load(tmp_path) == split
    moved = Split.load(tmp_path, root=Path("/new"))
    assert splits_by_name(moved) == splits_by_name(split)
    info = json.loads((tmp_path / "split.json").read_text())
    assert info["counts"] == split.counts
    assert info["leaks"] == len(split.leaks)
    assert info["n_groups"] == split.n_groups
    assert (info["order"], info["seed"], info["fractions"]) == (order, 42, [0.7, 0.25, 0.05])


def test_load_names_broken_manifest(tmp_path):
    with pytest.raises(
        InputError, match=r"Cannot read the split in .*: split\.csv and split\.json are needed"
    ):
        Split.load(tmp_path)
    (tmp_path / "split.json").write_text("{}")
    (tmp_path / "split.csv").write_text("")
    with pytest.raises(InputError, match="Cannot read the split in"):
        Split.load(tmp_path)


# --- folds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("valid_fraction", [0.0, 0.2])
def test_kfold_tests_every_image_once(valid_fraction):
    catalog = make_random_catalog(4, n_groups=90)
    splits = kfold_split(catalog, 5, seed=1, valid_fraction=valid_fraction)
    tested = [record.path for split in splits for record in split.subset("test")]
    assert sorted(tested) == sorted(record.path for record in catalog.records)
    for split in splits:
        assert split.leaks == ()
        assert len(split.records) == len(catalog.records)
        assert bool(split.subset("valid")) == (valid_fraction > 0)
        assert max(abs(d) for row in split.distance.values() for d in row.values()) < 0.1


def test_kfold_needs_groups():
    with pytest.raises(
        InputError, match=r"each class needs 5 groups or more, one for each of 5 folds; got B: 3"
    ):
        kfold_split(make_catalog({"A": 100, "B": 30}, group_size=10), 5)
    with pytest.raises(InputError, match="two folds or more"):
        kfold_split(make_catalog({"A": 100, "B": 30}), 1)
