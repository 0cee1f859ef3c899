"""What to label next: a spread, then doubtful and suspected items, and always a fraction sampled evenly.

Everything follows from the seed, the features and the labels so far: after a restart the order is the same.
The even fraction goes down one random order of the pool, a place at a time. An item of it that was labelled
for another reason costs no keystroke and belongs to the even sample all the same, so that sample is a simple
random one whatever else was chosen (permanent random numbers: Ohlsson 1995, in Business Survey Methods,
doi 10.1002/9781118150504.ch9).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from georgia.audit.checks.features import reduce_features
from georgia.config import Config, Seed, at_least, between
from georgia.errors import InputError
from georgia.label.even import EvenOrder, EvenSample, number_units
from georgia.label.records import UNCLEAR, Choice, ChoiceReason

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
# Inverse strength of the penalty of the regression that finds doubtful items: the deep audit's.
_INVERSE_PENALTY = 0.03
# So many times the number that is asked for are looked at, the most doubtful first, for unlike ones.
_CANDIDATES = 5
# Labelled neighbours that contradict a model's prediction; and the confidence that both need.
_N_NEIGHBOURS, _CONFIDENT = 5, 0.8


@dataclass(frozen=True)
class ChoiceConfig(Config):
    """How items are chosen: the ``even`` fraction is sampled evenly, ``spread`` are chosen to be unlike.

    ``suspected`` is the fraction, of what is not even, of items whose prediction
    the labelled neighbours contradict.
    """

    even: Annotated[float, between(0.05, 1)] = 0.25
    spread: Annotated[int, at_least(2)] = 20
    suspected: Annotated[float, between(0, 1)] = 0.1
    seed: Seed = 42


class FeatureChooser:
    """Chooses by features (N, F), as ``georgia.label.records.Chooser`` says.

    Args:
        features: those of the pool's items; rows of NaN, items that cannot be read, are never chosen.
        times_s: times (N,) of the items, s, NaN where unknown: the spread covers them too.
        duplicates: numbers (N,) of sets that are labelled together, −1 for none.
        order: the random order (N,) of all positions for the even fraction; one of the seed by default.
        parts: numbers (N,) of the strata that the order goes through; one by default.

    Raises:
        InputError: the shapes do not fit, or no item can be read.
    """

    def __init__(
        self,
        features: npt.NDArray[np.floating],
        config: ChoiceConfig = ChoiceConfig(),
        times_s: npt.NDArray[np.floating] | None = None,
        duplicates: npt.NDArray[np.integer] | None = None,
        order: npt.NDArray[np.integer] | None = None,
        parts: npt.NDArray[np.integer] | None = None,
    ) -> None:
        n_items = len(features)
        self._config, self._n_items = config, n_items
        self._can_choose = np.isfinite(features).all(axis=1)
        sizes = {len(each) for each in (times_s, duplicates) if each is not None}
        if features.ndim != 2 or not self._can_choose.any() or sizes - {n_items}:
            raise InputError(
                "Cannot choose what to label",
                needs="features (N, F) of readable items, and as many times and duplicates",
                got=f"{features.shape}, {int(self._can_choose.sum())} readable, {sorted(sizes)}",
            )
        self._unit = number_units(n_items, duplicates)
        self._features = np.where(self._can_choose[:, None], features, 0.0)
        self._times_s = times_s
        order = np.random.default_rng(config.seed).permutation(n_items) if order is None else order
        self._order = np.asarray(order[self._can_choose[order]], np.int64)
        strata = None if parts is None else np.asarray(parts, np.int64)
        self._even = EvenOrder(self._order, self._unit, strata)

    def next(
        self,
        n: int,
        labelled: Mapping[int, str],
        probabilities: npt.NDArray[np.floating] | None = None,
        held: Collection[int] = (),
    ) -> list[Choice]:
        """Return up to ``n`` items; see ``Chooser`` for the arguments."""
        taken = {int(self._unit[position]) for position in (*labelled, *held)}
        n_before, chosen = len(taken), []
        other: Iterator[Choice] | None = None
        for slot in range(n_before, n_before + n):
            choice = self._even.next(taken, self.count_even(slot + 1))
            if choice is None:
                # What is sampled evenly in this call is not asked for twice.
                other = other or self._choose_others(n, labelled, probabilities, held)
                choice = next((each for each in other if int(self._unit[each.index]) not in taken), None)
            if choice is None:
                choice = self._even.next(taken)
            if choice is None:
                break
            taken.add(int(self._unit[choice.index]))
            chosen.append(choice)
        return chosen

    def count_even(self, n_labels: int) -> int:
        """Return how many places of the random order are passed once ``n_labels`` are given."""
        return min(len(self._order), int(self._config.even * n_labels + 1e-9))

    def find_even_sample(self, labelled: Collection[int]) -> EvenSample:
        """Return the simple random sample of the pool that is among the labels."""
        units = {int(self._unit[position]) for position in labelled}
        sampled = self._order[: self.count_even(len(units))].tolist()
        found = [position for position in sampled if int(self._unit[position]) in units]
        missing = [position for position in sampled if int(self._unit[position]) not in units]
        return EvenSample(tuple(found), tuple(missing))

    def _choose_others(
        self,
        n: int,
        labelled: Mapping[int, str],
        probabilities: npt.NDArray[np.floating] | None,
        held: Collection[int],
    ) -> Iterator[Choice]:
        """Yield items that are not sampled evenly, the best first."""
        given = {int(self._unit[position]) for position in (*labelled, *held)}
        if len(given) * (1 - self._config.even) < len(self._spread):
            for position in self._spread:
                yield Choice(position, ChoiceReason.SPREAD)
        rest = np.array([p for p in self._order.tolist() if int(self._unit[p]) not in given], dtype=np.int64)
        scores = self._predict(labelled)
        known = probabilities if scores is None else scores
        if known is None or not len(rest):
            yield from self._widen(rest, [*labelled, *held])
            return
        suspected = self._find_suspected(rest, labelled, known if probabilities is None else probabilities)
        doubtful = self._find_doubtful(rest, np.asarray(known, np.float64)[rest], n)
        yield from self._mix(doubtful, suspected)

    def _mix(self, doubtful: list[int], suspected: list[int]) -> Iterator[Choice]:
        given: set[int] = set()
        queues = {ChoiceReason.UNCERTAIN: iter(doubtful), ChoiceReason.SUSPECTED: iter(suspected)}
        for slot in range(len(doubtful) + len(suspected)):
            fraction = self._config.suspected
            is_suspected = int((slot + 1) * fraction) > int(slot * fraction)
            names = sorted(queues, key=lambda name: (name is ChoiceReason.SUSPECTED) != is_suspected)
            for name in names:
                position = next((each for each in queues[name] if each not in given), None)
                if position is not None:
                    given.add(position)
                    yield Choice(position, name)
                    break

    @cached_property
    def _directions(self) -> Floats:
        """Features as their main directions; items that cannot be read lie at 0."""
        found = np.zeros((self._n_items, min(64, int(self._can_choose.sum()), self._features.shape[1])))
        found[self._can_choose] = reduce_features(self._features[self._can_choose])
        return found

    @cached_property
    def _spread(self) -> list[int]:
        """Medoids of as many clusters as the spread has items, the largest cluster first."""
        positions = np.sort(self._order)
        points = self._with_time(self._directions)[positions]
        chosen = positions[find_medoids(points, self._config.spread, self._config.seed)].tolist()
        return [*chosen, *self._missing_times(chosen)]

    def _with_time(self, points: Floats) -> Floats:
        """Put time beside the features, with as much spread as their first direction."""
        if self._times_s is None or not np.isfinite(self._times_s).any():
            return points
        times = np.where(np.isfinite(self._times_s), self._times_s, np.nanmean(self._times_s))
        spread = float(np.ptp(times))
        if not spread > 0:
            return points
        scaled = (times - times.mean()) / times.std() * points[:, 0].std()
        return np.column_stack([points, scaled])

    def _missing_times(self, chosen: list[int]) -> list[int]:
        """Return an item of each tenth of the pool's time that the medoids left out, its most usual one."""
        if self._times_s is None or not np.isfinite(self._times_s[self._order]).any():
            return []
        known = np.sort(self._order[np.isfinite(self._times_s[self._order])])
        edges = np.unique(np.quantile(self._times_s[known], np.linspace(0, 1, 11)[1:-1]))
        part = np.searchsorted(edges, self._times_s, side="right")
        covered, found = set(part[chosen].tolist()), []
        for number in sorted(set(part[known].tolist()) - covered):
            own = known[part[known] == number]
            centre = self._directions[own].mean(axis=0)
            found.append(int(own[np.argmin(np.square(self._directions[own] - centre).sum(axis=1))]))
        return found

    def _predict(self, labelled: Mapping[int, str]) -> Floats | None:
        """Return scores (N, C) of a regression on the labels; None before two classes have two each."""
        known = [position for position, name in labelled.items() if name != UNCLEAR]
        names = np.array([labelled[position] for position in known])
        counts = np.unique(names, return_counts=True)[1]
        if (counts >= 2).sum() < 2:
            return None
        order = np.argsort(known, kind="stable")
        model = _fit_regression(self._directions[np.array(known)[order]], names[order])
        return np.asarray(model.predict_proba(self._directions))

    def _find_doubtful(self, rest: Ints, scores: Floats, n: int) -> list[int]:
        """Return items by how near their two likeliest classes are, of those the unlike ones first."""
        best = np.sort(scores, axis=1)
        margin = best[:, -1] - best[:, -2]
        nearest = rest[np.argsort(margin, kind="stable")[: max(_CANDIDATES * n, 1)]]
        medoids = find_medoids(self._directions[nearest], n, self._config.seed)
        place = {position: at for at, position in enumerate(nearest.tolist())}
        first = sorted(nearest[medoids].tolist(), key=lambda position: place[position])
        others = [position for position in nearest.tolist() if position not in set(first)]
        return [*first, *others]

    def _find_suspected(
        self, rest: Ints, labelled: Mapping[int, str], scores: npt.NDArray[np.floating]
    ) -> list[int]:
        """Return items whose confident prediction the labels of their nearest neighbours contradict."""
        from sklearn.neighbors import NearestNeighbors

        known = np.array(sorted(p for p, name in labelled.items() if name != UNCLEAR), dtype=np.int64)
        if len(known) < 2 * _N_NEIGHBOURS:
            return []
        names, codes = np.unique([labelled[int(position)] for position in known], return_inverse=True)
        search = NearestNeighbors(n_neighbors=_N_NEIGHBOURS).fit(self._directions[known])
        nearest = search.kneighbors(self._directions, return_distance=False)
        votes = np.stack([(codes.reshape(-1)[nearest] == code).mean(axis=1) for code in range(len(names))], 1)
        model = np.asarray(scores, np.float64)
        # The pool's order of classes need not be the model's: what agrees is told by what the labels show.
        predictions = model.argmax(axis=1)
        usual = _usual_votes(predictions[known], codes.reshape(-1), model.shape[1], len(names))
        agreement = (votes * usual[predictions]).sum(axis=1)
        is_confident = (model.max(axis=1) >= _CONFIDENT) & (votes.max(axis=1) >= _CONFIDENT)
        asked = rest[is_confident[rest] & (agreement[rest] < 0.5)]
        return [int(each) for each in asked[np.argsort(agreement[asked], kind="stable")]]

    def _widen(self, rest: Ints, known: list[int]) -> Iterator[Choice]:
        """Yield the items farthest from all that is known, as long as there is no model."""
        if not len(rest):
            return
        centre = self._directions[self._can_choose].mean(axis=0)
        start = self._directions[known] if known else centre[None]
        distance = np.full(len(rest), np.inf)
        for point in start:
            distance = np.minimum(distance, np.square(self._directions[rest] - point).sum(axis=1))
        for _ in range(len(rest)):
            at = int(np.argmax(distance))
            yield Choice(int(rest[at]), ChoiceReason.SPREAD)
            new = np.square(self._directions[rest] - self._directions[rest[at]]).sum(axis=1)
            distance = np.minimum(distance, new)
            distance[at] = -1.0


