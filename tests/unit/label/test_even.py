"""The random order of a pool: it stays when images come; what was chosen by it is a simple random sample."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.labelling import write_crops

from georgia.label.even import (
    EvenChooser,
    EvenSample,
    choose_time_parts,
    find_even_sample,
    find_parts,
    number_units,
    order_evenly,
    order_pool,
)
from georgia.label.journal import Journal
from georgia.label.records import ChoiceReason, Item, Label, Pool, PoolKind
from georgia.label.settings import LabelConfig
from georgia.label.start import open_pool


def make_pool(n: int, duplicates: tuple[tuple[int, ...], ...] = ()) -> Pool:
    items = [Item(f"c{number}.png", Path(f"c{number}.png")) for number in range(n)]
    for number, members in enumerate(duplicates):
        for member in members:
            items[member] = replace(items[member], duplicates=number)
    return Pool(Path(), tuple(items), PoolKind.CROPS)


def make_label(pool: Pool, at: int, reason: ChoiceReason = ChoiceReason.EVEN) -> Label:
    return Label(pool.items[at].path, "PG", "A. Miller", "", reason=reason)


def test_order_stays_when_images_come() -> None:
    paths = [f"c{number}.png" for number in range(50)]
    wider = [path for pair in zip([f"b{n}.png" for n in range(50)], paths, strict=True) for path in pair]
    before = [paths[at] for at in order_evenly(paths, 7)]
    assert [wider[at] for at in order_evenly(wider, 7) if wider[at] in paths] == before
    assert before != [paths[at] for at in order_evenly(paths, 8)]


def test_order_is_even() -> None:
    """Each of five items comes first about as often; 2,000 seeds, 400 ± 5 standard deviations of 18."""
    paths = [f"frame-{number:05}.png" for number in range(5)]
    firsts = Counter(int(order_evenly(paths, seed)[0]) for seed in range(2000))
    assert all(310 < firsts[at] < 490 for at in range(5)), firsts


def test_chooser_goes_down_the_order() -> None:
    pool = make_pool(10, ((1, 8),))
    order = order_evenly([item.path for item in pool.items], 3).tolist()
    choices = EvenChooser(pool, 3).next(20, {order[0]: "PG"}, held=[order[2]])
    chosen = [choice.index for choice in choices]
    assert [at for at in order if at in chosen] == chosen
    assert order[0] not in chosen
    assert order[2] not in chosen
    assert len({1, 8} & set(chosen)) <= 1
    # Among what is left, named and held ones not; the two duplicates are one keystroke and two chances.
    left = len(order) - 2
    for choice in choices:
        n_own = 2 if choice.index in (1, 8) else 1
        assert choice.probability == n_own / left
        left -= n_own
    assert left == 0


def test_even_sample_is_all_up_to_the_last_chosen() -> None:
    """What was named for another reason before its turn belongs to it; what stands behind does not."""
    pool = make_pool(10)
    order = order_evenly([item.path for item in pool.items], 3).tolist()
    uncertain = ChoiceReason.UNCERTAIN
    labels = {
        order[0]: make_label(pool, order[0]),
        order[1]: make_label(pool, order[1], uncertain),
        order[3]: make_label(pool, order[3]),
        order[6]: make_label(pool, order[6], uncertain),
    }
    found = find_even_sample(pool, labels, 3)
    assert found.labelled == tuple(sorted([order[0], order[1], order[3]]))
    # Sampled and passed over: hard ones, which figures lack.
    assert found.missing == (order[2],)
    assert find_even_sample(pool, {order[6]: labels[order[6]]}, 3) == EvenSample((), ())


def test_even_sample_of_duplicates_ends_where_the_first_stands() -> None:
    order = order_evenly([f"c{number}.png" for number in range(10)], 3).tolist()
    # The set is chosen when its first member comes up, though another may be shown and named.
    first, last = order[1], order[8]
    pool = make_pool(10, ((first, last),))
    label = make_label(pool, last)
    labels = {first: label, last: label, order[5]: make_label(pool, order[5], ChoiceReason.SPREAD)}
    assert find_even_sample(pool, labels, 3) == EvenSample((first,), (order[0],))


def make_timed_pool(n_frames: int, per_frame: int = 2, names: str = "f{:02}.png") -> Pool:
    """Windows of frames in the order of time, with the parts of that time."""
    items = [
        Item(f"{names.format(frame)}#xywh={at},0,9,9", Path(names.format(frame)), (at, 0, 9, 9), time_s=frame)
        for frame in range(n_frames)
        for at in range(per_frame)
    ]
    pool = Pool(Path(), tuple(items), PoolKind.FRAMES)
    return replace(pool, time_parts=choose_time_parts(pool))


def test_order_goes_through_all_of_the_time() -> None:
    pool = make_timed_pool(40, 3)
    assert pool.time_parts == tuple(f"f{4 * part:02}.png" for part in range(1, 10))
    parts = find_parts(pool)
    assert np.bincount(parts).tolist() == [12] * 10
    order = order_pool(pool, 5)
    for n in (10, 20, 35, 60):
        counts = np.bincount(parts[order[:n]], minlength=10)
        assert counts.max() - counts.min() <= 1
    own = [at for at in order_evenly([item.path for item in pool.items], 5) if parts[at] == 3]
    assert [at for at in order if parts[at] == 3] == own


def test_every_item_is_as_likely_to_be_sampled() -> None:
    """Parts of unlike size, 2,000 seeds: each of 24 items is among the first six 500 ± 5 × 19 times."""
    pool = make_timed_pool(12)
    pool = replace(pool, time_parts=("f02.png", "f05.png"))
    counts = np.zeros(24)
    for seed in range(2000):
        counts[order_pool(pool, seed)[:6]] += 1
    assert np.abs(counts - 500).max() < 97, counts


def test_draws_are_as_probable_as_they_say() -> None:
    """Of 3,000 seeds: each unit is first of its part as often as the written probabilities promise."""
    pool = make_timed_pool(8)
    pool = replace(pool, time_parts=("f04.png",))
    items = list(pool.items)
    for at in (0, 1, 2):  # three duplicates in the first part
        items[at] = replace(items[at], duplicates=0)
    for at in (7, 8):  # one in each part
        items[at] = replace(items[at], duplicates=1)
    pool = replace(pool, items=tuple(items))
    parts, unit = find_parts(pool), number_units(16, np.array([item.duplicates for item in items]))
    sampled, promised, n_of_part = Counter(), {}, Counter()
    for seed in range(3000):
        # One is named already, for another reason, and one is before another page.
        (choice,) = EvenChooser(pool, seed).next(1, {5: "PG"}, held=[12])
        key = int(parts[choice.index]), int(unit[choice.index])
        assert promised.setdefault(key, choice.probability) == choice.probability
        sampled[key] += 1
        n_of_part[key[0]] += 1
    assert promised[0, 0] == 3 / 7
    assert sum(p for key, p in promised.items() if key[0] == 0) == pytest.approx(1)
    for key, probability in promised.items():
        n = n_of_part[key[0]]
        assert sampled[key] == pytest.approx(
            n * probability, abs=5 * (n * probability * (1 - probability)) ** 0.5
        )


def test_parts_of_time_stay_those_of_the_first_start(tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    write_crops(folder, 10)
    for at in range(10):
        os.utime(folder / f"c{at}.png", (1000 + at, 1000 + at))
    with Journal(tmp_path / "labels.csv") as journal:
        begun = open_pool(folder, journal, LabelConfig(cut="crops"))
    assert begun.time_parts == tuple(f"c{at}.png" for at in range(1, 10))
    # Copied, all at one time, and more of them: the order of what is there stays.
    write_crops(folder, 14)
    with Journal(tmp_path / "labels.csv") as journal:
        again = open_pool(folder, journal, LabelConfig(cut="crops"))
    assert (len(again.items), again.time_parts) == (14, begun.time_parts)
    # A labelling that was begun by an earlier version keeps its order.
    with Journal(tmp_path / "old.csv") as journal:
        journal.begin({"root": str(folder), "seed": 42})
        pool = open_pool(folder, journal, LabelConfig(cut="crops"))
    paths = [item.path for item in pool.items]
    assert order_pool(pool, journal.seed).tolist() == order_evenly(paths, journal.seed).tolist()


def test_parts_of_time_need_names_in_its_order() -> None:
    pool = make_timed_pool(20)
    backwards = replace(pool, items=tuple(replace(item, time_s=-(item.time_s or 0)) for item in pool.items))
    unknown = replace(pool, items=tuple(replace(item, time_s=item.time_s or None) for item in pool.items))
    at_once = replace(pool, items=tuple(replace(item, time_s=1.0) for item in pool.items))
    for other in (backwards, unknown, at_once):
        assert choose_time_parts(other) == ()
    # Counters without leading zeros are in the order of time; later frames belong to the last part.
    counted = make_timed_pool(20, names="f{}.png")
    assert counted.time_parts[-1] == "f18.png"
    wider = replace(make_timed_pool(30, names="f{}.png"), time_parts=counted.time_parts)
    assert find_parts(wider)[-1] == 9
