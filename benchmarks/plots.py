"""The figures of docs/measurements/speed.md, made from the results of ``speed.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

STEPS = (
    "study: file by file",
    "keras: batch 32",
    "onnxruntime: files → CSV",
    "georgia: files → CSV",
    "engine alone",
)


def draw_all(results: dict[str, Any], folder: Path, name: str) -> list[Path]:
    """Draw every figure whose section was measured on the processor ``name``; return the files."""
    import matplotlib as mpl

    mpl.use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    if results.get("predict"):
        files.append(draw_predict(results["predict"], folder / f"speed_predict_{name}.png"))
    if results.get("growth"):
        files.append(draw_growth(results["growth"], folder / f"speed_growth_{name}.png"))
    curve = results.get("memory", {}).get("curve_mb")
    if curve:
        files.append(draw_memory(curve, folder / f"speed_memory_{name}.png"))
    return files


def draw_predict(nets: dict[str, Any], target: Path) -> Path:
    """Draw images/s of each way as a multiple of the study's loop, net by net."""
    import matplotlib.pyplot as plt

    figure, all_axes = plt.subplots(1, len(nets), figsize=(3.6 * len(nets), 2.6), squeeze=False, sharey=True)
    for axes, (net, speeds) in zip(all_axes[0], nets.items(), strict=True):
        values = [speeds[step] / speeds[STEPS[0]] for step in STEPS]
        colors = ["#b0b0b0", "#b0b0b0", "#b0b0b0", "#1b6ca8", "#e0a030"]
        bars = axes.barh(STEPS, values, color=colors)
        axes.bar_label(bars, [f" {value:.1f} ×" for value in values], fontsize=8)
        axes.set_title(net, fontsize=9)
        axes.set_xlim(0, 1.25 * max(values))
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0][0].invert_yaxis()  # all axes have this one
    figure.supxlabel("images/s, as a multiple of the study's loop", fontsize=8)
    figure.tight_layout()
    figure.savefig(target, dpi=110)
    plt.close(figure)
    return target


def draw_growth(growth: dict[str, Any], target: Path) -> Path:
    """Draw images/s and peak memory over the number of files."""
    import matplotlib.pyplot as plt

    sizes = sorted(growth, key=int)
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.6))
    for axes, key, label in ((left, "images_per_s", "images/s"), (right, "peak_mb", "peak memory, MB")):
        axes.plot([int(size) for size in sizes], [growth[size][key] for size in sizes], "o-", color="#1b6ca8")
        axes.set_xscale("log")
        axes.set_ylim(0, 1.15 * max(growth[size][key] for size in sizes))
        axes.set_xlabel("files", fontsize=8)
        axes.set_ylabel(label, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(target, dpi=110)
    plt.close(figure)
    return target


def draw_memory(curve: dict[str, float], target: Path) -> Path:
    """Draw what a process of many files holds in memory as it goes on."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 2.2))
    axes.plot([int(count) for count in curve], list(curve.values()), color="#1b6ca8")
    axes.set_ylim(0, 1.15 * max(curve.values()))
    axes.set_xlabel("files predicted", fontsize=8)
    axes.set_ylabel("memory, MB", fontsize=8)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(target, dpi=110)
    plt.close(figure)
    return target
