"""``MODEL_CARD.md``: what a model is, is for and is not for, with the figures of its own report.

Source of the form: Mitchell et al. 2019, "Model Cards for Model Reporting", doi 10.1145/3287560.3287596.
"""

from __future__ import annotations

from pathlib import Path

from georgia.files import write_text
from georgia.report.inputs import ReportInputs
from georgia.report.tables import format_fraction, format_interval, format_percent
from georgia.report.trust import Trust, measure_trust
from georgia.report.verdict import describe_mistakes, describe_robustness
from georgia.text import count_noun

CARD_FILE = "MODEL_CARD.md"


def save_card(run: ReportInputs, path: Path) -> None:
    """Write the card whole or not at all.

    Raises:
        OSError: the folder cannot be written to.
    """
    write_text(path, render_card(run))


def render_card(run: ReportInputs) -> str:
    """Return the card as Markdown; sections appear only where something is known."""
    trust = measure_trust(run.evaluation, run.bundle)
    parts = [
        f"# Model card: {_plain(run.title)}",
        _what_it_is(run),
        _what_for(run, trust),
        _data(run),
        _figures(run),
        _claims(trust),
        _robustness(run),
        _limits(run, trust),
        _how_to_use(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what_it_is(run: ReportInputs) -> str:
    classes = ", ".join(map(_plain, run.evaluation.labels.names))
    kind = f" ({_plain(run.model)})" if run.model else ""
    made = f" Made {run.created}." if run.created else ""
    return f"**What it is.** A classifier{kind} of images into {classes}.{made}"


def _what_for(run: ReportInputs, trust: Trust) -> str:
    seen = "images like those it was trained on: same probe, magnification, light and materials"
    other = "It refuses images that look unlike these." if trust.refused else "It refuses nothing."
    return (
        f"**What it is for.** Naming {seen}.\n\n"
        f"**What it is not for.** Other classes, another probe or magnification, or decisions without a "
        f"person where a wrong name does harm. {other}"
    )


def _data(run: ReportInputs) -> str:
    verdict = run.data_verdict or "The data was not audited."
    lines = [f"## Data\n\n{_plain(verdict)}"]
    if run.split_counts:
        names = run.evaluation.labels.names
        lines.append(
            "\n".join(
                _table(
                    ["part", *names],
                    [
                        [part, *(f"{counts.get(name, 0):,}" for name in names)]
                        for part, counts in run.split_counts.items()
                    ],
                )
            )
        )
    sha = run.bundle.get("data", {}).get("sha256") if isinstance(run.bundle.get("data"), dict) else None
    if sha:
        lines.append(f"Fingerprint of the images' contents: sha256 `{sha}`.")
    return "\n\n".join(lines)


def _figures(run: ReportInputs) -> str:
    metrics = run.evaluation.metrics
    rows = [
        [
            name,
            format_fraction(one.precision),
            format_fraction(one.recall),
            format_fraction(one.f1),
            format_interval(one.f1_ci95),
            f"{one.support:,}",
        ]
        for name, one in metrics.per_class.items()
        if one.support
    ]
    table = "\n".join(_table(["class", "precision", "recall", "F1", "F1, 95 %", "images"], rows))
    ece = run.evaluation.ece
    interval = run.evaluation.ece_ci95
    calibration = (
        f" Expected calibration error {ece:.4f} ({format_interval(interval)})."
        if ece is not None and interval
        else ""
    )
    return (
        f"## Figures\n\nOf the exported file, on {run.images} in {count_noun(metrics.n_groups, 'group')}; "
        f"intervals are over groups.\n\n{table}\n\n"
        f"Accuracy {format_fraction(metrics.accuracy)} ({format_interval(metrics.accuracy_ci95)}). "
        f"{describe_mistakes(metrics, run.images)}{calibration}"
    )


def _claims(trust: Trust) -> str:
    lines = []
    if trust.calibration:
        one = trust.calibration
        lines.append(
            f"- Temperature {one.temperature:.3f}, from {count_noun(one.n, 'validation image')}: "
            f"calibration error there {one.before.error:.4f} before, {one.after.error:.4f} after."
        )
    if trust.refused:
        shares = ", ".join(
            f"{_plain(one.name)} {one.count} of {one.n:,} ({format_interval(one.interval)})"
            for one in trust.refused
        )
        lines.append(f"- Refused although known: {shares}.")
    for sets in trust.coverage:
        whole = sets.overall
        lines.append(
            f"- Sets at an error rate of {format_percent(sets.error_rate, 0)}: the true class is in "
            f"{format_percent(whole.value)} of {whole.n:,} ({format_interval(whole.interval)}), "
            f"{sets.mean_size:.2f} classes on average."
        )
    return "## How sure it is\n\n" + "\n".join(lines) if lines else ""


def _robustness(run: ReportInputs) -> str:
    return f"## Robustness\n\n{describe_robustness(run.robustness)}" if run.robustness else ""


def _limits(run: ReportInputs, trust: Trust) -> str:
    lines = [f"- Not checked: {one}." for one in run.not_checked]
    if run.recipe.get("rehearse"):
        lines.append("- A rehearsal on a part of the data: its figures say nothing about the model.")
    if not trust.refused:
        lines.append("- Whatever it is shown gets the name of a class.")
    lines.append(
        "- The intervals hold for images drawn as the test images were, not for another batch or probe."
    )
    return "## Limits\n\n" + "\n".join(lines)


def _how_to_use(run: ReportInputs) -> str:
    onnx = next((path.name for path in run.files if path.suffix == ".onnx"), "model.onnx")
    return (
        "## How to use it\n\n```\ngeorgia predict . images/\n```\n\n"
        f"or load `{_plain(onnx)}` anywhere: input uint8 RGB `[N, H, W, 3]` of any size; preprocessing, "
        "class names and limits are inside."
    )


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    lines = [[*map(_plain, heads)], ["---"] * len(heads), *([*map(_plain, row)] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _plain(text: str) -> str:
    """Return a text whose signs mean nothing in Markdown or HTML."""
    for sign in "\\|<>`*[]":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
