"""Can the model work, and do the metrics mean anything? What an evaluation finds, as a level with reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from georgia.evaluate.coverage import Coverage, Shortfall
from georgia.evaluate.robustness import Robustness
from georgia.metrics.classification import Metrics
from georgia.metrics.intervals import Interval, wilson_interval
from georgia.text import count_noun

# Below so many images, one error moves a class' recall by 5 points or more.
FEW_IMAGES = 20
# A class of so many images that is never predicted is not bad luck: at a recall of one half it happens to
# one model in 32.
_NEVER_BY_CHANCE = 5
# Rejected fractions (lower end of the 95 % confidence interval) that are more than the stated 1 %.
_MANY_REJECTED, _MOST_REJECTED = 0.05, 0.5
# A model with fewer correct predictions than wrong ones tells no class, however many there are.
_HALF = 0.5
# Acceptance so far below the stated one is no sampling error: limit and exported file do not fit.
ACCEPTANCE_TOLERANCE = 0.05
# Sets that miss the true class so many times as often as stated, beyond chance, are of no use.
_MANY_MISSED = 2
# A smaller loss, or one within so many standard deviations, says nothing of the classes.
_MUCH_LOST, _SIGMAS = 0.03, 3.0


class Level(StrEnum):
    """How far to trust a model: ``BAD`` needs work first, ``CAUTION`` a reader who knows the reasons."""

    OK = "ok"
    CAUTION = "caution"
    BAD = "bad"


class Concern(StrEnum):
    """What can be wrong with a model or with the images that it was scored on."""

    ALL_REJECTED = "all-rejected"
    ACCEPTANCE = "acceptance"
    MANY_REJECTED = "many-rejected"
    NEVER_PREDICTED = "never-predicted"
    NO_BETTER_THAN_ONE_CLASS = "no-better-than-one-class"
    MOSTLY_WRONG = "mostly-wrong"
    FEW_IMAGES = "few-images"
    NOT_ROBUST = "not-robust"
    ORIENTATION = "orientation"
    SETS = "sets"

    @property
    def stops(self) -> bool:
        """Whether a model with it cannot work at all: the quality gate of a training run fails."""
        return self in (Concern.ALL_REJECTED, Concern.ACCEPTANCE)


@dataclass(frozen=True)
class Acceptance:
    """How many validation images the exported file accepts; ``fraction`` weighs each group as one."""

    fraction: float
    stated: float
    n: int
    n_groups: int

    @property
    def interval(self) -> Interval:
        """The 95 % confidence interval of the fraction, over groups."""
        return wilson_interval(min(self.fraction, 1.0), self.n_groups)

    @property
    def is_far_off(self) -> bool:
        """Whether even the upper end of the interval is far below the stated fraction."""
        return self.interval[1] < self.stated - ACCEPTANCE_TOLERANCE

    def to_json_dict(self) -> dict[str, Any]:
        """Return what ``bundle.json`` holds under "acceptance"."""
        return dict(vars(self))

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Acceptance | None:
        """Read it from the content of ``bundle.json``; None if it was not measured or cannot be read."""
        try:
            values = metadata["acceptance"]
            n, n_groups = int(values["n"]), int(values["n_groups"])
            return cls(float(values["fraction"]), float(values["stated"]), n, n_groups)
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True)
class Orientation:
    """Fractions of validation images that are correct: as they are, and as the exported file orients them.

    Both are those of a net that has not learned the images; ``n`` counts independent groups.
    """

    as_is: float
    exported: float
    n: int

    @property
    def matters(self) -> bool:
        """Whether labels are lost, beyond chance, where an image is rotated and reflected.

        Source: McNemar 1947, doi 10.1007/BF02295996, with all errors of both as discordant: the least that
        can be said where only the two fractions are known.
        """
        lost, errors = self.as_is - self.exported, 2 - self.as_is - self.exported
        return lost >= _MUCH_LOST and lost * self.n >= _SIGMAS * (errors * self.n) ** 0.5

    def to_json_dict(self) -> dict[str, Any]:
        """Return what ``bundle.json`` holds under "orientation"."""
        return dict(vars(self))

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Orientation | None:
        """Read it from the content of ``bundle.json``; None if it was not measured or cannot be read."""
        try:
            values = metadata["orientation"]
            return cls(float(values["as_is"]), float(values["exported"]), int(values["n"]))
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True)
class Reason:
    """One concern with its level and a sentence with its numbers."""

    concern: Concern
    level: Level
    text: str


@dataclass(frozen=True)
class Assessment:
    """All reasons, the worst first; none is "ok"."""

    reasons: tuple[Reason, ...] = ()

    @property
    def level(self) -> Level:
        """The worst level of all reasons."""
        levels = [reason.level for reason in self.reasons]
        return Level.BAD if Level.BAD in levels else Level.CAUTION if levels else Level.OK

    @property
    def stopping(self) -> tuple[Reason, ...]:
        """The reasons why the model cannot work."""
        return tuple(reason for reason in self.reasons if reason.concern.stops and reason.level is Level.BAD)

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object under "verdict" in ``--json``."""
        return {"level": str(self.level), "reasons": [dict(vars(reason)) for reason in self.reasons]}

    def describe(self) -> str:
        """Return level and reasons in one line, empty where nothing is wrong.

        >>> Assessment().describe()
        ''
        """
        if not self.reasons:
            return ""
        return f"{self.level}: " + " ".join(reason.text for reason in self.reasons)


