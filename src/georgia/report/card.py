"""``MODEL_CARD.md``: what a model is, is for and is not for, with the metrics of its own report.

Source of the form: Mitchell et al. 2019, "Model Cards for Model Reporting", doi 10.1145/3287560.3287596.
"""

from __future__ import annotations

from pathlib import Path

from georgia.evaluate.assessment import describe_errors
from georgia.files import write_text
from georgia.report.inputs import ReportInputs
from georgia.report.learning import BASIS
from georgia.report.tables import format_fraction, format_interval, format_percent, name_split
from georgia.report.trust import Trust, measure_trust
from georgia.report.verdict import assess_run, describe_robustness
from georgia.text import count_noun

CARD_FILE = "MODEL_CARD.md"


def save_card(run: ReportInputs, path: str | Path) -> None:
    """Write the card whole or not at all.

    Raises:
        OSError: the folder cannot be written to.
    """
    path = Path(path)
    write_text(path, render_card(run))


def render_card(run: ReportInputs) -> str:
    """Return the card as Markdown; sections appear only where something is known."""
    trust = measure_trust(run.evaluation, run.metadata, is_own=not run.learning)
    parts = [
        f"# Model card: {_plain(run.title)}",
        _what_it_is(run),
        _what_for(run, trust),
        _data(run),
        _labels(run),
        _metrics(run),
        _claims(run, trust),
        _robustness(run),
        _limits(run, trust),
        _how_to_use(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what_it_is(run: ReportInputs) -> str:
    classes = ", ".join(map(_plain, run.evaluation.labels.names))
    kind = f" ({_plain(run.model)})" if run.model else ""
    made = f" Made {run.training.created}." if run.training else ""
    return f"**What it is.** A classifier{kind} of images into {classes}.{made}"


def _what_for(run: ReportInputs, trust: Trust) -> str:
    rejects = (
        "It rejects images that look unlike these." if _is_rejecting(run, trust) else "It rejects nothing."
    )
    return (
        "**What it is for.** Classifying images like those it was trained on: same probe, magnification, "
        "light and materials.\n\n"
        "**What it is not for.** Other classes, another probe or magnification, or decisions without a "
        f"person where a misclassified image does harm. {rejects}"
    )


def _data(run: ReportInputs) -> str:
    verdict = run.data_verdict or "The data was not audited."
    lines = [f"## Data\n\n{_plain(verdict)}"]
    if run.split_counts:
        names = run.evaluation.labels.names
        rows = [
            [name_split(split), *(f"{counts.get(name, 0):,}" for name in names)]
            for split, counts in run.split_counts.items()
        ]
        lines.append(_table(["split", *names], rows))
    data = run.metadata.get("data")
    if isinstance(data, dict) and data.get("sha256"):
        lines.append(f"Fingerprint of the images' contents: sha256 `{data['sha256']}`.")
    return "\n\n".join(lines)


def _is_rejecting(run: ReportInputs, trust: Trust) -> bool:
    return bool(trust.rejected) or (run.learning is not None and "unknown" in run.metadata)


def _labels(run: ReportInputs) -> str:
    if run.learning is None:
        return ""
    names = run.evaluation.labels.names
    rows = [
        [who.who, who.first, who.last, *(f"{who.by_class.get(name, 0):,}" for name in names)]
        for who in run.learning.namers
    ]
    table = _table(["named by", "first, UTC", "last, UTC", *names], rows)
    return f"## Labels\n\n{table}\n\n{_plain(run.learning.describe_reasons())}"


def _metrics(run: ReportInputs) -> str:
    metrics = run.evaluation.metrics
    rows = [
        [
            name,
            format_fraction(scores.precision),
            format_fraction(scores.recall),
            format_fraction(scores.f1),
            format_interval(scores.f1_ci95),
            f"{scores.support:,}",
        ]
        for name, scores in metrics.per_class.items()
        if scores.support
    ]
    table = _table(["class", "precision", "recall", "F1", "F1, 95 % interval", "images"], rows)
    ece = run.evaluation.ece
    interval = run.evaluation.ece_ci95
    calibration = (
        f" Expected calibration error {ece:.4f} ({format_interval(interval)})."
        if ece is not None and interval
        else ""
    )
    whose = (
        f"{_plain(BASIS)} {_plain(run.learning.describe_validity())} On"
        if run.learning
        else "Of the exported file, on"
    )
    return (
        f"## Metrics\n\n{whose} {run.images} in {count_noun(metrics.n_groups, 'group')}, "
        f"with 95 % confidence intervals over groups.\n\n{table}\n\n"
        f"Accuracy {format_fraction(metrics.accuracy)} ({format_interval(metrics.accuracy_ci95)}). "
        f"{describe_errors(metrics, run.images)}{calibration}{_computation(run)}"
    )


def _computation(run: ReportInputs) -> str:
    used = run.evaluation.predictions.computation
    named = [("by", used.engine), ("in", used.arithmetic), ("on", used.processor)]
    known = " ".join(f"{word} {_plain(text)}" for word, text in named if text)
    return f" Computed {known}." if known else ""


def _claims(run: ReportInputs, trust: Trust) -> str:
    lines = []
    if trust.calibration:
        fitted, kind = trust.calibration, "labelled" if run.learning else "validation"
        lines.append(
            f"- Calibrated on {count_noun(fitted.n, f'{kind} image')}, temperature "
            f"{fitted.temperature:.3f}: calibration error {fitted.before.error:.4f} before, "
            f"{fitted.after.error:.4f} after."
        )
    if trust.rejected:
        counts = ", ".join(
            f"{_plain(row.name)} {row.count} of {row.n:,} ({format_interval(row.interval)})"
            for row in trust.rejected
        )
        lines.append(f"- Rejected although of a known class: {counts}.")
    for sets in trust.coverage:
        whole = sets.overall
        lines.append(
            f"- Conformal sets at an error rate of {format_percent(sets.error_rate, 0)}: "
            f"{format_percent(whole.value)} of {whole.n:,} hold the true class "
            f"({format_interval(whole.interval)}); their mean size is "
            f"{sets.mean_size:.2f} classes."
        )
    if trust.promise:
        lines.append(f"- {_plain(trust.promise)}")
    return "## Uncertainty\n\n" + "\n".join(lines) if lines else ""


def _robustness(run: ReportInputs) -> str:
    return f"## Robustness\n\n{describe_robustness(run.robustness)}" if run.robustness else ""


def _limits(run: ReportInputs, trust: Trust) -> str:
    lines = [f"- **{_plain(reason.text)}**" for reason in assess_run(run).reasons]
    lines += [f"- Not checked: {item}." for item in run.not_checked]
    if run.settings.get("rehearse"):
        lines.append("- A rehearsal on part of the data: its metrics say nothing about the model.")
    if run.learning:
        lines.append(f"- {_plain(run.learning.curve_text)}")
    if not _is_rejecting(run, trust):
        lines.append("- Every image gets the name of a class, whatever it shows.")
    lines.append(
        f"- The intervals hold for images sampled as the {run.images} were, not for another batch or probe. "
        "Before use on one, label some of its images and let `georgia evaluate` tell what holds there."
    )
    return "## Limits\n\n" + "\n".join(lines)


def _how_to_use(run: ReportInputs) -> str:
    onnx = next((path.name for path in run.files if path.suffix == ".onnx"), "model.onnx")
    return (
        "## How to use it\n\n```\ngeorgia predict . images/\n```\n\n"
        f"or load `{_plain(onnx)}` anywhere: input uint8 RGB `[N, H, W, 3]` of any size; preprocessing, "
        "class names and thresholds are inside."
    )


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [[*map(_plain, heads)], ["---"] * len(heads), *([*map(_plain, row)] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Return a text with the characters escaped that mean something in Markdown or HTML."""
    for char in "\\|<>`*[]":
        text = text.replace(char, f"\\{char}")
    return " ".join(text.split())
