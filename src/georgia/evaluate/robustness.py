"""Do a model's answers stand what does not change the crystal: another size, light, focus or turn?

A model that lives on a shortcut, such as the size of the files of one class, is exposed here: once every
image has the same size, its figures drop.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, UnreadableImageError
from georgia.evaluate.compare import Difference, compare_predictions
from georgia.evaluate.perturbations import Perturbation, list_perturbations
from georgia.evaluate.score import check_class_names
from georgia.files import write_text
from georgia.images.decode import read_info
from georgia.labels import UNKNOWN
from georgia.metrics.classification import UNKNOWN_INDEX
from georgia.model.bundle import Bundle
from georgia.predict.prediction import Prediction
from georgia.predict.predictor import PredictConfig, Predictor
from georgia.progress import QUIET, Progress
from georgia.records import Record
from georgia.text import count_noun

ROBUSTNESS_FILE = "robustness.json"
# All rows together keep this level: each drop's interval is as wide as its share of 5 % asks for.
LEVEL = 0.95
_N_DRAWS = 8_000
# The one size is met by nine images in ten, so that few are continued by reflection.
_SIZE_QUANTILE = 0.1


@dataclass(frozen=True)
class RobustnessConfig:
    """How many images to try: more show smaller drops, and take longer (18 answers an image)."""

    n_files: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_files < 1:
            raise InputError("Cannot try the model", needs="n_files must be 1 or more", got=self.n_files)


@dataclass(frozen=True)
class RobustnessRow:
    """The figures under one change; differences are changed minus as they are, on the same files.

    ``is_significant``: the drop in accuracy or macro F1 is beyond its interval.
    """

    change: str
    title: str
    accuracy: Difference
    f1: Difference
    n_unknown: int
    is_significant: bool

    def to_json_dict(self) -> dict[str, Any]:
        """Return the plain form."""
        return {**vars(self), "accuracy": self.accuracy.to_json_dict(), "f1": self.f1.to_json_dict()}


@dataclass(frozen=True)
class Robustness:
    """All changes on a sample of ``n`` images in ``n_groups`` groups; intervals hold for all rows together.

    ``accuracy`` and ``f1`` are of the images as they are.
    """

    n: int
    n_groups: int
    accuracy: float
    f1: float
    rows: tuple[RobustnessRow, ...]
    level: float = LEVEL
    seconds: float = 0.0

    @property
    def significant(self) -> tuple[RobustnessRow, ...]:
        """The changes that the model does not stand, the worst first."""
        found = [row for row in self.rows if row.is_significant]
        return tuple(sorted(found, key=lambda row: row.accuracy.difference))

    @property
    def has_rejected(self) -> bool:
        """Whether any image was refused under any change."""
        return any(row.n_unknown for row in self.rows)

    @property
    def hidden_drop(self) -> float:
        """How large a drop of accuracy this sample may hide: the widest of the rows without a mark."""
        return max([0.0, *(-row.accuracy.interval[0] for row in self.rows if not row.is_significant)])

    @property
    def min_detectable_groups(self) -> int:
        """How many groups must lose their right answer, with none gained, until a drop is marked.

        A row is marked where its interval (paired Bayesian bootstrap with two half groups, one better and
        one worse, as in ``compare``) ends below 0. With k groups lost the better half group outweighs
        them and the worse half with the probability that a Beta(1/2, k + 1/2) exceeds 1/2.
        """
        from scipy.special import betainc

        tail = (1.0 - self.level) / max(1, len(self.rows)) / 2.0
        return next(k for k in itertools.count(1) if betainc(k + 0.5, 0.5, 0.5) < tail)

    def describe(self) -> str:
        """Return the table in one or two sentences, or that the images are too few to tell."""
        pictures, groups = count_noun(self.n, "image"), count_noun(self.n_groups, "group")
        base = f"{pictures} in {groups}, accuracy {self.accuracy:.4f} as they are."
        if self.significant:
            worst = ", ".join(
                f"{row.title} ({100 * row.accuracy.difference:+.1f} points)" for row in self.significant[:3]
            )
            rest = f" and {len(self.significant) - 3} more" if len(self.significant) > 3 else ""
            return f"{base} Beyond chance it gets worse when images are: {worst}{rest}."
        n, needed = min(self.n, self.n_groups), self.min_detectable_groups
        if round(self.accuracy * n) >= needed:
            hidden = f"Drops of up to {100 * self.hidden_drop:.1f} percentage points could hide"
            return f"{base} No change lowers the figures beyond chance. {hidden} in this sample."
        few = f"{pictures} {'is' if self.n == 1 else 'are'} too few to tell anything"
        return (
            f"{base} {few if n < needed else 'So few right answers tell nothing'}: as {len(self.rows)} "
            f"changes are tried together, a drop of accuracy is told from chance only where {needed} groups "
            "or more lose their right answer."
        )

    def to_json_dict(self) -> dict[str, Any]:
        """Return the plain form, with ``in_words``."""
        rows = [row.to_json_dict() for row in self.rows]
        return {**vars(self), "rows": rows, "in_words": self.describe()}

    def save(self, folder: Path) -> Path:
        """Write ``robustness.json`` and return its path."""
        text = json.dumps(self.to_json_dict(), indent=2, ensure_ascii=False) + "\n"
        write_text(folder / ROBUSTNESS_FILE, text)
        return folder / ROBUSTNESS_FILE

    @classmethod
    def from_json_dict(cls, values: Mapping[str, Any]) -> Robustness:
        """Read the plain form."""
        rows = tuple(
            RobustnessRow(
                **{
                    **row,
                    "accuracy": Difference.from_json_dict(row["accuracy"]),
                    "f1": Difference.from_json_dict(row["f1"]),
                }
            )
            for row in values["rows"]
        )
        rest = {name: value for name, value in values.items() if name != "in_words"}
        return cls(**{**rest, "rows": rows})

    @classmethod
    def load(cls, folder: Path) -> Robustness:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or is not what `save` wrote.
        """
        path = folder / ROBUSTNESS_FILE
        try:
            return cls.from_json_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"Cannot read {str(path)!r}", needs="a file that a robustness test wrote is needed", got=error
            ) from error


