"""A spot check in a monitor's store: its plan is enough, and no other image than that analysed is shown."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.spotcheck import add_frame, copy_batch

from georgia.errors import InputError, UnreadableImageError
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store
from georgia.spotcheck import SpotcheckConfig, read_batch
from georgia.spotcheck.check import compare_names, estimate
from georgia.spotcheck.checked import CheckedFractions, measure_check
from georgia.spotcheck.curve import cut_spans, estimate_curve
from georgia.spotcheck.export import list_named
from georgia.spotcheck.in_store import (
    begin_check,
    estimate_spans,
    extend_check,
    list_windows,
    make_plan,
    read_frame_file,
    read_plan,
)
from georgia.spotcheck.names_table import find_kinds
from georgia.spotcheck.plan import Population, draw_windows
from georgia.spotcheck.sources import choose_batch


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("template")


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Iterator[Store]:
    store = copy_batch(template, tmp_path)
    yield store
    store.close()


def read_truth(folder: Path, file: str, box: tuple[int, ...]) -> str:
    from PIL import Image

    left, top, width, height = box
    with Image.open(folder / file) as image:
        pixels = np.asarray(image)[top : top + height, left : left + width]
    return "PG" if pixels.mean() > 127 else "CEX"


def name_all(store: Store, check_id: int, frames: Path) -> None:
    for window in list_windows(store.spotcheck(check_id)):
        store.name_window(check_id, window.position, read_truth(frames, window.file, window.box), "Ann")


def test_plan_holds_all_that_names_are_compared_with(store: Store, tmp_path: Path) -> None:
    config = SpotcheckConfig(n=30)
    check = begin_check(store, store.batch(1), config, "Ann")
    windows = list_windows(check)
    names = [read_truth(tmp_path / "frames", window.file, window.box) for window in windows]
    # The same windows, sampled and measured the way that a folder's check is.
    source = read_batch(str(tmp_path / "m.db"), "B-1", None)
    population = Population.from_probabilities(source.probabilities[:, 1])
    draws = list(draw_windows(population, config))
    assert [(window.file, window.box) for window in windows] == [
        (source.windows[draw.window].file, source.windows[draw.window].box) for draw in draws
    ]
    wanted = estimate(source, population, draws, [(name, "") for name in names], config)
    assert compare_names(read_plan(check), names) == wanted
    spans = cut_spans(source.times_s, config.spans)
    kinds = find_kinds(names, "PG")
    curve = estimate_spans(check, read_plan(check), names)
    assert [span.interval for span in curve] == estimate_curve(population, draws, kinds, spans)
    assert [span.n_windows for span in curve] == np.bincount(spans).tolist()
    assert [window.probability for window in windows] == [
        float(draw.probabilities[draw.level]) for draw in draws
    ]


@pytest.mark.slow
def test_result_outlives_maps_and_frames(store: Store, tmp_path: Path) -> None:
    check = begin_check(store, store.batch(1), SpotcheckConfig(n=20), "Ann")
    for window in list_windows(check):
        store.name_window(
            check.id, window.position, read_truth(tmp_path / "frames", window.file, window.box), "Ann"
        )
    before = measure_check(store, store.spotcheck(check.id)).result
    store.remove_old("Ann", keep_maps_days=1e-9)
    shutil.rmtree(tmp_path / "frames")
    assert measure_check(store, store.spotcheck(check.id)).result == before
    assert before.interval is not None
    assert verify_store(store).is_whole
    with pytest.raises(InputError, match="got none, and 20 frames whose maps were removed"):
        make_plan(store, store.batch(1), SpotcheckConfig())


@pytest.mark.slow
def test_interval_holds_the_true_fraction(store: Store, tmp_path: Path) -> None:
    check = begin_check(store, store.batch(1), SpotcheckConfig(n=60), "Ann")
    frames = tmp_path / "frames"
    name_all(store, check.id, frames)
    source = read_batch(str(tmp_path / "m.db"), "B-1", None)
    truth = np.mean([read_truth(frames, each.file, each.box or ()) == "PG" for each in source.windows])
    found = CheckedFractions(store).counting(store.batch(1))
    assert found is not None
    assert found.is_complete
    interval = found.result.interval
    assert interval is not None
    assert interval.low <= truth <= interval.high
    assert found.to_json_dict()["named_by"] == ["Ann"]


def test_running_batch_is_checked_until_now(store: Store, tmp_path: Path) -> None:
    batch = store.batch(1)
    check = begin_check(store, batch, SpotcheckConfig(n=10), "Ann")
    assert (check.body["through"]["ordinal"], check.body["through"]["is_running"]) == (20, True)
    checks = CheckedFractions(store)
    store.name_window(check.id, 1, "PG", "Ann")
    found = checks.counting(store.batch(1))
    assert found is not None
    assert not found.is_part
    add_frame(store, 1, tmp_path / "frames", 21, "PPPP", [0.9] * 4)
    found = checks.counting(store.batch(1))
    assert found is not None
    assert found.is_part, "the frame that came later is not in it"
    assert {window.ordinal for window in list_windows(check)} <= set(range(1, 21))
    later = begin_check(store, store.batch(1), SpotcheckConfig(n=10), "Ann", "the batch went on")
    assert later.body["through"]["ordinal"] == 21
    assert later.body["n_windows"] == check.body["n_windows"] + 4
    newest, counting = checks.newest(store.batch(1)), checks.counting(store.batch(1))
    assert newest is not None
    assert counting is not None
    assert (newest.check.id, counting.check.id) == (later.id, check.id), (
        "a check counts from its first name on"
    )


def test_check_goes_on_with_the_batch(store: Store, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    first = begin_check(store, store.batch(1), SpotcheckConfig(n=20), "Ann")
    with pytest.raises(InputError, match="frames that came since it was planned are needed; got none"):
        extend_check(store, store.batch(1), SpotcheckConfig(), "Ann")
    name_all(store, first.id, frames)
    checks = CheckedFractions(store)
    alone = checks.counting(store.batch(1))
    for number in range(21, 31):
        add_frame(store, 1, frames, number, "PPPC", [0.6, 0.9, 0.3, 0.1])
    later = extend_check(store, store.batch(1), SpotcheckConfig(seed=9), "Ann")
    # As densely as before: 20 of 80, so 10 of 40, all of them new.
    assert (later.n_sampled, later.body["n_windows"], later.body["form"]) == (10, 40, 2)
    assert {window.ordinal for window in list_windows(later)} <= set(range(21, 31))
    assert checks.counting(store.batch(1)).check.id == first.id, "it counts from its first name on"  # type: ignore[union-attr]
    name_all(store, later.id, frames)
    found = checks.counting(store.batch(1))
    assert alone is not None
    assert found is not None
    assert (found.check.id, found.is_part, found.is_complete) == (later.id, False, True)
    told = found.to_json_dict()
    assert (told["n"], told["n_sampled"], told["n_windows"], told["n_frames"]) == (30, 30, 120, 30)
    assert (told["extends"], told["through_ordinal"]) == ([first.id], 30)
    source = read_batch(str(tmp_path / "m.db"), "B-1", None)
    truth = np.mean([read_truth(frames, each.file, each.box or ()) == "PG" for each in source.windows])
    assert told["low"] <= truth <= told["high"]
    assert told["fraction"] > alone.to_json_dict()["fraction"], "the frames that came show more of it"
    assert [span["n_windows"] for span in told["curve"]][:4] == [20] * 4
    assert [span["n_windows"] for span in told["curve"]][4:] == [20, 20]
    assert told["raw_fraction"] == pytest.approx(source.measure_fraction(1))
    assert [row["check"] for row in list_named(found)] == [first.id] * 20 + [later.id] * 10
    assert [row["order"] for row in list_named(found)] == list(range(1, 31))
    # What was named before the second plan stays as it is; so does that plan.
    with pytest.raises(InputError, match=f"got one that check {later.id} extends"):
        store.withdraw_name(first.id, 20, "Ann")
    with pytest.raises(InputError, match="the newest check of its batch is needed"):
        store.plan_spotcheck(1, {**later.body, "extends": {"check": first.id}}, "Ann")
    assert verify_store(store).is_whole


def test_plan_that_was_extended_is_the_one_meant(store: Store, tmp_path: Path) -> None:
    first = begin_check(store, store.batch(1), SpotcheckConfig(n=4), "Ann")
    add_frame(store, 1, tmp_path / "frames", 21, "PPPP", [0.9] * 4)
    later = extend_check(store, store.batch(1), SpotcheckConfig(), "Ann", n=2)
    with store.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE spotchecks SET plan = replace(plan, '0.95', '0.9') WHERE id = {first.id}"
        )
    with pytest.raises(InputError, match="which it extends, is needed as it was"):
        measure_check(store, later)
    assert not verify_store(store).is_whole
    for plan in ("[]", "{", '{"extends": 7}', '{"extends": {"check": 99}}', '{"extends": {}}'):
        with store.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE spotchecks SET plan = ? WHERE id = ?", (plan, later.id))
        for ask in (
            lambda: measure_check(store, store.spotcheck(later.id)),
            lambda: extend_check(store, store.batch(1), SpotcheckConfig(), "Ann"),
        ):
            with pytest.raises(InputError, match="Cannot|altered"):
                ask()


def test_names_by_class_and_their_error_are_told(store: Store) -> None:
    check = begin_check(store, store.batch(1), SpotcheckConfig(n=6, class_name="CEX"), "Ann")
    for position, name in enumerate(("CEX", "neither", "unclear", "PG"), start=1):
        store.name_window(check.id, position, name, "Ann")
    found = CheckedFractions(store).newest(store.batch(1))
    assert found is not None
    told = found.to_json_dict()
    assert (told["class"], told["n"], told["n_unclear"], told["is_complete"]) == ("CEX", 4, 1, False)
    assert told["error_low"] <= told["error"] <= told["error_high"]


def test_frame_that_is_gone_or_another_is_never_shown(store: Store, tmp_path: Path) -> None:
    window = list_windows(begin_check(store, store.batch(1), SpotcheckConfig(n=1), "Ann"))[0]
    frames = tmp_path / "frames"
    assert read_frame_file(frames, window)[:4] == b"\x89PNG"
    (frames / window.file).write_bytes(
        (frames / ("f1.png" if window.file != "f1.png" else "f2.png")).read_bytes()
    )
    with pytest.raises(UnreadableImageError, match="its file holds another image now"):
        read_frame_file(frames, window)
    (frames / window.file).unlink()
    with pytest.raises(UnreadableImageError, match="its file is gone"):
        read_frame_file(frames, window)
    with pytest.raises(UnreadableImageError, match="outside of the frames' folder"):
        read_frame_file(frames, replace(window, file="../m.db"))


@pytest.mark.parametrize(
    ("batch", "config", "text"),
    [
        (1, SpotcheckConfig(class_name="salt"), "one of CEX, PG is needed; got 'salt'"),
        (2, SpotcheckConfig(), "one window or more that is not empty is needed; got none"),
    ],
)
def test_what_cannot_be_checked_is_named(
    store: Store, batch: int, config: SpotcheckConfig, text: str
) -> None:
    store.begin_batch("other", "empty", "Ann", "PG", "ann@host")
    with pytest.raises(InputError, match=text):
        make_plan(store, store.batch(batch), config)


@pytest.mark.parametrize(("wanted", "named"), [("", "a batch"), ("B1", "batch 'B1'")])
def test_store_without_batch_is_told_as_that(wanted: str, named: str) -> None:
    with pytest.raises(
        InputError, match=f"Cannot report on {named}: a batch is needed; got a store without any"
    ):
        choose_batch([], wanted, "report on")


def test_plan_of_a_later_version_is_named(store: Store) -> None:
    check = begin_check(store, store.batch(1), SpotcheckConfig(n=1), "Ann")
    later = replace(check, plan=check.plan.replace('"form":1', '"form":3'))
    with pytest.raises(InputError, match="one of form 1 or 2 is needed; got 3"):
        read_plan(later)
