"""Numbers as text, ``<prefix>FinalTestResults.txt`` and the lines of one epoch."""

from __future__ import annotations

import math
import re
from pathlib import Path

from georgia.evaluate.score import Evaluation
from georgia.files import write_text
from georgia.labels import UNKNOWN
from georgia.metrics.classification import AverageMetrics, ClassMetrics, Metrics
from georgia.metrics.intervals import Interval
from georgia.text import count_noun

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_HEADS = ("precision", "recall", "f1-score", "support")


def format_percent(fraction: float, digits: int = 2) -> str:
    """Return a fraction as percent; only 1 becomes 100 % and only 0 becomes 0 %.

    >>> format_percent(0.99999), format_percent(1.0), format_percent(0.5), format_percent(1e-7)
    ('>99.99 %', '100 %', '50.00 %', '<0.01 %')
    """
    if fraction in (0.0, 1.0):
        return f"{100 * fraction:.0f} %"
    step = 10.0**-digits
    if 100 * fraction < step:
        return f"<{step:.{digits}f} %"
    if 100 * fraction > 100 - step:
        return f">{100 - step:.{digits}f} %"
    return f"{100 * fraction:.{digits}f} %"


def format_fraction(fraction: float, digits: int = 4) -> str:
    """Return a fraction in [0, 1] whose rounding never hides the last error.

    >>> format_fraction(0.99996), format_fraction(1.0), format_fraction(0.99718)
    ('0.9999', '1.0000', '0.9972')
    """
    text = f"{fraction:.{digits}f}"
    if fraction < 1.0 and float(text) == 1.0:
        return f"{1 - 10.0**-digits:.{digits}f}"
    return text


def format_interval(interval: Interval, digits: int = 4) -> str:
    """Return an interval of fractions, its lower end never rounded up to 1.

    >>> format_interval((0.99442, 1.0))
    '0.9944 – 1.0000'
    """
    return f"{format_fraction(interval[0], digits)} – {format_fraction(interval[1], digits)}"


def format_change(change: float, digits: int = 4) -> str:
    """Return a difference with its sign; the minus is a minus, not a hyphen.

    >>> format_change(0.0123), format_change(-0.1457), format_change(-0.00001)
    ('+0.0123', '−0.1457', '0.0000')
    """
    text = f"{change:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0.0 else write_minus(text)


def format_change_interval(interval: Interval, digits: int = 4) -> str:
    """Return an interval of a difference; "to" stands between its ends, as a dash would read as a minus.

    >>> format_change_interval((-0.1457, -0.0402))
    '−0.1457 to −0.0402'
    """
    return f"{format_change(interval[0], digits)} to {format_change(interval[1], digits)}"


def write_minus(text: str) -> str:
    """Return a text in which every hyphen that is the sign of a number is a minus.

    >>> write_minus("noise-2 (-92.0 points), -0.5 to +0.5")
    'noise-2 (−92.0 points), −0.5 to +0.5'
    """
    return re.sub(r"(?<![^\s(])-(?=\d)", "−", text)


def format_number(number: float, digits: int = 4) -> str:
    """Return a number with ``digits`` significant digits; a very small one as a power of ten.

    >>> format_number(0.001), format_number(127.0), format_number(0.9797983), format_number(2.9136e-06)
    ('0.001', '127', '0.9798', '2.914×10⁻⁶')
    """
    if not math.isfinite(number) or (number.is_integer() and abs(number) < 10**15):
        return write_minus(f"{number:.0f}")
    if abs(number) >= 10 ** (digits - 1):
        return write_minus(f"{number:.0f}")
    base, _, power = f"{number:.{digits}g}".partition("e")
    return write_minus(base) + (f"×10{str(int(power)).translate(_RAISED)}" if power else "")


def name_split(split: str) -> str:
    """Return what a split is called in text.

    >>> name_split("valid"), name_split("test")
    ('validation', 'test')
    """
    return {"train": "training", "valid": "validation"}.get(split, split)


def epoch_lines(metrics: Metrics, epoch: int) -> list[str]:
    """Return the console's lines of one epoch: each class, then the macro and weighted averages."""
    averages = {"macro avg": metrics.macro, "weighted avg": metrics.weighted}
    rows: list[tuple[str, ClassMetrics | AverageMetrics]] = [*metrics.per_class.items(), *averages.items()]
    width = max(len(name) for name, _ in rows)
    lines = [f"Epoch {epoch} - Class-Wise Metrics:"]
    for name, scores in rows:
        values = {"Precision": scores.precision, "Recall": scores.recall, "F1-Score": scores.f1}
        text = ", ".join(f"{head}: {format_fraction(value)}" for head, value in values.items())
        lines.append(f"  {name.ljust(width)} - {text}")
    return lines


