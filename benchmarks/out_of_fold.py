"""May fold models stand in for the final one in the promotion gate? How often "not worse" is said wrongly.

Two models learn from Gaussian features of the same two classes, the one in use from more. Each pair is
tested on the out-of-fold predictions of the new one, with a margin of exactly what its final model is worse
by on 20,000 new images. Printed: how often each verdict was said, and how much better the fold models were.

    python benchmarks/out_of_fold.py
    python benchmarks/out_of_fold.py --labels 200 --pairs 120
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import numpy.typing as npt

from georgia.evaluate.compare import compare_predictions
from georgia.evaluate.promote import PromoteConfig, give_verdict
from georgia.label.heads import HeadData, LinearHead, choose_head, fit_head, make_folds, predict_folds
from georgia.labels import Labels

LABELS = Labels(("CEX", "PG"))
N_FEATURES, N_NEW = 40, 20_000


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=150)
    parser.add_argument(
        "--labels", type=int, default=100, help="of the new model; the one in use has four times as many"
    )
    parser.add_argument("--distance", type=float, default=1.3, help="of the classes from the middle")
    arguments = parser.parse_args()
    rng = np.random.default_rng(1)
    verdicts: Counter[str] = Counter()
    better = []
    for number in range(arguments.pairs):
        found = test_pair(rng, arguments.labels, arguments.distance, number)
        if found is not None:
            verdicts[found[0]] += 1
            better.append(found[1])
    print(f"{sum(verdicts.values())} pairs: {dict(verdicts)}")
    print(f"accuracy of fold models minus that of the final one: {np.mean(better):+.4f}")


def test_pair(
    rng: np.random.Generator, n_labels: int, distance: float, seed: int
) -> tuple[str, float] | None:
    """Return the verdict on one pair, and what fold models are better by; None if the new one is better."""
    new, current = sample(rng, n_labels, distance), sample(rng, 4 * n_labels, distance)
    test = sample(rng, N_NEW, distance)
    final, before = learn(new, seed + 1), learn(current, seed + 2)
    margin = score(before, test) - score(final, test)
    folds = make_folds(new, seed)
    if folds is None or not 0.001 < margin < 0.2:
        return None
    found = predict_folds(new, folds, lambda part: choose_head(part, seed + 3)).argmax(axis=1)
    comparison = compare_predictions(
        new.targets, (found, before.logits(new.served).argmax(axis=1)), LABELS, None
    )
    verdict, _ = give_verdict(comparison, PromoteConfig(margin=float(margin)))
    return str(verdict), float((found == new.targets).mean()) - score(final, test)


def sample(rng: np.random.Generator, n: int, distance: float) -> HeadData:
    """Return ``n`` images as features, each a group of its own."""
    targets = rng.integers(0, 2, n)
    features: npt.NDArray[np.float32] = rng.standard_normal((n, N_FEATURES)).astype(np.float32)
    features[:, 0] += distance * (2 * targets - 1)
    features[:, 1] += 0.5 * distance * (2 * targets - 1)
    return HeadData(features[:, None], features, targets.astype(np.int64), np.arange(n), 2)


def learn(data: HeadData, seed: int) -> LinearHead:
    """Return a head with settings chosen by cross-validation."""
    return fit_head(data, choose_head(data, seed))


def score(head: LinearHead, data: HeadData) -> float:
    """Return the accuracy, 0–1."""
    return float((head.logits(data.served).argmax(axis=1) == data.targets).mean())


if __name__ == "__main__":
    main()
