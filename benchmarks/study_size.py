"""The arithmetic that makes epochs, and a whole training at the study's size, of what ``epochs.py`` measured.

``found`` is that section's result: seconds of an image by stage of the study's loop, and of Georgia's epochs.
"""

from __future__ import annotations

from typing import Any

# Training and validation images of the source study, and the median number of epochs of its five published
# runs of variant D (3, 3, 5, 4, 4).
N_TRAIN, N_VALID, N_EPOCHS = 9564, 3416, 4
CLOCKS = ("wall_s", "cpu_s")
SUFFIXES = {"wall_s": "", "cpu_s": " of processor time"}
PRECISIONS = ("float32", "bfloat16")


def study_epoch_s(found: dict[str, Any], clock: str, n_train: int, n_valid: int) -> float:
    """Return seconds of an epoch of the study's way: validation goes through the net three times.

    >>> stage = {"wall_s": 2.0}
    >>> study_epoch_s({"study": {"train": stage, "evaluate": stage, "predict": stage}}, "wall_s", 10, 4)
    44.0
    """
    train, evaluate, predict = (found["study"][name][clock] for name in ("train", "evaluate", "predict"))
    return float(n_train * train + n_valid * (evaluate + 2 * predict))


def georgia_epochs_s(found: dict[str, Any], precision: str, clock: str) -> tuple[float, float]:
    """Return seconds of the first epoch, with the validation images' features, and of a later one."""
    mine = found[precision]
    first = mine["validation features"][clock] + mine["epoch 1"][clock]
    return float(first), float(mine["epoch 2"][clock])


def georgia_training_s(found: dict[str, Any], precision: str, clock: str) -> float:
    """Return seconds of ``N_EPOCHS`` at the study's size: features and compiling once, epochs scaled."""
    mine = found[precision]
    features = N_VALID / found["n_valid"] * mine["validation features"][clock]
    later = N_TRAIN / found["n_train"] * mine["epoch 2"][clock]
    compiling = max(0.0, mine["epoch 1"][clock] - mine["epoch 2"][clock])
    return float(features + compiling + N_EPOCHS * later)


def list_train_rows(
    found: dict[str, Any], aims: tuple[str, str], clocks: tuple[str, ...] = CLOCKS
) -> list[tuple[str, float, str]]:
    """Return (what, value, aim) of the epochs measured and of a training at the study's size.

    The aims stand beside the first of ``clocks``, of which the hours are, too.
    """
    rows: list[tuple[str, float, str]] = []
    size = f"{found['n_train']:,} + {found['n_valid']:,} images"
    precisions = [name for name in PRECISIONS if name in found]
    for precision in precisions:
        for clock in clocks:
            study = study_epoch_s(found, clock, found["n_train"], found["n_valid"])
            epochs = georgia_epochs_s(found, precision, clock)
            for which, seconds, aim in zip(("first epoch", "later epochs"), epochs, aims, strict=True):
                what = f"train georgia, {size}, {precision}: study's epoch / {which}{SUFFIXES[clock]}"
                has_aim = precision == "float32" and clock == clocks[0]
                rows.append((what, study / seconds, aim if has_aim else ""))
    whole = f"{N_EPOCHS} epochs of {N_TRAIN:,} + {N_VALID:,} images, extrapolated"
    hours = f"hours{SUFFIXES[clocks[0]]}"
    study = N_EPOCHS * study_epoch_s(found, clocks[0], N_TRAIN, N_VALID)
    rows.append((f"{whole}: study's way, {hours}", study / 3600, ""))
    for precision in precisions:
        seconds = georgia_training_s(found, precision, clocks[0])
        rows.append((f"{whole}: Georgia in {precision}, {hours}", seconds / 3600, ""))
    return rows


def describe_arithmetic(found: dict[str, Any], clocks: tuple[str, ...] = CLOCKS) -> list[str]:
    """Return the extrapolation written out, a line for each way and clock."""
    study, lines = found["study"], []
    for clock in clocks:
        name = {"wall_s": "wall", "cpu_s": "processor"}[clock]
        train, evaluate, predict = (study[stage][clock] for stage in ("train", "evaluate", "predict"))
        epoch = study_epoch_s(found, clock, N_TRAIN, N_VALID)
        lines.append(
            f"- study's way, {name} time, from {found['n_study']} images of each stage: {N_TRAIN:,} × "
            f"{train:.3f} s + {N_VALID:,} × ({evaluate:.3f} + 2 × {predict:.3f}) s = {epoch:,.0f} s an "
            f"epoch, × {N_EPOCHS} = {N_EPOCHS * epoch / 3600:.2f} h"
        )
        for precision in [name for name in PRECISIONS if name in found]:
            mine = found[precision]
            features, first, later = (
                mine[stage][clock] for stage in ("validation features", "epoch 1", "epoch 2")
            )
            total = georgia_training_s(found, precision, clock)
            lines.append(
                f"- Georgia in {precision}, {name} time: {features:.0f} s × {N_VALID:,} / "
                f"{found['n_valid']:,} (validation features) + {max(0.0, first - later):.0f} s (compiling) + "
                f"{N_EPOCHS} × {later:.0f} s × {N_TRAIN:,} / {found['n_train']:,} = {total / 3600:.2f} h"
            )
    return lines
