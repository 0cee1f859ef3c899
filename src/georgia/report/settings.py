"""Settings and facts of a model as lines of text; tables of measurements stay out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from georgia.evaluate.assessment import Acceptance
from georgia.predict.precision import PrecisionTrial
from georgia.predict.stepwise import ViewsTrial
from georgia.report.tables import format_fraction, format_number, format_percent, name_split
from georgia.text import count_noun

# Keys of bundle.json that have a place of their own on the page, or none.
_SHOWN_ELSEWHERE = (
    *("classes", "preprocess", "versions", "recipe", "metrics", "model", "name", "training", "audit"),
    *("robustness", "calibration", "unknown", "conformal", "parity", "int8", "acceptance"),
    *("precision", "orientation"),
)
_NAMES = {
    "backbone.name": "backbone",
    "backbone.source": "backbone weights",
    "backbone.sha256": "backbone weights, sha256",
    "trainable_base_layers": "backbone layers trained",
    "data.source": "data",
    "data.sha256": "data, sha256",
    "data.median_side_px": "median side of the images, px",
}
_PARITY_NAMES = {
    "n_files": "images compared",
    "largest_difference": "from the trained model",
    "between_engines": "between the engines",
}
_LONGEST_VALUE = 240


def flatten(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Return nested settings as one line each; numbers have four significant digits.

    >>> flatten({"epochs": 3, "dropout": [0.4, 0.3], "net": {"name": "x", "frozen": True}})
    {'epochs': '3', 'dropout': '0.4, 0.3', 'net.name': 'x', 'net.frozen': 'yes'}
    """
    lines: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines.update(flatten(value, f"{before}{key}."))
        else:
            text = format_value(value)
            lines[f"{before}{key}"] = text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
    return lines


def describe_model(metadata: Mapping[str, Any], has_counts: bool = False) -> dict[str, str]:
    """Return what ``bundle.json`` says of a model and what has no other place on the page.

    A mapping of mappings is a table of measurements, not a setting, and stays out; so do the counts of
    the data where ``has_counts``: a table shows them.

    >>> describe_model({"note": "to try", "without": {"PG": {"f1": 0.99}}})
    {'note': 'to try'}
    """
    data = metadata.get("data")
    counts = data.get("counts") if isinstance(data, Mapping) else None
    plain = {key: value for key, value in metadata.items() if key not in _SHOWN_ELSEWHERE}
    if isinstance(data, Mapping):
        plain["data"] = {key: value for key, value in data.items() if key != "counts"}
    lines = flatten({key: value for key, value in plain.items() if not _is_table(value)})
    lines = {_NAMES.get(key, key): text for key, text in lines.items()}
    if isinstance(counts, Mapping) and not has_counts:
        lines |= flatten({f"{name_split(split)} images": _join(classes) for split, classes in counts.items()})
    return lines | describe_serving(metadata) | _describe_int8(metadata.get("int8"))


def describe_serving(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the precision, what lower ones change, and the fraction of validation images that are accepted.

    >>> describe_serving({"precision": {"served": "float32"}})
    {'precision': 'float32'}
    """
    lines = {}
    precision = metadata.get("precision")
    if isinstance(precision, Mapping) and precision.get("served"):
        lines["precision"] = format_value(precision["served"])
    for name in ("bfloat16", "int8", "rotations"):
        trial = PrecisionTrial.from_metadata(metadata, name)
        if trial is None:
            continue
        kept = "shown to keep predictions" if trial.is_shown else "not shown to keep predictions"
        n_changed = count_noun(trial.n_changed + trial.n_changed_near, "label")
        how = ", emulated" if trial.is_emulated else ""
        lines[name] = (
            f"{kept}: {n_changed} of {trial.n:,} changed, probabilities by up to "
            f"{format_number(round(trial.largest_difference, 3))}{how}; float32 computes "
            f"{format_percent(trial.rejudged)} again, after which {trial.n_changed_kept:,} are changed"
        )
    views = ViewsTrial.from_metadata(metadata)
    if views is not None:
        kept = "shown to keep predictions" if views.is_shown else "not shown to keep predictions"
        lines["views"] = (
            f"{kept}: {views.n_views:.1f} of 8 in the mean of {count_noun(views.n, 'image')}, which changes "
            f"{count_noun(views.n_changed_kept, 'label')}, probabilities by up to "
            f"{format_number(round(views.largest_kept, 3))}"
        )
    acceptance = Acceptance.from_metadata(metadata)
    if acceptance is not None:
        lines["validation images accepted"] = (
            f"{format_percent(acceptance.fraction, 1)} of {acceptance.n:,}; "
            f"stated {format_percent(acceptance.stated, 1)}"
        )
    return lines


def describe_parity(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return how far the exported file's outputs lie from the trained model's, and engines from each other.

    >>> describe_parity({"parity": {"n_files": 64, "largest_difference": {"openvino": 4.17685e-07}}})
    {'images compared': '64', 'from the trained model, openvino': '4.177×10⁻⁷'}
    """
    parity = metadata.get("parity")
    if not isinstance(parity, Mapping):
        return {}
    named = {_PARITY_NAMES.get(str(key), str(key)): value for key, value in parity.items()}
    return {key.replace(".", ", ", 1): text for key, text in flatten(named).items()}


def format_value(value: Any) -> str:
    """Return one setting's value as text; of a path only its name."""
    if value is None or value in ("", (), []):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return format_number(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(format_value(item) for item in value)
    if isinstance(value, (str, Path)):
        # A page that is sent on tells no user's folders.
        return Path(value).name if Path(value).is_absolute() else str(value)
    return json.dumps(value, default=str)


def _is_table(value: Any) -> bool:
    inner = list(value.values()) if isinstance(value, Mapping) else value
    return isinstance(inner, (list, tuple)) and any(isinstance(item, Mapping) for item in inner)


def _join(classes: Any) -> Any:
    return (
        ", ".join(f"{name} {format_value(count)}" for name, count in classes.items())
        if isinstance(classes, Mapping)
        else classes
    )


def _describe_int8(values: Any) -> dict[str, str]:
    """Return whether the 8-bit file was kept, and its accuracy beside that of the float32 file."""
    if not isinstance(values, Mapping):
        return {}
    lines = {"8-bit file": "kept" if values.get("kept") else f"not kept: {values.get('why_not', '')}"}
    if values.get("accuracy"):
        full, small = (format_fraction(float(value)) for value in values["accuracy"])
        lines["accuracy of the 8-bit file"] = f"{small}, float32 {full}"
    return lines