def format_results(evaluation: Evaluation, title: str = "Final test results") -> str:
    """Return the text of ``<prefix>FinalTestResults.txt``: metrics, intervals, every misclassified file."""
    parts = [_report_table(evaluation.metrics), _interval_table(evaluation.metrics)]
    parts += [
        _count_lines(evaluation),
        _confusion_table(evaluation.metrics),
        _misclassified_lines(evaluation),
    ]
    return "\n\n".join([f"{title}\n{'=' * len(title)}", *(part for part in parts if part)]) + "\n"


def save_results(evaluation: Evaluation, path: str | Path, title: str = "Final test results") -> None:
    """Write `format_results` whole or not at all.

    Raises:
        OSError: the folder cannot be written to.
    """
    path = Path(path)
    write_text(path, format_results(evaluation, title))


def _report_table(metrics: Metrics) -> str:
    width = max(len(name) for name in (*metrics.classes, "weighted avg"))
    lines = ["".join([" " * width, *(head.rjust(12) for head in _HEADS)]), ""]
    for name, scores in metrics.per_class.items():
        values = (scores.precision, scores.recall, scores.f1, scores.support)
        lines.append(_report_row(name.rjust(width), *values))
    accuracy = format_fraction(metrics.accuracy).rjust(12)
    lines += ["", "accuracy".rjust(width) + " " * 24 + accuracy + f"{metrics.n:12d}"]
    for name, average in (("macro avg", metrics.macro), ("weighted avg", metrics.weighted)):
        values = (average.precision, average.recall, average.f1, average.support)
        lines.append(_report_row(name.rjust(width), *values))
    return "\n".join(lines)


def _report_row(name: str, precision: float, recall: float, f1: float, support: int) -> str:
    numbers = [format_fraction(value).rjust(12) for value in (precision, recall, f1)]
    return name + "".join(numbers) + f"{support:12d}"


def _interval_table(metrics: Metrics) -> str:
    width = max(len(name) for name in (*metrics.classes, "weighted avg"))
    lines = ["95 % confidence intervals", "".join([" " * width, *(head.rjust(20) for head in _HEADS[:3])])]
    for name, scores in metrics.per_class.items():
        lines.append(_interval_row(name.rjust(width), scores))
    lines.append("accuracy".rjust(width) + " " * 40 + format_interval(metrics.accuracy_ci95).rjust(20))
    for name, average in (("macro avg", metrics.macro), ("weighted avg", metrics.weighted)):
        lines.append(_interval_row(name.rjust(width), average))
    return "\n".join(lines)


def _interval_row(name: str, scores: ClassMetrics | AverageMetrics) -> str:
    intervals = (scores.precision_ci95, scores.recall_ci95, scores.f1_ci95)
    return name + "".join(format_interval(interval).rjust(20) for interval in intervals)


def _count_lines(evaluation: Evaluation) -> str:
    metrics = evaluation.metrics
    limit = format_percent(metrics.error_rate_upper95)
    lines = [
        f"{count_noun(metrics.n, 'file')} in {count_noun(metrics.n_groups, 'group')}: "
        f"{metrics.n_correct:,} correct, {metrics.n_wrong:,} misclassified, "
        f"{metrics.n_unknown:,} rejected as {UNKNOWN}.",
        f"Misclassified: {metrics.n_wrong} of {metrics.n}; upper 95 % confidence limit {limit} (one-sided).",
    ]
    if metrics.n_unknown:
        fraction = (
            f"{format_fraction(metrics.n_unknown / metrics.n)} ({format_interval(metrics.rejected_ci95)})"
        )
        lines.append(f"Rejected: {metrics.n_unknown} of {metrics.n}, {fraction}.")
    if evaluation.ece is not None and evaluation.ece_ci95 is not None:
        interval = format_interval(evaluation.ece_ci95)
        lines.append(f"Expected calibration error: {evaluation.ece:.4f} ({interval}).")
    if evaluation.failed:
        lines.append(f"Not read, in no metric: {count_noun(len(evaluation.failed), 'file')}.")
    return "\n".join(lines)


def _confusion_table(metrics: Metrics) -> str:
    heads = [*metrics.classes, *([UNKNOWN] if metrics.n_unknown else [])]
    width = max(len(name) for name in metrics.classes)
    columns = [max(len(head), 6) + 2 for head in heads]
    lines = ["Confusion matrix (rows: true class, columns: predicted class)"]
    lines.append(" " * width + "".join(head.rjust(size) for head, size in zip(heads, columns, strict=True)))
    for index, name in enumerate(metrics.classes):
        row = [*metrics.confusion[index].tolist(), int(metrics.rejected[index])][: len(heads)]
        cells = "".join(str(count).rjust(size) for count, size in zip(row, columns, strict=True))
        lines.append(name.rjust(width) + cells)
    return "\n".join(lines)


def _misclassified_lines(evaluation: Evaluation) -> str:
    if not evaluation.misclassified:
        return ""
    lines = ["Misclassified files"]
    for item in evaluation.misclassified:
        probability = format_percent(item.probability)
        lines.append(f"  {item.file}: {item.truth} classified as {item.predicted} ({probability})")
    return "\n".join(lines)
