"""Find the moments of a batch in the columns of its frames and the temperature beside them.

What the frames tell: the fraction of the windows that show crystals, the field that crystals cover, and the
fraction of the impurity. Source: image statistics for nucleation, Simon et al. 2010, Ind. Eng. Chem. Res. 49,
9932; the cloud point of image statistics is that of a reference within 0.42 mg/mL where transmission
has 8.99: Doerr, Brown and Florence 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from georgia.monitor.columns import tell_utc
from georgia.process.moments.false_rate import FalseRate
from georgia.process.moments.frames import MomentFrames
from georgia.process.moments.growth import Growth, find_growth
from georgia.process.moments.impurity import LAST_FRAMES, HighestLevel, Rise, find_rise
from georgia.process.moments.onset import Onset, find_onset
from georgia.process.moments.phases import Change, Passing, Phases, find_phases, shows_crystals
from georgia.process.moments.result import (
    CLEAR_POINT,
    CLOUD_POINT,
    BatchMoments,
    Finding,
    Moment,
    MomentKind,
    Zone,
)
from georgia.process.moments.settings import MomentsConfig
from georgia.process.moments.temperature import TemperatureTrend
from georgia.text import count_noun

# Frames before and after a change that its moment is found in. More change little and take longer.
_BEFORE, _AFTER = 40, 30
# An event of such a name may have put crystals in.
_SEED_NAMES = ("seed", "impf", "animpf", "inocul", "ensemen")
# So many usual steps before an interval a seeding may lie.
_SEED_STEPS = 20


@dataclass(frozen=True)
class Beside:
    """What is known beside the frames: the temperature or why there is none, seedings, the model's errors.

    ``seedings`` are (time in s since 1970, name). ``false_rate`` is what somebody measured of the model's
    errors, None where nobody did: then the first frames with crystals tell, and ``card_rate``, the errors on
    the model's test images, is the least that they explain. ``impurity`` is the class.
    """

    temperature: TemperatureTrend | str = ""
    seedings: Sequence[tuple[float, str]] = ()
    false_rate: FalseRate | None = None
    impurity: str = "the impurity"
    card_rate: float = 0.0


def find_moments(
    frames: MomentFrames,
    beside: Beside | None = None,
    config: MomentsConfig | None = None,
    has_ended: bool = False,
    batch_id: int = 0,
) -> BatchMoments:
    """Return every moment of a batch up to its last frame, and what cannot be told."""
    beside, config = beside or Beside(), config or MomentsConfig()
    trend = beside.temperature
    found = BatchMoments(
        batch_id,
        len(frames),
        float(frames.times_s[-1]) if len(frames) else None,
        has_ended,
        temperature=trend.title if isinstance(trend, TemperatureTrend) else "",
        no_temperature=trend if isinstance(trend, str) else "",
    )
    usable = np.flatnonzero(frames.is_usable)
    reason = _find_hindrance(frames, usable, config)
    if reason:
        moments = tuple(
            Moment(kind, Finding.UNKNOWN, reason)
            for kind in (MomentKind.FIRST_CRYSTALS, MomentKind.CRYSTALS_GONE, MomentKind.FIRST_IMPURITY)
        )
        return replace(found, moments=moments, no_zone=reason)
    search = _Search(frames, usable, beside, config)
    moments = tuple(search.find())
    zones, no_zone = find_zones(moments)
    return replace(found, moments=moments, zones=zones, no_zone=no_zone, notes=tuple(search.notes))


def _find_hindrance(frames: MomentFrames, usable: npt.NDArray[np.intp], config: MomentsConfig) -> str:
    """Return why no frame tells anything, "" where they do."""
    if len(usable) < config.least_frames:
        others = frames.count_unusable(-np.inf, np.inf)
        rest = "; " + ", ".join(f"{n:,} {name}" for name, n in others.items()) if others else ""
        return (
            f"{count_noun(len(usable), 'frame')} that tell anything, {config.least_frames} are needed{rest}"
        )
    if float(np.median(np.diff(frames.times_s[usable]))) <= 0:
        return "most frames have one and the same time: nothing can be told of when"
    return ""


class _Search:
    """The moments of one batch; positions are those of its usable frames."""

    def __init__(
        self, frames: MomentFrames, usable: npt.NDArray[np.intp], beside: Beside, config: MomentsConfig
    ) -> None:
        self.all, self.own, self.beside, self.config = frames, frames.take(usable), beside, config
        self.step_s = float(np.median(np.diff(self.own.times_s)))
        after = np.append(usable[1:], len(frames))
        statuses = np.array([*frames.status, ""], object)
        is_fouled_after = np.array([statuses[at + 1] == "fouled" for at in usable])
        self.phases = find_phases(
            shows_crystals(self.own.hits, self.own.trials), is_fouled_after & (after > usable)
        )
        self.notes: list[str] = []

    def find(self) -> list[Moment]:
        """Return all moments, oldest first, then what was not found."""
        phases = self.phases
        if phases.starts_with_crystals is None:
            text = "too few frames tell whether crystals are there"
            return [
                Moment(kind, Finding.UNKNOWN, text)
                for kind in (MomentKind.FIRST_CRYSTALS, MomentKind.CRYSTALS_GONE)
            ]
        crystals = self._find_crystals(phases)
        moments = [*crystals, *(self._tell_passing(each) for each in phases.passing)]
        moments += self._find_growths(phases, crystals)
        moments.append(self._find_impurity(phases))
        return sorted(moments, key=lambda each: (each.time_s is None, each.time_s or 0.0))

    # Crystals

    def _find_crystals(self, phases: Phases) -> list[Moment]:
        first_s = float(self.own.times_s[0])
        moments: list[Moment] = []
        if phases.starts_with_crystals:
            text = (
                "crystals are there from the first frame on: they came before it, or the monitor started late"
            )
            moments.append(Moment(MomentKind.FIRST_CRYSTALS, Finding.BEFORE, text, high_s=first_s))
        for position in range(len(phases.changes)):
            moments.append(self._date(phases.changes, position, moments))
        kinds = [moment.kind for moment in moments]
        last = tell_utc(float(self.own.times_s[-1]))
        if MomentKind.FIRST_CRYSTALS not in kinds:
            text = f"no crystals up to the last frame, {last}"
            moments.append(Moment(MomentKind.FIRST_CRYSTALS, Finding.NOT_YET, text))
        elif MomentKind.CRYSTALS_GONE not in kinds:
            text = f"crystals are there up to the last frame, {last}"
            moments.append(Moment(MomentKind.CRYSTALS_GONE, Finding.NOT_YET, text))
        return moments

    def _date(self, changes: Sequence[Change], position: int, before: Sequence[Moment]) -> Moment:
        """Return the moment of a change."""
        change = changes[position]
        previous = changes[position - 1].at if position else 0
        following = changes[position + 1].at if position + 1 < len(changes) else len(self.own)
        around = (_BEFORE, _AFTER) if change.appears else (_AFTER, _BEFORE)
        first = max(previous, change.at - around[0])
        end = min(following, max(change.known_at + 1, change.at + around[1]))
        own = self.own.take(np.arange(first, end))
        onset = find_onset(*_orient(own, change.appears))
        if not change.appears:
            onset = replace(onset, time_s=-onset.time_s, low_s=-onset.high_s, high_s=-onset.low_s)
        kind = self._name(change.appears, before)
        number = 1 + sum(each.kind == kind for each in before)
        moment = self._describe(kind, onset, change, is_open=onset.is_open and first == 0 and change.appears)
        return replace(moment, number=number)

    @staticmethod
    def _name(appears: bool, before: Sequence[Moment]) -> MomentKind:
        if not appears:
            return MomentKind.CRYSTALS_GONE
        had_any = any(each.kind == MomentKind.FIRST_CRYSTALS for each in before)
        return MomentKind.CRYSTALS_AGAIN if had_any else MomentKind.FIRST_CRYSTALS

    def _describe(self, kind: MomentKind, onset: Onset, change: Change, is_open: bool) -> Moment:
        before, after = (onset.before, onset.after) if change.appears else (onset.after, onset.before)
        figures = {"windows_before": before, "windows_after": after, "evidence": onset.evidence}
        own, times = self.own, self.own.times_s
        is_before, is_after = times < onset.low_s, times > onset.high_s
        for name, chosen in (("cover_before", is_before), ("cover_after", is_after)):
            near = np.flatnonzero(chosen)
            near = near[-_AFTER:] if name == "cover_before" else near[:_AFTER]
            figures[name] = float(own.cover[near].mean()) if len(near) else float("nan")
        notes = self._note_gaps(onset.low_s, onset.high_s)
        if is_open:
            notes.append("it may lie before the first frame")
        moment = Moment(
            kind,
            Finding.FOUND,
            "crystals appear" if change.appears else "the last crystals go",
            time_s=onset.time_s,
            low_s=None if is_open else onset.low_s,
            high_s=onset.high_s,
            known_s=float(times[change.known_at]),
            figures={name: value for name, value in figures.items() if np.isfinite(value)},
            frame_before=_find_id(own, is_before, -1),
            frame_after=_find_id(own, is_after, 0),
            notes=tuple(notes),
        )
        moment = self._add_temperature(moment)
        return self._note_seeding(moment) if change.appears else self._name_point(moment)

    def _note_gaps(self, low_s: float, high_s: float) -> list[str]:
        """Return what is missing within an interval: frames that tell nothing, and times without any."""
        others = self.all.count_unusable(low_s, high_s)
        notes = [
            f"{count_noun(n, 'frame')} within the interval tell nothing: {name}" for name, n in others.items()
        ]
        inside = np.searchsorted(self.all.times_s, [low_s, high_s])
        edges = self.all.times_s[max(0, inside[0] - 1) : inside[1] + 1]
        widest = float(np.diff(edges).max()) if len(edges) > 1 else 0.0
        if widest > 5 * self.step_s:
            notes.append(f"no frame for {widest:,.0f} s of the interval")
        return notes

    def _add_temperature(self, moment: Moment) -> Moment:
        trend = self.beside.temperature
        if not isinstance(trend, TemperatureTrend) or moment.time_s is None or moment.high_s is None:
            return moment
        low_s = moment.low_s if moment.low_s is not None else float(self.own.times_s[0])
        found = trend.around(moment.time_s, low_s, moment.high_s)
        if found is None:
            return replace(moment, notes=(*moment.notes, "the temperature is missing around it"))
        return replace(moment, temperature=found)

    def _note_seeding(self, moment: Moment) -> Moment:
        """Name a cloud point where the solution cools, unless somebody put crystals in."""
        low_s = moment.low_s if moment.low_s is not None else float(self.own.times_s[0])
        reach_s = max((moment.high_s or low_s) - low_s, _SEED_STEPS * self.step_s)
        for at_s, name in self.beside.seedings:
            if low_s - reach_s <= at_s <= (moment.high_s or at_s):
                note = f"event {name!r} at {tell_utc(at_s)}: these may be the seeds, and no nucleation"
                return replace(moment, notes=(*moment.notes, note))
        return self._name_point(moment)

    @staticmethod
    def _name_point(moment: Moment) -> Moment:
        slope = moment.temperature.per_minute if moment.temperature else None
        is_gone = moment.kind == MomentKind.CRYSTALS_GONE
        if slope and (slope > 0) == is_gone:
            return replace(moment, point=CLEAR_POINT if is_gone else CLOUD_POINT)
        return moment

    def _tell_passing(self, passing: Passing) -> Moment:
        times = self.own.times_s
        shown = count_noun(passing.n_shown, "frame")
        why = "what was there did not move: fouling" if passing.is_fouling else "the solution was clear again"
        text = f"crystals seemed to appear, in {shown}; {why}"
        back = tell_utc(float(times[passing.back_at]))
        return Moment(
            MomentKind.FIRST_CRYSTALS,
            Finding.TAKEN_BACK,
            text,
            number=0,
            time_s=float(times[passing.at]),
            known_s=float(times[passing.known_at]),
            notes=(f"suggested {tell_utc(float(times[passing.known_at]))}, taken back {back}",),
        )

    # Growth

    def _find_growths(self, phases: Phases, crystals: Sequence[Moment]) -> list[Moment]:
        """Return onset and half of each rise of the coverage that began within the frames."""
        moments: list[Moment] = []
        began = [
            each
            for each in crystals
            if each.finding == Finding.FOUND and each.kind != MomentKind.CRYSTALS_GONE
        ]
        spans = [span for span in phases.spans(len(self.own)) if span[0] > 0]
        for number, (span, start) in enumerate(zip(spans, began, strict=False), 1):
            first = max(0, span[0] - _BEFORE)
            is_before = self.own.times_s[first : span[0]] < (start.low_s or start.time_s or 0.0)
            clear = self.own.cover[first : span[0]][is_before]
            base = float(clear.mean()) if len(clear) else 0.0
            piece = slice(max(0, span[0] - 3), span[1])
            found = find_growth(self.own.times_s[piece], self.own.cover[piece], base, self.step_s)
            if found is not None:
                moments += self._describe_growth(found, number)
        return moments

    def _describe_growth(self, growth: Growth, number: int) -> list[Moment]:
        figures = {"cover_before": growth.base, "cover_after": growth.level}
        if growth.rate is not None and growth.rate_low is not None and growth.rate_high is not None:
            rates = {"rate_per_min": growth.rate, "rate_low": growth.rate_low, "rate_high": growth.rate_high}
            figures |= rates
        notes = [] if growth.is_over else ["the field still fills: this is of the level reached by now"]
        if growth.rate is None:
            notes.append("too few frames while it rises: no rate")
        moments = []
        for kind, crossing, part in (
            (MomentKind.GROWTH_BEGINS, growth.onset, "a tenth"),
            (MomentKind.GROWTH_HALF, growth.half, "half"),
        ):
            if kind == MomentKind.GROWTH_HALF and not growth.is_over:
                text = (
                    f"the field still fills, {100 * growth.level:.0f} % by now: half of it is not known yet"
                )
                moments.append(Moment(kind, Finding.NOT_YET, text, number, figures=figures))
                continue
            times = self.own.times_s
            moment = Moment(
                kind,
                Finding.FOUND,
                f"{part} of the rise of the coverage to {100 * growth.level:.0f} % is done",
                number,
                crossing.time_s,
                crossing.low_s,
                crossing.high_s,
                float(times[-1]) if not growth.is_over else None,
                figures=figures,
                frame_before=_find_id(self.own, times < crossing.low_s, -1),
                frame_after=_find_id(self.own, times > crossing.high_s, 0),
                notes=tuple(notes),
            )
            moments.append(self._add_temperature(moment))
        return moments

    # Impurity

    def _find_impurity(self, phases: Phases) -> Moment:
        kind, name = MomentKind.FIRST_IMPURITY, self.beside.impurity
        spans = phases.spans(len(self.own))
        chosen = np.concatenate([np.arange(first, end) for first, end in spans] or [np.arange(0)])
        chosen = chosen[np.isfinite(self.own.fraction[chosen]) & (self.own.n_effective[chosen] > 0)]
        own = self.own.take(chosen)
        rate = self.beside.false_rate
        stated = self.config.least_impurity
        measured = stated if stated > 0 else rate.high if rate is not None else None
        card = self.beside.card_rate
        found = find_rise(own.times_s, own.fraction, own.n_effective, measured, card)
        if found is None:
            text = f"too few frames with crystals tell anything of {name}: none could have been found"
            return Moment(kind, Finding.UNKNOWN, text)
        if stated > 0:
            source = "by the setting least_impurity"
        else:
            source = rate.source if rate is not None else "by the first frames with crystals"
            if rate is None and found.explained <= card:
                source = "by the model's test images"
        errors = f"the {100 * found.explained:.1f} % that errors of the model explain, {source}"
        if isinstance(found, HighestLevel):
            return self._describe_none(found, errors)
        return self._describe_impurity(found, own, errors)

    def _describe_none(self, found: HighestLevel, errors: str) -> Moment:
        name = self.beside.impurity
        span = f"{100 * found.low:.1f}–{100 * found.high:.1f} %"
        highest = f"up to {100 * found.level:.1f} % ({span}) in {LAST_FRAMES} frames"
        missed = [
            f"{f'less than {100 * level:.0f} %' if level < 0.995 else 'any level'} {when}"
            for level, when in (
                (found.findable, "all the time"),
                (found.findable_late, f"in the last {LAST_FRAMES} frames alone"),
            )
        ]
        text = (
            f"no {name} can be told from the model's errors: {highest}, against {errors}; "
            f"{' or '.join(missed)} may have been missed"
        )
        figures = {
            "fraction": found.level,
            "fraction_low": found.low,
            "fraction_high": found.high,
            "explained": found.explained,
            "findable": found.findable,
            "findable_late": found.findable_late,
        }
        return Moment(MomentKind.FIRST_IMPURITY, Finding.NOT_YET, text, figures=figures)

    def _describe_impurity(self, rise: Rise, own: MomentFrames, errors: str) -> Moment:
        kind, name, onset = MomentKind.FIRST_IMPURITY, self.beside.impurity, rise.onset
        level = f"{100 * rise.level:.1f} % ({100 * rise.level_low:.1f}–{100 * rise.level_high:.1f} %)"
        figures = {
            "fraction": rise.level,
            "fraction_low": rise.level_low,
            "fraction_high": rise.level_high,
            "explained": rise.explained,
        }
        known_s = float(own.times_s[rise.known_at])
        if onset is None:
            when = (
                "the first frames with crystals show it"
                if rise.is_from_first
                else "since when cannot be told"
            )
            return Moment(
                kind,
                Finding.BEFORE if rise.is_from_first else Finding.UNKNOWN,
                f"{name} at {level}, more than {errors}; {when}",
                high_s=known_s,
                known_s=known_s,
                figures=figures,
            )
        figures |= {"fraction_before": onset.before, "evidence": onset.evidence}
        open_note = ("it may lie before the first frame with crystals",) if onset.is_open else ()
        moment = Moment(
            kind,
            Finding.FOUND,
            f"{name} rises to {level}, more than {errors}",
            time_s=onset.time_s,
            low_s=None if onset.is_open else onset.low_s,
            high_s=onset.high_s,
            known_s=known_s,
            figures={key: value for key, value in figures.items() if np.isfinite(value)},
            frame_before=_find_id(own, own.times_s < onset.low_s, -1),
            frame_after=_find_id(own, own.times_s > onset.high_s, 0),
            notes=(*open_note, *self._note_gaps(onset.low_s, onset.high_s)),
        )
        return self._add_temperature(moment)


def _orient(
    own: MomentFrames, appears: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return times, hits and trials; backwards where crystals go, so that they seem to appear."""
    columns = (own.times_s, own.hits, own.trials)
    return columns if appears else (-own.times_s[::-1], own.hits[::-1], own.trials[::-1])