def measure_robustness(
    bundle: Bundle,
    records: Sequence[Record],
    config: RobustnessConfig = RobustnessConfig(),
    predict: PredictConfig | None = None,
    progress: Progress = QUIET,
) -> Robustness:
    """Return the figures of a sample of labelled images under each change, beside those as they are.

    Raises:
        InputError: the model cannot be opened, its class names are others, or no image can be read.
    """
    started = time.perf_counter()
    check_class_names({record.class_name for record in records}, bundle.labels)
    sample, sizes = _read_sizes(choose_sample(records, config.n_files, config.seed))
    if not sample:
        raise InputError(
            "Cannot try the model",
            needs="one labelled image or more that can be read is needed",
            got=f"{len(records)} files",
        )
    changes = list_perturbations(find_common_size(sizes))
    progress.start("robustness", len(sample) * (1 + len(changes)))
    trial = _Trial(Predictor(bundle, predict or PredictConfig()), sample, progress)
    plain, _ = trial.answer(None)
    rows = tuple(
        trial.judge(change, plain, 1 - (1 - LEVEL) / len(changes), config.seed) for change in changes
    )
    groups = {record.group or str(record.path) for record in sample}
    accuracy, f1 = rows[0].accuracy.other, rows[0].f1.other
    seconds = time.perf_counter() - started
    return Robustness(len(sample), len(groups), accuracy, f1, rows, LEVEL, seconds)


def choose_sample(records: Sequence[Record], n: int, seed: int = 0) -> tuple[Record, ...]:
    """Return at most ``n`` records, equally many of each class, one of each group before a second one.

    The choice depends on names and seed, not on the order of the records.
    """

    def draw(text: str) -> bytes:
        return hashlib.sha256(f"{seed}\0{text}".encode()).digest()

    def key(record: Record) -> bytes:
        return draw("/".join(record.path.parts[-2:]))

    by_class: dict[str, list[tuple[int, bytes, Record]]] = defaultdict(list)
    seen: Counter[tuple[str, str]] = Counter()
    for record in sorted(records, key=key):
        own = (record.class_name, record.group or str(record.path))
        by_class[record.class_name].append((seen[own], key(record), record))
        seen[own] += 1
    queues = [sorted(one, key=lambda item: item[:2]) for _, one in sorted(by_class.items())]
    turns = [(place, at, queue[place][2]) for at, queue in enumerate(queues) for place in range(len(queue))]
    turns.sort(key=lambda item: item[:2])
    return tuple(record for _, _, record in turns[:n])


def find_common_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the height and width that nine images in ten of ``sizes`` (height, width) have at least.

    >>> find_common_size([(100, 200)] * 9 + [(50, 300)])
    (100, 200)
    """
    heights, widths = np.quantile(np.array(sizes), _SIZE_QUANTILE, axis=0, method="higher")
    return int(heights), int(widths)


def _read_sizes(sample: Sequence[Record]) -> tuple[list[Record], list[tuple[int, int]]]:
    readable, sizes = [], []
    for record in sample:
        try:
            info = read_info(record.path)
        except UnreadableImageError:
            continue
        readable.append(record)
        sizes.append((info.height_px, info.width_px))
    return readable, sizes


class _Trial:
    """One model and one sample; answers under any change."""

    def __init__(self, predictor: Predictor, sample: Sequence[Record], progress: Progress) -> None:
        self._predictor, self._sample, self._progress = predictor, sample, progress
        self._labels = predictor.bundle.labels
        self._position = {UNKNOWN: UNKNOWN_INDEX, **{name: at for at, name in enumerate(self._labels.names)}}

    def answer(self, change: Perturbation | None) -> tuple[npt.NDArray[np.int64], int]:
        """Return class positions (N,), −1 = refused or not read, and the number of refused."""
        paths = [record.path for record in self._sample]
        apply = change.apply if change else None
        named = []
        for answer in self._predictor.iterate(paths, change=apply):
            label = answer.label if isinstance(answer, Prediction) else UNKNOWN
            named.append(self._position[label])
            self._progress.advance()
        return np.array(named, dtype=np.int64), named.count(UNKNOWN_INDEX)

    def judge(
        self, change: Perturbation, plain: npt.NDArray[np.int64], level: float, seed: int
    ) -> RobustnessRow:
        """Return one row: the answers under a change against those without it."""
        named, n_unknown = self.answer(change)
        truth = self._labels.indices([record.class_name for record in self._sample])
        groups = [record.group for record in self._sample]
        pair = compare_predictions(
            truth, (named, plain), self._labels, groups, seed=seed, level=level, n_draws=_N_DRAWS
        )
        is_significant = pair.accuracy.interval[1] < 0 or pair.f1.interval[1] < 0
        return RobustnessRow(change.name, change.title, pair.accuracy, pair.f1, n_unknown, is_significant)
