"""The pages' templates: one way to fill them, to write numbers in them and to name files in them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import georgia
from georgia.report.tables import (
    format_change,
    format_change_interval,
    format_fraction,
    format_interval,
    format_percent,
    name_split,
    write_minus,
)
from georgia.text import count_noun

if TYPE_CHECKING:
    from jinja2 import Environment


def render_template(name: str, **values: Any) -> str:
    """Return a template filled with values; a number and its percent sign stay on one line."""
    page = _open_templates().get_template(name).render(version=georgia.__version__, **values)
    return page.replace(" %", "\N{NO-BREAK SPACE}%")


def name_file(path: Path) -> str:
    """Return a file's name with its folder, and no more: a page that is sent on tells no user's paths.

    >>> name_file(Path("/home/ann/data/CEX/CEX (1).png"))
    'CEX/CEX (1).png'
    """
    return "/".join(path.parts[-2:]) if not path.is_absolute() or len(path.parts) > 2 else path.name


@lru_cache(maxsize=1)
def _open_templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "fraction": format_fraction,
        "interval": format_interval,
        "percent": format_percent,
        "change": format_change,
        "change_interval": format_change_interval,
        "minus": write_minus,
        "file": name_file,
        "split_name": name_split,
    }
    environment.globals["count"] = count_noun
    return environment
