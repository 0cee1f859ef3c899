"""Source files parsed once for all the rules that read them."""

from __future__ import annotations

import ast
import functools
from pathlib import Path


@functools.cache
def read(path: Path) -> str:
    """Return the text of a file."""
    return path.read_text(encoding="utf-8")


@functools.cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Return all nodes of a file, its module first and then breadth first."""
    return tuple(ast.walk(ast.parse(read(path))))