def assess(
    metrics: Metrics,
    robustness: Robustness | None = None,
    acceptance: Acceptance | None = None,
    orientation: Orientation | None = None,
    sets: Coverage | None = None,
) -> Assessment:
    """Return what is wrong with a finished evaluation; what else is given counts where it was measured.

    ``sets`` is the coverage of the prediction sets at the error rate that predictions hold them for.
    """
    found = [*_assess_rejection(metrics, acceptance), *_assess_predictions(metrics), *_assess_sets(sets)]
    few = _few_images(metrics)
    if few:
        found.append(few)
    if robustness is not None and robustness.significant:
        names = ", ".join(row.title for row in robustness.significant[:3])
        text = f"The model is significantly worse when images are: {names}."
        found.append(Reason(Concern.NOT_ROBUST, Level.CAUTION, text))
    if orientation is not None and orientation.matters:
        text = (
            f"The classes depend on how an image lies: {_percent(orientation.as_is)} of the validation "
            f"images were correct as they are, {_percent(orientation.exported)} once the exported file had "
            "rotated and reflected them. If that changes what an image shows, train with symmetry=none."
        )
        found.append(Reason(Concern.ORIENTATION, Level.CAUTION, text))
    return Assessment(tuple(sorted(found, key=lambda reason: reason.level is not Level.BAD)))


def describe_errors(metrics: Metrics, images: str = "images") -> str:
    """Return how many images got a wrong label and were rejected, and the upper limit of the error rate.

    The limit is one-sided and exact, over independent groups; nothing is claimed where no image was accepted.
    """
    n, n_accepted = metrics.n, metrics.n - metrics.n_unknown
    if not n_accepted:
        whole = f"All {n:,} {images} were" if n != 1 else "The only image was"
        return f"{whole} rejected as unknown: no label was given, so nothing is known about errors."
    n_wrong = f"{metrics.n_wrong:,}" if metrics.n_wrong else "None"
    base = f"{n_accepted:,} accepted {images}" if metrics.n_unknown else f"{n:,} {images}"
    verb = "was" if metrics.n_wrong == 1 else "were"
    limit = format_limit(metrics.error_rate_upper95)
    rejected = ""
    if metrics.n_unknown:
        rejected = (
            f" {metrics.n_unknown:,} of {n:,} {'was' if metrics.n_unknown == 1 else 'were'} "
            "rejected as unknown."
        )
    return (
        f"{n_wrong} of {base} {verb} misclassified; the error rate is at most {limit} with 95 % confidence."
        f"{rejected}"
    )


