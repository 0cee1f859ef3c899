"""Options that several commands share, and how a settings file meets them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from georgia.config import build_config, read_toml_section
from georgia.errors import InputError

T = TypeVar("T")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="A TOML file; the section named after the command holds its settings."),
]
ClassNamesOption = Annotated[
    str | None,
    typer.Option("--class-names", help="Names for folders, such as 0=CEX,1=PG.", metavar="FOLDER=NAME,…"),
]
ClassesOption = Annotated[
    str | None,
    typer.Option("--classes", help="Class names of a foreign Keras file, in output order.", metavar="NAME,…"),
]
ProbeModelArgument = Annotated[
    Path | None, typer.Argument(help="A run folder or an exported .onnx (none: the bundled model).")
]
StoreOption = Annotated[
    str | None, typer.Option("--db", help="SQLite file or postgresql://… URL.  [georgia-monitor.db]")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any other setting; repeat it for more.", metavar="KEY=VALUE"),
]


def read_settings(file: Path | None, section: str) -> dict[str, Any]:
    """Return a command's section of a settings file; empty without a file.

    Raises:
        InputError: the file cannot be used, or has no such section.
    """
    if file is None:
        return {}
    values = read_toml_section(file, section)
    if not values:
        raise InputError(
            f"Cannot use settings {str(file)!r}",
            needs=f"a section [{section}] is needed",
            got=", ".join(f"[{name}]" for name in tomllib.loads(file.read_text(encoding="utf-8")))
            or "nothing",
        )
    return values


def read_optional_settings(file: Path | None, section: str) -> dict[str, Any]:
    """Return a section of a settings file, empty where the file has none of that name.

    Raises:
        InputError: the file cannot be used.
    """
    return {} if file is None else read_toml_section(file, section)


def make_config(
    cls: type[T], file: Path | None, section: str, given: Mapping[str, Any], where: str = ""
) -> T:
    """Fill a step's settings: its defaults, then the file's section, then what was typed (None: was not)."""
    typed = {key: value for key, value in given.items() if value is not None}
    return build_config(
        cls, read_settings(file, section), typed, where=where or f"the settings of {section!r}"
    )


def parse_folder_names(text: str | None) -> dict[str, str] | None:
    """Read ``0=CEX,1=PG``; None stays None.

    Raises:
        InputError: a part has no ``=``, or a folder stands twice.
    """
    from georgia.labels import parse_class_names  # loads numpy: not for a mere --help

    return None if text is None else parse_class_names(text)


def parse_classes(text: str | None) -> tuple[str, ...] | None:
    """Read ``CEX,PG``; None stays None.

    >>> parse_classes("CEX, PG")
    ('CEX', 'PG')
    """
    return None if text is None else tuple(name.strip() for name in text.split(","))
