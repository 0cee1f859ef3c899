"""The whole way from unlabelled frames to a checked figure, on synthetic frames, with a scripted person.

Frames are rendered with known truth; a scripted person names windows by that truth; a model is learned from
the names; it monitors a batch; and a spot check of that batch says how far its figure holds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from georgia.demo import LabelDemoConfig
from georgia.files import atomic_path, check_new_folder
from georgia.images import read_image
from georgia.images.windows import crop
from georgia.label.background import MeasuringProcess, use_features
from georgia.label.choose import ChoiceConfig
from georgia.label.even import EvenChooser
from georgia.label.journal import Journal
from georgia.label.learn import learn
from georgia.label.learned import LearnResult
from georgia.label.records import NEITHER
from georgia.label.session import LabelSession
from georgia.label.settings import LabelConfig, LearnConfig
from georgia.label.start import choose_classes, open_pool
from georgia.model.load import load_bundle
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.monitor.tile import FrameAnalyzer
from georgia.progress import QUIET, Progress
from georgia.records import Box
from georgia.report.spotcheck_page import save_spotcheck_page
from georgia.spotcheck.checked import CheckedFraction, measure_check
from georgia.spotcheck.in_store import begin_check, list_windows
from georgia.spotcheck.plan import SpotcheckConfig
from georgia.synthetic import render_frame
from georgia.synthetic.scene import CLASS_NAMES

# A window with less crystal than this shows none, for the scripted person.
COVER_FROM = 0.1
_PERSON, _TAB, _BATCH = "scripted person", "demo", "demo"
# So many are named between two looks at what comes next.
_TRAY = 10
_SEED_OF_BATCH = 100_000


@dataclass(frozen=True, eq=False)
class LabelDemoResult:
    """What was learned, and what the spot check found of the batch, beside the truth (a fraction, 0–1).

    ``truth`` counts windows as the check does: PG among those that show a crystal of a class.
    """

    learned: LearnResult
    checked: CheckedFraction
    truth: float
    report: Path
    seconds: float

    def summary(self) -> str:
        """Return the batch's fraction by the model, by the check and in truth, in one line."""
        found = self.checked.result
        if found.interval is None or found.raw_fraction is None:
            return found.summary()
        low, high = (f"{100 * value:.1f}" for value in (found.interval.low, found.interval.high))
        return (
            f"{found.target} in the batch: {100 * found.raw_fraction:.1f} % by the model alone, "
            f"{100 * found.interval.fraction:.1f} % ({low}–{high} %) after {found.interval.n} names; "
            f"{100 * self.truth:.1f} % in truth"
        )

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object that ``georgia demo --label --json`` prints."""
        found = self.checked.result.to_json_dict()
        return {
            "run": str(self.learned.folder),
            "n_labels": self.learned.n_labels,
            "macro_f1": self.learned.metrics.macro.f1,
            **{name: found[name] for name in ("class", "fraction", "low", "high", "raw_fraction", "n")},
            "truth": self.truth,
            "report": str(self.report),
            "seconds": self.seconds,
        }


class _Truth:
    """Which class covers more of a window, by the masks (H, W) of its frame: 0 none, 1 CEX, 2 PG."""

    def __init__(self) -> None:
        self._front: dict[str, npt.NDArray[np.uint8]] = {}

    def render(self, folder: Path, fractions: Sequence[float], seed: int, config: LabelDemoConfig) -> None:
        """Render one frame for each fraction into a folder."""
        folder.mkdir(parents=True)
        size = (config.height_px, config.width_px)
        for number, fraction in enumerate(fractions, start=1):
            frame = render_frame(seed + number, size, pg_fraction=float(fraction), coverage=0.35)
            path = folder / f"{folder.name}_{number:03d}.png"
            with atomic_path(path) as part:
                Image.fromarray(frame.image).save(part, "PNG")
            self._front[path.name] = (frame.mask_cex + 2 * frame.mask_pg.astype(np.uint8)).astype(np.uint8)

    def name(self, file: str, box: Box) -> str:
        """Return what a window shows: a class, or neither."""
        left, top, width, height = box
        front = self._front[Path(file).name][top : top + height, left : left + width]
        covered = [float((front == code).mean()) for code in (1, 2)]
        return NEITHER if sum(covered) < COVER_FROM else CLASS_NAMES[int(covered[1] > covered[0])]


def run_label_demo(out: Path, config: LabelDemoConfig, progress: Progress = QUIET) -> LabelDemoResult:
    """Go the whole way in ``out`` and return what was found.

    Raises:
        InputError: ``out`` holds something already, or a setting is out of range.
        GateError: the learned model cannot be used.
    """
    started = time.perf_counter()
    check_new_folder(out, "frames", "batch", "labels.csv", "model", "batch.db", "spotcheck")
    truth = _Truth()
    progress.say(f"1. {config.frames} frames are rendered; a probe would have written them")
    spread = np.linspace(0, config.top, config.frames).tolist()
    truth.render(out / "frames", spread, config.seed, config)
    progress.say(f"2. {config.labels} of their windows are named, by what is known of the rendered frames")
    learned = _label_and_learn(out, truth, config, progress)
    progress.say(f"3. {learned.summary()}")
    fractions = np.linspace(0, config.top, config.batch_frames).tolist()
    truth.render(out / "batch", fractions, config.seed + _SEED_OF_BATCH, config)
    progress.say(f"4. the model monitors a batch of {config.batch_frames} other frames")
    db = str(out / "batch.db")
    store = Store(db)
    try:
        _monitor(store, db, learned.folder, out / "batch")
        progress.say(f"5. {config.names} of its windows are named, whatever the model says")
        checked, report = _check(store, truth, out, config)
        true_fraction = _measure_truth(store, truth)
    finally:
        store.close()
    return LabelDemoResult(learned, checked, true_fraction, report, time.perf_counter() - started)


def _label_and_learn(out: Path, truth: _Truth, config: LabelDemoConfig, progress: Progress) -> LearnResult:
    settings = LabelConfig(cut="frames", choice=ChoiceConfig(seed=config.seed))
    with Journal(out / "labels.csv") as journal:
        pool = open_pool(out / "frames", journal, settings, progress)
        choose_classes(journal, CLASS_NAMES, (), _PERSON)
        session = LabelSession(pool, journal, EvenChooser(pool, config.seed))
        try:
            use_features(session, MeasuringProcess(pool, settings), settings, progress)
            _name(session, truth, config.labels)
            labels = [label for _, label in session.list_named()]
            even = session.list_even()
        finally:
            session.close()
    return learn(pool, labels, CLASS_NAMES, out / "model", LearnConfig(seed=config.seed), even, progress)


def _name(session: LabelSession, truth: _Truth, n: int) -> None:
    while (n_named := session.progress().n_named) < n:
        tray = session.tray(_TAB, min(_TRAY, n - n_named))
        if not tray:
            return
        for item in tray:
            file, box = session.split_path(item.path)
            if box is not None:
                session.name(item.path, truth.name(file, box), _PERSON, _TAB)


def _monitor(store: Store, db: str, model: Path, frames: Path) -> None:
    settings = MonitorConfig(watch=frames, db=db, batch=_BATCH, operator=_PERSON, impurity="PG")
    analyzer = FrameAnalyzer(load_bundle(model), settings.tiles, settings.impurity)
    Monitor(analyzer, settings, store, who=_PERSON).run(once=True)


def _check(store: Store, truth: _Truth, out: Path, config: LabelDemoConfig) -> tuple[CheckedFraction, Path]:
    (batch,) = store.batches(limit=1)
    check = begin_check(store, batch, SpotcheckConfig(n=config.names, seed=config.seed), _PERSON)
    for window in list_windows(check):
        store.name_window(check.id, window.position, truth.name(window.file, window.box), _PERSON)
    found = measure_check(store, check)
    frames = out / "batch"
    images = [crop(read_image(frames / window.file), window.box) for window in list_windows(check)]
    (out / "spotcheck").mkdir()
    return found, save_spotcheck_page(found, batch, store.newest_head(), images, out / "spotcheck")


def _measure_truth(store: Store, truth: _Truth) -> float:
    from georgia.monitor.result import EMPTY_CODE

    (batch,) = store.batches(limit=1)
    names = []
    for frame in store.iter_frames(batch.id):
        windows = store.frame_map(frame.frame_id)
        if windows is not None:
            shown = np.flatnonzero(windows.codes != EMPTY_CODE)
            boxes = [tuple(map(int, windows.boxes[at])) for at in shown]
            names += [truth.name(frame.file, box) for box in boxes]  # type: ignore[arg-type]
    crystals = [name for name in names if name != NEITHER]
    return crystals.count("PG") / max(1, len(crystals))
