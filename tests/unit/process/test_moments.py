"""Moments are found where they were put, with their interval, and what cannot be told is said."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.monitor import make_result
from tests.helpers.spotcheck import fill_batch

from georgia.cli import main
from georgia.errors import InputError
from georgia.monitor.records import Batch
from georgia.monitor.result import FrameStatus
from georgia.monitor.store import Store
from georgia.process.moments import onset
from georgia.process.moments.decisions import MomentAction, NewDecision
from georgia.process.moments.detect import Beside, find_moments
from georgia.process.moments.export import COLUMNS, write_csv, write_json
from georgia.process.moments.false_rate import FalseRate, measure_false_rate
from georgia.process.moments.frames import MomentFrames
from georgia.process.moments.growth import find_growth
from georgia.process.moments.impurity import HighestLevel, Rise, find_rise
from georgia.process.moments.in_store import decide_moment, read_moments, record_settings
from georgia.process.moments.onset import find_onset
from georgia.process.moments.phases import find_phases
from georgia.process.moments.result import BatchMoments, Finding, Moment, MomentKind, MomentState
from georgia.process.moments.settings import MomentsConfig
from georgia.process.moments.temperature import (
    TemperatureTrend,
    choose_temperature,
    label_temperatures,
)
from georgia.spotcheck.in_store import begin_check, list_windows
from georgia.spotcheck.plan import SpotcheckConfig

N_TILES, STEP_S = 20, 10.0
FIRST, AGAIN, GONE = MomentKind.FIRST_CRYSTALS, MomentKind.CRYSTALS_AGAIN, MomentKind.CRYSTALS_GONE


def make_frames(
    windows: list[float], fraction: list[float] | None = None, status: dict[int, str] | None = None
) -> MomentFrames:
    """Return frames with that part of their windows full, one every ``STEP_S``."""
    part = np.array(windows)
    rng, n = np.random.default_rng(3), len(part)
    hits = rng.binomial(N_TILES, part).astype(float)
    states = ["judged" if each >= 5 else "no crystals" if each else "clear" for each in hits]
    for at, name in (status or {}).items():
        states[at] = name
    own = np.full(n, np.nan) if fraction is None else np.array(fraction)
    times, ids = STEP_S * np.arange(n), np.arange(1, n + 1)
    return MomentFrames(ids, times, tuple(states), hits, np.full(n, 20.0), part, own, hits / 2)


def ramp(n: int, first: float, last: float) -> TemperatureTrend:
    times = np.arange(0.0, STEP_S * n, 5.0)
    return TemperatureTrend("T", "°C", times, np.linspace(first, last, len(times)))


def pick(found: BatchMoments, kind: MomentKind) -> list[Moment]:
    return [each for each in found.moments if each.kind == kind]


def test_first_crystals_are_a_cloud_point_when_cooling() -> None:
    frames = make_frames([0.0] * 30 + [0.8] * 30)
    found = find_moments(frames, Beside(ramp(60, 60, 0)))
    (moment,) = pick(found, FIRST)
    assert moment.finding == Finding.FOUND
    assert moment.low_s is not None
    assert moment.high_s is not None
    assert 285 <= moment.low_s <= 295 <= moment.high_s <= 305
    assert (moment.point, moment.frame_after) == ("cloud point", 31)
    assert moment.temperature is not None
    assert moment.temperature.low <= 30.5 <= moment.temperature.high
    assert moment.figures["windows_before"] == 0 < moment.figures["windows_after"]
    assert pick(found, GONE)[0].finding == Finding.NOT_YET
    assert found.no_zone == "no clear point is known"


def test_cycle_gives_both_points_and_the_zone() -> None:
    frames = make_frames([0.8] * 20 + [0.0] * 30 + [0.8] * 20)
    times = STEP_S * np.array([0, 35, 70])
    trend = TemperatureTrend(
        "T", "°C", np.arange(0.0, 700, 5), np.interp(np.arange(0, 700, 5), times, [20, 55, 20])
    )
    found = find_moments(frames, Beside(trend))
    assert pick(found, FIRST)[0].finding == Finding.BEFORE
    assert [each.point for each in (*pick(found, GONE), *pick(found, AGAIN))] == [
        "clear point",
        "cloud point",
    ]
    (zone,) = found.zones
    assert zone.low <= 39.5 - 40.5 <= zone.high
    assert abs(zone.width) < 2


def test_what_cannot_be_told_is_said() -> None:
    assert pick(find_moments(make_frames([0.0] * 40)), FIRST)[0].finding == Finding.NOT_YET
    few = find_moments(make_frames([0.0] * 4 + [0.8] * 3))
    assert {each.finding for each in few.moments} == {Finding.UNKNOWN}
    assert "7 frames that tell anything, 8 are needed" in few.moments[0].text
    frozen = replace(make_frames([0.0] * 20), times_s=np.zeros(20))
    assert "one and the same time" in find_moments(frozen).moments[0].text
    late = find_moments(make_frames([0.0] * 2 + [0.8] * 30))
    assert pick(late, FIRST)[0].finding == Finding.BEFORE


def test_bubbles_are_no_first_crystals() -> None:
    bubbles = dict.fromkeys(range(10, 25), "unknown material")
    found = find_moments(make_frames([0.0] * 10 + [0.9] * 15 + [0.0] * 20, status=bubbles))
    assert [each.finding for each in pick(found, FIRST)] == [Finding.NOT_YET]


def test_short_appearance_is_taken_back() -> None:
    trend = [0.0] * 20 + [0.8] * 5 + [0.0] * 20
    early = pick(find_moments(make_frames(trend[:25])), FIRST)
    assert [each.finding for each in early] == [Finding.FOUND]
    late = pick(find_moments(make_frames(trend)), FIRST)
    assert [each.finding for each in late] == [Finding.TAKEN_BACK, Finding.NOT_YET]
    assert "taken back 1970-01-01 00:0" in late[0].notes[0]


def test_interval_covers_an_outage() -> None:
    whole = make_frames([0.0] * 30 + [0.8] * 30)
    kept = np.array([at for at in range(60) if not 20 <= at < 40])
    (moment,) = pick(find_moments(whole.take(kept)), FIRST)
    assert moment.low_s is not None
    assert moment.high_s is not None
    assert moment.low_s < 205
    assert moment.high_s > 375  # and ends at 400
    assert any("no frame for 210 s" in note for note in moment.notes)


def test_seeds_are_no_cloud_point() -> None:
    frames = make_frames([0.0] * 30 + [0.8] * 30)
    found = find_moments(frames, Beside(ramp(60, 60, 0), [(280.0, "Seeding 1 g")]))
    (moment,) = pick(found, FIRST)
    assert moment.point == ""
    assert "may be the seeds" in moment.notes[-1]


@pytest.mark.slow
def test_impurity_is_told_from_the_models_errors() -> None:
    rng = np.random.default_rng(5)
    windows = [0.0] * 10 + [0.9] * 70
    errors = rng.beta(1, 60, 80)
    clean = find_moments(make_frames(windows, errors.tolist()), Beside(impurity="PG"))
    (none,) = pick(clean, MomentKind.FIRST_IMPURITY)
    assert none.finding == Finding.NOT_YET
    assert "no PG can be told from the model's errors" in none.text
    assert 0.05 < none.figures["findable"] < none.figures["findable_late"] < 0.5
    assert "in the last 10 frames alone may have been missed" in none.text
    stated = find_moments(make_frames(windows, errors.tolist()), config=MomentsConfig(least_impurity=0.2))
    assert "the 20.0 % that errors of the model explain, by the setting" in str(stated.moments)
    grown = errors + np.where(np.arange(80) >= 50, 0.3, 0.0)
    (first,) = pick(find_moments(make_frames(windows, grown.tolist())), MomentKind.FIRST_IMPURITY)
    assert first.finding == Finding.FOUND
    assert first.low_s is not None
    assert first.high_s is not None
    assert first.low_s <= 495 <= first.high_s
    rate = FalseRate(0.35, 0.45, 60, "by 60 windows of this batch that somebody named")
    named = find_moments(make_frames(windows, grown.tolist()), Beside(false_rate=rate))
    (none,) = pick(named, MomentKind.FIRST_IMPURITY)
    assert none.finding == Finding.NOT_YET
    assert "against the 45.0 % that errors of the model explain, by 60 windows of this batch" in none.text
    (always,) = pick(find_moments(make_frames(windows, (errors + 0.3).tolist())), MomentKind.FIRST_IMPURITY)
    assert always.finding == Finding.BEFORE


def test_level_that_may_be_missed_is_found_above() -> None:
    rng, n = np.random.default_rng(7), 80
    windows, found = rng.gamma(8, 1, n), []
    for level in (0.04, 0.5):
        errors = rng.beta(0.8, 200, n) + np.where(np.arange(n) >= 30, level, 0)
        found.append(find_rise(10.0 * np.arange(n), errors, windows))
    assert isinstance(found[0], HighestLevel)
    assert 0.04 < found[0].findable < 0.2
    assert isinstance(found[1], Rise)
    # No later frame tells when it is known.
    assert isinstance(
        find_rise(
            np.arange(n)[: found[1].known_at], errors[: found[1].known_at], windows[: found[1].known_at]
        ),
        HighestLevel,
    )
    assert 0.01 <= found[0].explained < 0.05  # measured in the first frames
    few = find_rise(np.arange(9.0), np.full(9, 0.9), np.full(9, 5.0))
    assert few is None


def test_phases_need_no_later_frame() -> None:
    shown = np.random.default_rng(1).random(120) < np.repeat([0.02, 0.9, 0.02], 40)
    whole = find_phases(shown)
    assert [each.appears for each in whole.changes] == [True, False]
    for change in whole.changes:
        assert change in find_phases(shown[: change.known_at + 1]).changes
        assert change not in find_phases(shown[: change.known_at]).changes


def test_order_and_clock_of_frames_change_nothing() -> None:
    times, hits = np.arange(40.0), np.where(np.arange(40) < 20, 0.0, 12.0)
    found, moved = (find_onset(at, hits, np.full(40, 20.0)) for at in (times, 10 * times + 1e9))
    assert 10 * found.low_s + 1e9 == pytest.approx(moved.low_s, abs=0.01)
    assert found.low_s <= 19.5 <= found.high_s


def test_rises_are_summed_as_one_by_one() -> None:
    rng = np.random.default_rng(4)
    times = 1.7e9 + np.cumsum(rng.uniform(1, 9, 9))
    hits, trials = np.array([0, 1, 0, 0, 2, 5, 9, 12, 11.0]), np.full(9, 20.0)
    table = onset._make_table(hits, trials)
    past = np.concatenate([np.zeros((*table.shape[:2], 1)), np.cumsum(table, axis=2)], axis=2)
    moments, befores = times[:-1] + 0.4 * np.diff(times), np.array([0, 5, 16])
    span, step = times[-1] - times[0], float(np.median(np.diff(times)))
    logits = np.log(onset._LEVELS / (1 - onset._LEVELS))
    logs: list[list[float]] = [[] for _ in moments]
    for duration in np.geomspace(step, 6 * span, 7):
        for power, top, before, spread in product((0.6, 1.0, 2.0, 3.0), onset._TOPS, befores, range(4)):
            for at, moment in enumerate(moments):
                mean = top * np.clip((times - moment) / duration, 0, 1) ** power
                mean = np.clip(mean, onset._LEVELS[0], None)
                level = np.abs(logits - np.log(mean / (1 - mean))[:, None]).argmin(axis=1)
                logs[at].append(float(table[spread, np.maximum(level, before), np.arange(9)].sum()))
    wanted = [float(np.log(np.mean(np.exp(each)))) for each in np.array(logs)]
    assert onset._sum_rises(past, times, moments, befores) == pytest.approx(wanted, abs=1e-6)


def test_frames_of_one_time_are_dated() -> None:
    times = np.repeat(np.arange(10.0), [1, 1, 1, 1, 5, 5, 5, 5, 1, 1])
    hits = np.where(times < 5, 0.0, 12.0)
    found = find_onset(times, hits, np.full(len(times), 20.0))
    assert 4 <= found.low_s <= found.time_s <= found.high_s <= 5
    again = find_onset(times.copy(), hits.copy(), np.full(len(times), 20.0))
    assert again is found  # nothing is searched twice


def test_growth_has_half_and_rate() -> None:
    times = np.arange(0.0, 100.0)
    cover = 0.4 * np.clip(times / 40, 0, 1) + np.random.default_rng(2).normal(0, 0.01, 100)
    found = find_growth(times, cover, 0.0, 1.0)
    assert found is not None
    assert found.is_over
    assert found.rate is not None
    assert found.half.low_s <= 20 <= found.half.high_s
    assert found.rate == pytest.approx(0.6, rel=0.1)
    assert found.rate_low is not None
    assert found.rate_high is not None
    assert found.rate_low <= 0.6 <= found.rate_high
    # A gap across the half is in its interval; of few frames there is no rate.
    lost = np.delete(np.arange(100), np.arange(15, 25))
    gap = find_growth(times[lost], cover[lost], 0.0, 1.0)
    assert gap is not None
    assert (gap.half.low_s, gap.half.high_s) == (13.5, 25.5)
    few = find_growth(times[::6], cover[::6], 0.0, 6.0)
    assert few is not None
    assert few.rate is None
    rising = find_growth(times[:30], cover[:30], 0.0, 1.0)
    assert rising is not None
    assert not rising.is_over


def test_dead_band_widens_temperature_and_gap_takes_it() -> None:
    trend = TemperatureTrend("T", "°C", np.array([0.0, 10, 20, 300, 310]), np.array([20.0, 21, 22, 23, 24]))
    held = trend.around(150, 140, 160)
    assert held is not None
    assert held.low <= 21.5
    assert held.high >= 23.4
    gone = TemperatureTrend("T", "°C", np.array([0.0, 10, 20, 300, 310]), np.array([20.0, 21, 22, 53, 54]))
    assert gone.around(150, 140, 160) is None
    assert gone.around(1000, 990, 1010) is None


def test_several_temperatures_are_a_question() -> None:
    from georgia.process.queries import ProcessVariable

    two = [ProcessVariable(n, "s", f"T{n}", "°C", 1, 0, 1.0, 0.0, 20.0) for n in (1, 2)]
    assert "several variables are temperatures (T1, T2)" in str(choose_temperature(two))
    assert choose_temperature(two, "T2") is two[1]
    with pytest.raises(InputError, match=r"one of the batch's variables is needed; got 'T9'"):
        choose_temperature(two, "T9")
    same = [replace(two[0], source="a"), replace(two[1], source="b", name="T1")]
    names = label_temperatures(same)
    assert list(names.values()) == ["a: T1 [°C]", "b: T1 [°C]"]
    assert [choose_temperature(same, name) for name in names.values()] == same
    with pytest.raises(InputError, match=r"got 'T1', which are 2.*'a: T1 \[°C\]', 'b: T1 \[°C\]'"):
        choose_temperature(same, "T1")


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[tuple[Store, Batch]]:
    """A store with a batch in which crystals appear after 20 frames."""
    store = Store(str(tmp_path / "m.db"))
    begun = store.begin_batch("probe", "B-1", "Ann", "PG", "Ann")
    for number in range(40):
        has_any = number >= 20
        status = FrameStatus.ANALYSED if has_any else FrameStatus.CLEAR
        counts = {"n_tiles": 20, "n_judged": 16 if has_any else 0, "n_empty": 4 if has_any else 20}
        fraction = 0.01 if has_any else None
        more = {"n_effective": 8.0 * has_any, "status": status, "cover": 0.4 * has_any, **counts}
        store.record_frame(make_result(number, begun.id, fraction, **more), "probe", "{}")
    yield store, store.batch(begun.id)
    store.close()


@pytest.mark.slow
def test_decisions_are_kept_and_replace_one_another(batch: tuple[Store, Batch]) -> None:
    store, own = batch
    (moment,) = pick(read_moments(store, own), FIRST)
    assert (moment.state, moment.figures["cover_before"]) == (MomentState.SUGGESTED, 0.0)
    seq = decide_moment(store, own, FIRST, 1, NewDecision(MomentAction.CONFIRMED, "Ann", expected=0))
    (confirmed,) = pick(read_moments(store, own), FIRST)
    assert confirmed.decision is not None
    assert (confirmed.state, confirmed.decision.who, confirmed.decision.seq) == ("confirmed", "Ann", seq)
    with pytest.raises(InputError, match="Somebody decided meanwhile"):
        decide_moment(store, own, FIRST, 1, NewDecision(MomentAction.DISMISSED, "Bob", "no", expected=0))
    new = NewDecision(MomentAction.CORRECTED, "Bob", "seen by eye", 1018.0, 1017.0, 1019.0)
    decide_moment(store, own, FIRST, 1, new)
    (corrected,) = pick(read_moments(store, own), FIRST)
    assert (corrected.shown_s, corrected.shown_interval, corrected.state) == (
        1018.0,
        (1017.0, 1019.0),
        "corrected",
    )
    rows = list(csv.DictReader(io.StringIO(write_csv(read_moments(store, own)))))
    row = next(each for each in rows if each["kind"] == "first crystals")
    assert tuple(row) == COLUMNS
    assert (row["state"], row["decided_by"], row["time"]) == ("corrected", "Bob", "1970-01-01T00:16:58.000Z")
    assert "seen by eye" in write_json(read_moments(store, own))


@pytest.mark.slow
def test_moments_command_and_settings_in_the_record(
    batch: tuple[Store, Batch], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, own = batch
    db, table = str(tmp_path / "m.db"), tmp_path / "m.csv"
    record_settings(store, MomentsConfig())  # the defaults are none that need an entry
    assert store.audit_log(5, action="moments settings") == []
    record_settings(store, MomentsConfig(least_impurity=0.2))
    record_settings(store, MomentsConfig(least_impurity=0.2))
    (entry,) = store.audit_log(5, action="moments settings")
    assert entry.detail["settings"]["least_impurity"] == 0.2
    decide_moment(store, own, FIRST, 1, NewDecision(MomentAction.CONFIRMED, "Ann"))
    (decided,) = store.audit_log(5, action=MomentAction.CONFIRMED)
    assert decided.detail["settings"] == {"temperature": "", "least_impurity": 0.0, "least_frames": 8}
    assert main(["moments", db, "--batch", "B-1", "--out", str(table), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["settings"]["least_impurity"], found["path"]) == (0.2, str(table))
    assert [each["state"] for each in found["moments"] if each["kind"] == "first crystals"] == ["confirmed"]
    assert table.read_text("utf-8").startswith(",".join(COLUMNS))
    waiting = [each for each in read_moments(store, own).moments if each.state == MomentState.SUGGESTED]
    assert {each.kind for each in waiting} >= {MomentKind.GROWTH_BEGINS, MomentKind.GROWTH_HALF}
    for each in waiting:
        decide_moment(store, own, each.kind, each.number, NewDecision(MomentAction.CONFIRMED, "Bob"))
    assert {each.state for each in read_moments(store, own).moments if each.finding == Finding.FOUND} == {
        MomentState.CONFIRMED
    }
    written = {each.detail["moment"] for each in store.audit_log(20, action=MomentAction.CONFIRMED)}
    assert written == {"first crystals", *(str(each.kind) for each in waiting)}
    (tmp_path / "own.toml").write_text("[moments]\nleast_impurity = 0.3\n", encoding="utf-8")
    assert main(["moments", db, "--config", str(tmp_path / "own.toml")]) == 0
    shown = capsys.readouterr().out
    assert "the 30.0 % that errors of the model explain, by the setting least_impurity" in shown
    assert "first crystals: crystals appear" in shown
    for arguments, text in (
        (["--batch", "B-9"], "B-9"),
        (["--temperature", "T9"], "the store holds no process data"),
        (["--out", "m.txt"], "a name that ends in .csv or .json is needed"),
    ):
        code = main(["moments", db, *arguments])
        told = capsys.readouterr()
        assert text in told.out + told.err
        assert code == (0 if arguments[0] == "--temperature" else 2)


@pytest.mark.slow
def test_decision_without_ground_is_rejected(batch: tuple[Store, Batch]) -> None:
    store, own = batch
    for new, needs in (
        (NewDecision(MomentAction.CONFIRMED, " "), "the name of a person"),
        (NewDecision(MomentAction.DISMISSED, "Ann"), "a reason"),
        (NewDecision(MomentAction.CORRECTED, "Ann", "why"), "the true time"),
        (NewDecision(MomentAction.CORRECTED, "Ann", "why", 5.0, 6.0, 7.0), "within its interval"),
        (NewDecision(MomentAction.CORRECTED, "Ann", "why", 9e12), "a time that has been"),
    ):
        with pytest.raises(InputError, match=needs):
            decide_moment(store, own, FIRST, 1, new)
    with pytest.raises(InputError, match="a suggested moment is needed; got not up to the last frame"):
        decide_moment(store, own, GONE, 1, NewDecision(MomentAction.CONFIRMED, "Ann"))
    with pytest.raises(InputError, match="one that the batch has is needed"):
        decide_moment(store, own, AGAIN, 1, NewDecision(MomentAction.CONFIRMED, "Ann"))


@pytest.mark.slow
def test_errors_are_measured_by_named_windows(tmp_path: Path) -> None:
    store, number, truth = fill_batch(str(tmp_path / "m.db"), tmp_path / "frames")
    batch = store.batch(number)
    assert measure_false_rate(store, batch) is None
    check = begin_check(store, batch, SpotcheckConfig(n=60, even=0.9), "Ann")
    for window in list_windows(check):
        at = int(window.box[0] > 0) + 2 * int(window.box[1] > 0)
        store.name_window(check.id, window.position, truth[f"{window.file}#{at}"], "Ann")
    found = measure_false_rate(store, batch)
    assert found is not None
    # The net gives PG 0.13 of a window of CEX in the mean.
    assert 0.08 < found.rate < 0.18 < found.high < 0.35
    assert f"by {found.n} windows of this batch that somebody named" == found.source
    next_one = store.begin_batch("other", "B-2", "Ann", "PG", "Ann")
    store.record_frame(make_result(99, next_one.id, 0.1), "other", "{}")
    other = measure_false_rate(store, next_one)
    assert other is not None
    assert "of batch B-1" in other.source
    another = store.begin_batch("third", "B-3", "Ann", "PG", "Ann")
    store.record_frame(make_result(100, another.id, 0.1, model_sha256="e" * 64), "third", "{}")
    assert measure_false_rate(store, another) is None
    store.close()
