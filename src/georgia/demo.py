"""The whole way in one step: synthetic images, a trained net, its exported file, metrics and report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from georgia.config import Config, Seed, at_least, between
from georgia.files import check_new_folder
from georgia.progress import QUIET, Progress
from georgia.synthetic import render_dataset
from georgia.train import TrainingRun, recipe_config, train_model


@dataclass(frozen=True)
class LabelDemoConfig(Config):
    """How many frames are labelled from and monitored, with how many keystrokes, and their size, px.

    PG rises evenly over the batch from nothing to ``top`` (a fraction of the crystals' area, 0–1); the
    frames that are labelled from have any fraction up to that.
    """

    frames: Annotated[int, at_least(4)] = 16
    labels: Annotated[int, at_least(20)] = 140
    batch_frames: Annotated[int, at_least(2)] = 24
    names: Annotated[int, at_least(1)] = 60
    top: Annotated[float, between(0, 1)] = 0.4
    height_px: Annotated[int, between(64, 16_384)] = 560
    width_px: Annotated[int, between(64, 16_384)] = 624
    seed: Seed = 42


@dataclass(frozen=True)
class DemoConfig(Config):
    """How many images to render, and how to train on them.

    Rendering costs little, so the test split is larger than the study's: its intervals are tighter.
    ``changes`` are training settings on top of the recipe's; ``label`` are those of ``LabelDemoConfig``.
    """

    n_per_class: Annotated[int, at_least(10)] = 800
    fractions: Annotated[tuple[float, ...], between(0, 1)] = (0.5, 0.2, 0.3)
    seed: Seed = 42
    recipe: str = "fast"
    changes: Mapping[str, Any] = field(default_factory=dict)
    label: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DemoResult:
    """The trained run, the F1 of each class on its test split, and the wall time in seconds."""

    trained: TrainingRun
    f1: dict[str, float]
    report: Path
    seconds: float

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object that ``georgia demo --json`` prints."""
        return {
            "run": str(self.trained.folder),
            "f1": self.f1,
            "report": str(self.report),
            "seconds": self.seconds,
        }


def run_demo(out: Path, config: DemoConfig = DemoConfig(), progress: Progress = QUIET) -> DemoResult:
    """Render crops into ``out/crystals``, train on them into ``out/run``, and return the result.

    Raises:
        InputError: ``out`` holds images or a run already, or a setting is out of range.
        MissingDependencyError: the training packages are not installed.
        GateError: the trained model cannot be used.
    """
    started = time.perf_counter()
    check_new_folder(out)
    settings = {"fractions": config.fractions, "seed": config.seed, **config.changes}
    training = recipe_config(config.recipe, settings)
    records = render_dataset(out / "crystals", config.n_per_class, config.seed, progress=progress)
    progress.say(f"{len(records):,} crops rendered in {time.perf_counter() - started:.1f} s")
    trained = train_model(out / "crystals", out / "run", training, progress=progress)
    f1 = {name: row.f1 for name, row in trained.metrics.per_class.items()}
    return DemoResult(trained, f1, trained.files["report"], time.perf_counter() - started)