def find_medoids(points: Floats, k: int, seed: int) -> Ints:
    """Return the positions of the points (N, D) nearest to the middles of k clusters, the largest first."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    k = min(k, len(points))
    if k == len(points):
        return np.arange(k, dtype=np.int64)
    # Threads wait for one another longer than so few points take, and a labeller waits for the result.
    with threadpool_limits(1):
        found = KMeans(k, n_init=3, random_state=seed).fit(points)
    distance = np.square(points - found.cluster_centers_[found.labels_]).sum(axis=1)
    sizes = np.bincount(found.labels_, minlength=k)
    numbers = [number for number in np.argsort(-sizes, kind="stable").tolist() if sizes[number]]
    members = [np.flatnonzero(found.labels_ == number) for number in numbers]
    return np.array([own[np.argmin(distance[own])] for own in members], dtype=np.int64)


def _usual_votes(predictions: Ints, codes: Ints, n_predictions: int, n_names: int) -> Floats:
    """Return how often each prediction of the model (A, C) goes with each label, among what is labelled."""
    counts = np.zeros((n_predictions, n_names))
    np.add.at(counts, (predictions, codes), 1.0)
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0))


def _fit_regression(points: Floats, names: npt.NDArray[np.str_]) -> Any:
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    model = LogisticRegression(C=_INVERSE_PENALTY, class_weight="balanced", max_iter=500)
    with threadpool_limits(1):
        return model.fit(points, names)
