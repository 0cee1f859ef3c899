"""How many labels a model needs when they are chosen, against labels in random order, on stored features.

A scripted labeller names what is chosen, ten at a time; after each ten a linear head (logistic, C = 0.03, one
view) is fitted on the labels so far and scored on test images. "Labels needed" is the first number from
which macro F1 stays at the target for three steps; the median over the seeds. The even fraction of 0.25 is
part of what is chosen. Pool and test images: rendered crops, or folders of classes split by each seed.

    python benchmarks/labelling.py --store /tmp/labelling --seeds 10
    python benchmarks/labelling.py --store /tmp/labelling --seeds 10 --rare 0.1
    python benchmarks/labelling.py --store /tmp/labelling --seeds 10 --folder ../shared/data/lithology
    python benchmarks/labelling.py --store /tmp/labelling --retrain 200 250
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from georgia.catalog.read import read_catalog
from georgia.label.choose import ChoiceConfig, FeatureChooser
from georgia.label.features import FeatureReader
from georgia.label.heads import HeadConfig, HeadData, fit_head
from georgia.label.records import ChoiceReason, Item, Label, Pool, PoolKind
from georgia.synthetic.dataset import render_dataset

STEP, HOLD, POOL_PARTS, TEST_PARTS, PER_CLASS = 10, 3, (1, 2, 3), (6, 7), 200
Arrays = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
WAYS = {
    "random order": None,
    "chosen": ChoiceConfig(),
    "chosen, nothing suspected": ChoiceConfig(suspected=0.0),
    "chosen, 5 % even": ChoiceConfig(even=0.05),
}


def read_part(store: Path, name: str, folder: Path, reader: list[FeatureReader]) -> Arrays:
    """Return features (N, 2, F), as they are and as served, and classes (N,), stored for the next start."""
    file = store / f"{name}.npz"
    if not file.exists():
        reader = reader or [FeatureReader()]
        catalog = read_catalog(folder, verify=False)
        found = reader[0].read([record.path for record in catalog.records], ["as is", "served"])
        targets = catalog.labels.indices([record.class_name for record in catalog.records])
        np.savez(file, x=found.values, y=targets)
    with np.load(file) as stored:
        return stored["x"], stored["y"].astype(np.int64)


def read_crops(store: Path, parts: tuple[int, ...]) -> Arrays:
    """Return rendered crops of some parts, 200 of each class in a part."""
    found, reader = [], list[FeatureReader]()
    for part in parts:
        folder = store / f"p{part}"
        if not folder.exists():
            render_dataset(folder, PER_CLASS, seed=9000 + part)
        found.append(read_part(store, f"p{part}", folder, reader))
    return np.concatenate([x for x, _ in found]), np.concatenate([y for _, y in found])


def score(pool: Arrays, chosen: list[int], test: Arrays, n_classes: int) -> float:
    """Return macro F1 on test images of a head that learned the chosen items."""
    from sklearn.metrics import f1_score

    at = np.array(sorted(chosen))
    x, y = pool[0][at], pool[1][at]
    if len(np.unique(y)) < n_classes:
        return 0.0
    head = fit_head(HeadData(x[:, :1], x[:, 1], y, np.arange(len(at)), n_classes), HeadConfig())
    return float(f1_score(test[1], head.logits(test[0][:, 1]).argmax(axis=1), average="macro"))


def follow(pool: Arrays, test: Arrays, config: ChoiceConfig | None, seed: int, most: int) -> list[float]:
    """Return macro F1 after each ten labels."""
    n_classes = int(pool[1].max()) + 1
    labelled: dict[int, str] = {}
    order = np.random.default_rng(seed).permutation(len(pool[1])).tolist()
    chooser = None
    if config is not None:
        chooser = FeatureChooser(
            pool[0][:, 0], ChoiceConfig(config.even, config.spread, config.suspected, seed)
        )
    scores = []
    while len(labelled) < min(most, len(order)):
        n = len(labelled)
        new = order[n : n + STEP] if chooser is None else [c.index for c in chooser.next(STEP, labelled)]
        labelled |= {at: str(pool[1][at]) for at in new}
        scores.append(score(pool, list(labelled), test, n_classes))
    return scores


def count_needed(scores: list[float], target: float) -> float:
    """Return after how many labels the score stays at the target for three steps; infinity for never."""
    reached = np.array(scores) >= target
    for at in range(len(reached)):
        if reached[at : at + HOLD].all():
            return float(STEP * (at + 1))
    return float("inf")


def iterate_pools(arguments: argparse.Namespace) -> Iterator[tuple[int, Arrays, Arrays]]:
    """Yield (seed, pool, test) for each seed."""
    if arguments.folder is None:
        x, y = read_crops(arguments.store, POOL_PARTS)
        test = read_crops(arguments.store, TEST_PARTS)
        for seed in range(arguments.seeds):
            kept = np.ones(len(y), np.bool_)
            if arguments.rare:
                own = np.random.default_rng(seed).permutation(np.flatnonzero(y == 1))
                kept[own[round((y == 0).sum() * arguments.rare / (1 - arguments.rare)) :]] = False
            yield seed, (x[kept], y[kept]), test
        return
    x, y = read_part(arguments.store, arguments.folder.name, arguments.folder, [])
    for seed in range(arguments.seeds):
        from sklearn.model_selection import train_test_split

        learned, tested = train_test_split(np.arange(len(y)), test_size=1 / 3, random_state=seed, stratify=y)
        yield seed, (x[learned], y[learned]), (x[tested], y[tested])


def compare_ways(arguments: argparse.Namespace) -> None:
    """Print one line a way: labels needed to the targets and to the figure of the whole pool."""
    found: dict[str, list[list[float]]] = {}
    whole = []
    for seed, pool, test in iterate_pools(arguments):
        n_classes = int(pool[1].max()) + 1
        whole.append(score(pool, list(range(len(pool[1]))), test, n_classes))
        for way in arguments.ways:
            found.setdefault(way, []).append(follow(pool, test, WAYS[way], seed, arguments.most))
    print(f"whole pool of {len(pool[1])}: median macro F1 {np.median(whole):.4f}")
    targets = arguments.targets
    print(
        "| way | "
        + " | ".join([*(f"{t:.2f}" for t in targets), "the whole pool's"])
        + " | F1 at 50, 100, 200 |"
    )
    print("|" + "---|" * (len(targets) + 3))
    for way, curves in found.items():
        needed = [float(np.median([count_needed(each, target) for each in curves])) for target in targets]
        needed.append(float(np.median([count_needed(c, w) for c, w in zip(curves, whole, strict=True)])))
        texts = [f"> {arguments.most}" if np.isinf(value) else f"{value:.0f}" for value in needed]
        middle = np.median(np.array([each[: min(map(len, curves))] for each in curves]), axis=0)
        at = ", ".join(f"{middle[n // STEP - 1]:.3f}" for n in (50, 100, 200) if n // STEP <= len(middle))
        print(f"| {way} | " + " | ".join(texts) + f" | {at} |", flush=True)


def measure_retraining(store: Path, sizes: list[int]) -> None:
    """Print how long each of several learnings in one process takes, by step, s."""
    from georgia.label.learn import learn

    folder = store / f"p{POOL_PARTS[0]}"
    if not folder.exists():
        render_dataset(folder, PER_CLASS, seed=9000 + POOL_PARTS[0])
    records = read_catalog(folder, verify=False).records
    items = tuple(Item(record.path.relative_to(folder).as_posix(), record.path) for record in records)
    pool = Pool(folder, items, PoolKind.CROPS)
    order = np.random.default_rng(0).permutation(len(items)).tolist()
    labels = [
        Label(
            items[at].path,
            records[at].class_name,
            "script",
            "2026-01-01T00:00:00+00:00",
            1,
            ChoiceReason.EVEN,
        )
        for at in order
    ]
    for n in sizes:
        with tempfile.TemporaryDirectory() as out:
            even = [label.path for label in labels[: n // 4]]
            started, busy = time.perf_counter(), time.process_time()
            result = learn(pool, labels[:n], ("CEX", "PG"), Path(out) / "model", even=even)
            seconds: Mapping[str, float] = result.seconds
            steps = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items() if value >= 0.05)
            total, cpu = time.perf_counter() - started, time.process_time() - busy
            print(f"{n} labels: {total:.1f} s ({cpu:.1f} s of processor): {steps}", flush=True)
            print(f"  {result.summary()}", flush=True)
            print(f"  {result.curve.describe()}", flush=True)


def main() -> int:
    """Print a table, or the times of retraining."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="folder of stored images and features")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--most", type=int, default=400)
    parser.add_argument("--targets", type=float, nargs="+", default=(0.95, 0.98))
    parser.add_argument("--ways", nargs="+", default=("random order", "chosen"), choices=list(WAYS))
    parser.add_argument("--rare", type=float, default=0.0, help="fraction of PG in the pool; 0: half")
    parser.add_argument("--folder", type=Path, help="a folder of classes instead of rendered crops")
    parser.add_argument("--retrain", type=int, nargs="+", default=(), help="numbers of labels to learn from")
    arguments = parser.parse_args()
    arguments.store.mkdir(parents=True, exist_ok=True)
    if arguments.retrain:
        measure_retraining(arguments.store, list(arguments.retrain))
    else:
        compare_ways(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
