"""How often a model takes other crystals for the impurity: by named windows, and by its own test images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import betaincinv

from georgia.errors import InputError
from georgia.labels import UNKNOWN
from georgia.monitor.connect import naming_damage
from georgia.spotcheck.checked import CheckedFraction, CheckedFractions

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.records import Batch

# So many windows of other crystals must have been named, of equal weights: of fewer the limit says little.
LEAST_NAMED = 20.0
# Batches of the same model whose checks are read, the newest first.
_MOST_BATCHES = 50


@dataclass(frozen=True)
class FalseRate:
    """The fraction of other crystals that a model gives to the impurity: 0–1, with its upper limit of 97.5 %.

    ``n`` is the number of windows that it rests on; ``source`` says which, in half a sentence.
    """

    rate: float
    high: float
    n: int
    source: str


def measure_false_rate(store: StoreReader, batch: Batch) -> FalseRate | None:
    """Return what spot checks say of the model's errors: of the batch, else of another one of its model.

    None where no check has enough names, or where several models analysed the batch.
    """
    models = store.models_of(batch.id)
    if len(models) != 1:
        return None
    checks = CheckedFractions(store)
    others = [each for each in store.batches(_MOST_BATCHES) if each.id != batch.id]
    for own in (batch, *others):
        if own.impurity != batch.impurity or not store.spotchecks(own.id):
            continue
        if own is not batch and store.models_of(own.id) != models:
            continue
        with naming_damage():
            checked = checks.counting(own)
            found = _measure(checked, own, batch) if checked is not None else None
        if found is not None:
            return found
    return None


def read_card_rate(store: StoreReader, batch: Batch) -> float:
    """Return the fraction of other classes' test images that the batch's models take for the impurity.

    It is the upper limit of 97.5 % of the worst model, 0 where the store does not know it, as of an earlier
    version. Test images show one crystal each, and in frames a model errs more often: so it is the least
    that errors explain, and no measure of them.
    """
    return max([0.0, *(_read_rate(store, model, batch.impurity) for model in store.models_of(batch.id))])


def _read_rate(store: StoreReader, model: str, impurity: str) -> float:
    try:
        tested = store.document(model).get("tested")
    except InputError:  # none of that key; one that was altered is named by georgia verify
        return 0.0
    try:
        return _count_errors(tested, impurity) if isinstance(tested, Mapping) else 0.0
    except (KeyError, TypeError, ValueError):
        return 0.0


def _count_errors(tested: Mapping[str, Any], impurity: str) -> float:
    names = list(tested["classes"])
    at = names.index(impurity)
    others = [[int(n) for n in row] for name, row in zip(names, tested["confusion"], strict=True)]
    others.pop(at)
    errors, n = sum(row[at] for row in others), sum(sum(row) for row in others)
    if not n:
        return 0.0
    return float(betaincinv(errors + 0.5, n - errors + 0.5, 0.975)) if errors < n else 1.0


def _measure(checked: CheckedFraction, own: Batch, batch: Batch) -> FalseRate | None:
    """Return the mean that the net gave to the class in windows named as another one, weighed as sampled."""
    rows = [
        (1 / window.probability, window.target_probability)
        for check, window, name in checked.list_named()
        if check.target == batch.impurity
        and window.label != UNKNOWN
        and name.name in check.body["classes"]
        and name.name != batch.impurity
    ]
    if not rows:
        return None
    weights, values = np.array(rows, np.float64).T
    n_effective = float(weights.sum() ** 2 / (weights**2).sum())
    if n_effective < LEAST_NAMED:
        return None
    rate = float(np.average(values, weights=weights))
    high = float(betaincinv(rate * n_effective + 0.5, (1 - rate) * n_effective + 0.5, 0.975))
    where = "of this batch" if own is batch else f"of batch {own.name or own.id}"
    return FalseRate(rate, high, len(rows), f"by {len(rows)} windows {where} that somebody named")
