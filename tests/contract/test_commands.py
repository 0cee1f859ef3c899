"""One word per step in six places: module, command, settings section, result, docs page, test file."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import typer.main

from georgia.cli.app import app

ROOT = Path(__file__).parents[2]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
# Training has the audit's three rules for groups beside its own options.
MAX_OPTIONS = 15


def find_step_modules(command: str) -> list[Path]:
    """Return the modules and packages of a command's name, the command line's own aside."""
    source = ROOT / "src" / "georgia"
    found = [*source.rglob(f"{command}.py"), *source.rglob(f"{command}/__init__.py")]
    return [path for path in found if "cli" not in path.relative_to(source).parts]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_command_has_its_module_docs_page_and_tests(command: str) -> None:
    assert find_step_modules(command), "no module or package of the command's name outside cli"
    assert importlib.util.find_spec(f"georgia.cli.{command}"), "no face of the command's name"
    page = ROOT / "docs" / f"{command}.md"
    assert page.is_file(), "no docs page of the command's name"
    text = page.read_text(encoding="utf-8")
    assert f"georgia {command}" in text
    assert f"[{command}]" in text, "the page does not name the settings section"
    assert list((ROOT / "tests").rglob(f"test_{command}*.py")), "no test file of the command's name"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_command_keeps_the_contract(command: str) -> None:
    parameters = COMMANDS[command].params
    options = [option for parameter in parameters for option in parameter.opts if option.startswith("--")]
    assert {"--json", "--config"} <= set(options)
    assert len(options) <= MAX_OPTIONS
    assert "Example" in (COMMANDS[command].help or ""), "its help shows no example"
    for parameter in parameters:
        assert getattr(parameter, "help", ""), f"{parameter.name} has no help"


def test_index_and_readme_name_every_command() -> None:
    for file in ("README.md", "docs/index.md"):
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not [name for name in COMMANDS if f"georgia {name}" not in text], file