def format_limit(limit: float) -> str:
    """Return an upper limit in percent with two significant digits, rounded up.

    >>> format_limit(0.43717), format_limit(0.0437), format_limit(0.0043701), format_limit(1.0)
    ('44 %', '4.4 %', '0.44 %', '100 %')
    """
    percent = 100 * limit
    digits = 0 if percent >= 10 else 1 if percent >= 1 else 2
    step = 10.0**-digits
    rounded = -(-round(percent / step, 6) // 1) * step
    return f"{min(rounded, 100.0):.{digits}f} %"


def _assess_rejection(metrics: Metrics, acceptance: Acceptance | None) -> Iterator[Reason]:
    n = metrics.n
    if metrics.n_unknown == n:
        text = f"The model rejected every image ({n:,} of {n:,}): it cannot be used."
        yield Reason(Concern.ALL_REJECTED, Level.BAD, text)
    if acceptance is not None and acceptance.interval[1] < acceptance.stated:
        text = (
            f"The exported file accepts {_percent(acceptance.fraction)} of the {acceptance.n:,} validation "
            f"images, not {_percent(acceptance.stated)} as stated."
        )
        yield Reason(Concern.ACCEPTANCE, Level.BAD if acceptance.is_far_off else Level.CAUTION, text)
    if metrics.n_unknown == n:
        return
    fraction = metrics.n_unknown / n
    if metrics.rejected_ci95[0] > _MANY_REJECTED:
        level = Level.BAD if metrics.rejected_ci95[0] > _MOST_REJECTED else Level.CAUTION
        low, high = metrics.rejected_ci95
        stated = f", not {_percent(1 - acceptance.stated)} as stated" if acceptance else ""
        text = (
            f"Many images of known classes were rejected: {_percent(fraction)} of {n:,} (95 % confidence "
            f"interval {_percent(low)} to {_percent(high)}){stated}."
        )
        yield Reason(Concern.MANY_REJECTED, level, text)
        return
    uneven = []
    for name, n_rejected in zip(metrics.classes, metrics.rejected.tolist(), strict=True):
        support = metrics.per_class[name].support
        n_effective = metrics.n_effective * support / n
        if support and wilson_interval(n_rejected / support, n_effective)[0] > _MANY_REJECTED:
            uneven.append(f"{name} ({n_rejected:,} of {support:,})")
    if uneven:
        text = f"Many images of one class were rejected: {_join(uneven)}."
        yield Reason(Concern.MANY_REJECTED, Level.CAUTION, text)


def _assess_sets(sets: Coverage | None) -> Iterator[Reason]:
    if sets is None:
        return
    short = sets.find_shortfall()
    if short is not None:
        is_bad = 1 - short.interval[1] > _MANY_MISSED * sets.error_rate and not short.is_chance
        whose = f"of {_percent(short.proportion.value)} of {short.proportion.n:,} accepted images"
        yield Reason(
            Concern.SETS, Level.BAD if is_bad else Level.CAUTION, _describe_shortfall(sets, whose, short)
        )
        return
    found = sets.find_class_shortfalls()
    if found:
        worst = min(found, key=lambda shortfall: shortfall.proportion.value)
        proportion = worst.proportion
        whose = f"of {_percent(proportion.value)} of {proportion.n:,} accepted images of {proportion.name}"
        yield Reason(Concern.SETS, Level.CAUTION, _describe_shortfall(sets, whose, worst))


def _describe_shortfall(sets: Coverage, whose: str, short: Shortfall) -> str:
    low, high = short.interval
    cause = "the few groups that they were fitted on can explain that"
    if not short.is_chance:
        cause = "these images, or their labels, are unlike those that they were fitted on"
    return (
        f"The prediction sets hold the true class {whose} (exact confidence interval {_percent(low)} to "
        f"{_percent(high)}), not of {100 * (1 - sets.error_rate):g} % as stated: {cause}."
    )


def _assess_predictions(metrics: Metrics) -> Iterator[Reason]:
    n_accepted = metrics.n - metrics.n_unknown
    if not n_accepted:
        return
    never = {
        name: row.support for name, row in metrics.per_class.items() if row.support and not row.n_predicted
    }
    if never:
        level = Level.BAD if max(never.values()) >= _NEVER_BY_CHANCE else Level.CAUTION
        names = _join(f"{name} ({count_noun(n, 'image')})" for name, n in never.items())
        yield Reason(Concern.NEVER_PREDICTED, level, f"The model never predicted {names}.")
    supports = metrics.confusion.sum(axis=1)
    if (supports > 0).sum() < 2:
        return
    largest, accuracy = int(supports.max()), metrics.n_correct / n_accepted
    interval = wilson_interval(accuracy, metrics.n_effective * n_accepted / metrics.n)
    if metrics.n_correct > largest:
        if accuracy < _HALF:
            level = Level.BAD if interval[1] < _HALF else Level.CAUTION
            text = f"Most predictions are wrong: {metrics.n_wrong:,} of {n_accepted:,} accepted images."
            yield Reason(Concern.MOSTLY_WRONG, level, text)
        return
    level = Level.BAD if interval[1] < largest / n_accepted or never else Level.CAUTION
    name = metrics.classes[int(supports.argmax())]
    text = (
        f"The model is no better than calling every image {name}: {metrics.n_correct:,} of {n_accepted:,} "
        f"accepted images correct, against {largest:,}."
    )
    yield Reason(Concern.NO_BETTER_THAN_ONE_CLASS, level, text)


def _few_images(metrics: Metrics) -> Reason | None:
    few = [f"{name} {row.support:,}" for name, row in metrics.per_class.items() if row.support < FEW_IMAGES]
    if not few:
        return None
    shown = _join(few)
    text = f"Too few images to rely on the metrics (fewer than {FEW_IMAGES} of a class): {shown}."
    return Reason(Concern.FEW_IMAGES, Level.CAUTION, text)


def _join(classes: Iterable[str]) -> str:
    """Return the first five, and how many more there are."""
    names = list(classes)
    more = f" and {count_noun(len(names) - 5, 'more class')}" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
