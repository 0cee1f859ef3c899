"""Options that several commands have in common, and how they are combined with a settings file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from georgia.config import build_config, parse_assignments, read_toml_section
from georgia.errors import InputError

T = TypeVar("T")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", help="A TOML file; the section with the name of the command holds its settings."
    ),
]
ClassNamesOption = Annotated[
    str | None,
    typer.Option("--class-names", help="Names for folders, such as 0=CEX,1=PG.", metavar="FOLDER=NAME,…"),
]
PartsOption = Annotated[
    str | None,
    typer.Option(
        "--parts",
        help="Splits of folders whose names do not tell; none: they are classes; inner: those in them.",
        metavar="SPLIT=FOLDER,…",
    ),
]
ClassesOption = Annotated[
    str | None,
    typer.Option(
        "--classes", help="Class names of a Keras file from elsewhere, in output order.", metavar="NAME,…"
    ),
]
PreprocessOption = Annotated[
    str | None,
    typer.Option(
        help="What such a file was trained on: caffe, tf, torch, unit or raw.  [assumed from its layers]"
    ),
]
ReferenceOption = Annotated[
    list[str] | None,
    typer.Option(
        help="An image whose label is known that such a file must reproduce: NAME=IMAGE or "
        "NAME:PROBABILITY=IMAGE; may be repeated."
    ),
]
ModelArgument = Annotated[
    Path, typer.Argument(help="A run folder, an exported .onnx, or a Keras .h5 from elsewhere.")
]
DataArgument = Annotated[
    Path, typer.Argument(help="Folder per class, split folders, or a CSV with path,class.")
]
ModelAndImagesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="[MODEL] PATH…",
        help="A run folder, .onnx or Keras .h5 (none: the bundled model), then images, folders, globs, CSV.",
    ),
]
EngineOption = Annotated[str | None, typer.Option(help="auto, openvino or onnxruntime.  [auto]")]
RecipeOption = Annotated[str | None, typer.Option(help="fast, georgia, salami-18 or salami-50.  [fast]")]
FoldsOption = Annotated[
    int | None, typer.Option(help="Number of cross-validation folds; each image is tested once.")
]
ProbeModelArgument = Annotated[
    Path | None, typer.Argument(help="A run folder or an exported .onnx (none: the bundled model).")
]
StoreOption = Annotated[
    str | None, typer.Option("--db", help="SQLite file or postgresql://… URL.  [georgia-monitor.db]")
]
GroupRegexOption = Annotated[
    str | None,
    typer.Option(help="Names with the same match (its brackets, or the whole match) are one group."),
]
TimeGapOption = Annotated[
    float | None,
    typer.Option("--time-gap", help="Images at most so many seconds apart are one group."),
]
TimeRegexOption = Annotated[
    str | None,
    typer.Option(help="Where the time stands in a name, for --time-gap.  [CSV column time]"),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any other setting; repeatable.", metavar="KEY=VALUE"),
]


def read_settings(file: Path | None, section: str, is_required: bool = True) -> dict[str, Any]:
    """Return a command's section of a settings file; empty without a file.

    Raises:
        InputError: the file cannot be used, or lacks a section that is required of it.
    """
    if file is None:
        return {}
    values = read_toml_section(file, section)
    if is_required and section and not values and section not in (document := read_toml_section(file, "")):
        raise InputError(
            f"Cannot use settings {str(file)!r}",
            needs=f"a section [{section}] is needed",
            got=", ".join(f"[{name}]" for name in document) or "nothing",
        )
    return values


def make_config(
    cls: type[T],
    file: Path | None,
    section: str,
    options: Mapping[str, Any],
    changes: Iterable[str] | None = None,
) -> T:
    """Fill a step's settings; what comes later wins.

    The order: defaults of ``cls``, the file's ``section``, ``changes`` (KEY=VALUE of ``--set``), and
    ``options`` (None: not given).

    Raises:
        InputError: the file or a setting cannot be used.
    """
    layers = (read_settings(file, section), parse_assignments(changes or ()), given(options))
    return build_config(cls, *layers, where=f"the settings of {section!r}")


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given on the command line: those that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def parse_folder_names(text: str | None) -> dict[str, str] | None:
    """Read ``0=CEX,1=PG``; None stays None.

    Raises:
        InputError: an item has no ``=``, or a folder is named twice.
    """
    from georgia.labels import parse_class_names  # loads numpy: not for a mere --help

    return None if text is None else parse_class_names(text)


def parse_split_folders(text: str | None) -> Mapping[str, str] | str | None:
    """Read ``train=fold1,test=fold2`` as folder → split; None stays None.

    Raises:
        InputError: a split is unknown, or a folder is named twice.
    """
    from georgia.catalog.layout import parse_parts

    return None if text is None else parse_parts(text)


def parse_layout(class_names: str | None, parts: str | None) -> dict[str, Any]:
    """Return what ``read_catalog`` takes of the two options that tell what folders mean.

    Raises:
        InputError: one of them cannot be read.
    """
    return {"class_names": parse_folder_names(class_names), "parts": parse_split_folders(parts)}


def parse_classes(text: str | None) -> tuple[str, ...] | None:
    """Read ``CEX,PG``; None stays None.

    >>> parse_classes("CEX, PG")
    ('CEX', 'PG')
    """
    return None if text is None else tuple(name.strip() for name in text.split(","))


def read_audit_settings(
    file: Path | None, group_regex: str | None, time_gap: float | None, time_regex: str | None
) -> dict[str, Any]:
    """Return what a settings file's section [audit] and the options say about the audit before a training.

    Raises:
        InputError: the file or a setting cannot be used.
    """
    from georgia.audit import AuditConfig

    typed = {"group_regex": group_regex, "time_gap_s": time_gap, "time_regex": time_regex}
    settings = {**read_settings(file, "audit", is_required=False), **given(typed)}
    build_config(AuditConfig, settings, where="the settings of 'audit'")
    return settings