def _find_id(own: MomentFrames, chosen: npt.NDArray[np.bool_], at: int) -> int | None:
    found = np.flatnonzero(chosen)
    return int(own.ids[found[at]]) if len(found) else None


def is_seeding(name: str) -> bool:
    """Tell whether an event of that name may have put crystals in.

    >>> is_seeding("Seeding, 1 g"), is_seeding("sampling")
    (True, False)
    """
    return any(word in name.casefold() for word in _SEED_NAMES)


def find_zones(moments: Sequence[Moment]) -> tuple[tuple[Zone, ...], str]:
    """Return the metastable zone widths: of each clear point and the next cloud point; or why there is none.

    The interval goes from the lowest clear less the highest cloud temperature to the highest less the
    lowest: it holds wherever the two intervals do.
    """
    points = [each for each in moments if each.point and each.temperature is not None]
    zones: list[Zone] = []
    for clear, cloud in pairwise(points):
        above, below = clear.temperature, cloud.temperature
        if (clear.point, cloud.point) != (CLEAR_POINT, CLOUD_POINT) or above is None or below is None:
            continue
        width = above.value - below.value
        low, high = above.low - below.high, above.high - below.low
        zones.append(Zone(width, low, high, above.unit, clear.number, cloud.number))
    if zones:
        return tuple(zones), ""
    lacking = [name for name in (CLEAR_POINT, CLOUD_POINT) if all(each.point != name for each in points)]
    return (
        (),
        f"no {' and no '.join(lacking)} is known" if lacking else "no cloud point follows a clear point",
    )
