"""The pages tell the truth: commands parse, links lead somewhere, lists agree with the code."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import typer.main

from georgia.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def code_blocks(page: Path, *languages: str) -> Iterator[str]:
    """Yield the fenced blocks of a page in one of some languages ("" is none)."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        if language in languages:
            yield block


def command_lines(page: Path) -> Iterator[str]:
    """Yield each ``georgia …`` and ``scripts/…`` line of a page's shell blocks."""
    for block in code_blocks(page, "", "sh", "bash", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            args = line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
            if args.startswith(("georgia ", "scripts/")):
                yield args.partition(" #")[0].strip()


SHOWN = [(page, line) for page in PAGES for line in command_lines(page)]
IDS = [f"{page.name}: {line}" for page, line in SHOWN]


def test_pages_show_commands_at_all() -> None:
    assert len(SHOWN) > 20


@pytest.mark.parametrize(("page", "line"), SHOWN, ids=IDS)
def test_shown_command_parses(page: Path, line: str) -> None:
    args = shlex.split(line.partition(" | ")[0].partition(" > ")[0])
    if args[0].startswith("scripts/"):
        assert (ROOT / args[0]).is_file()
        return
    if args[1:] in (["--help"], ["--version"], []):
        return
    command = COMMANDS[args[1]]
    if "--help" not in args:
        command.make_context(args[1], args[2:])


def test_shown_settings_exist() -> None:
    from georgia.config import build_config
    from georgia.monitor.settings import MonitorConfig
    from georgia.process.settings import ProcessConfig
    from georgia.service.qualify import QualifyConfig
    from georgia.synthetic.simulate import SimulateConfig
    from georgia.train import recipe_config
    from georgia.web.config import ServeConfig

    def take_for_service(values: dict[str, str]) -> None:
        of_service = {field.name for field in fields(ServeConfig)}
        build_config(ServeConfig, {name: values[name] for name in values if name in of_service})
        build_config(MonitorConfig, {name: values[name] for name in values if name not in of_service})

    takers: dict[str, Callable[[dict[str, str]], object]] = {
        "monitor": lambda values: build_config(MonitorConfig, values),
        "process": lambda values: build_config(ProcessConfig, values),
        "qualify": lambda values: build_config(QualifyConfig, values),
        "serve": take_for_service,
        "simulate": lambda values: build_config(SimulateConfig, values),
    }
    shown = 0
    for _, line in SHOWN:
        values = dict(re.findall(r"--set (\w+)=(\S+)", line))
        if not values:
            continue
        shown += 1
        takers.get(line.split()[1], lambda values: recipe_config("fast", values))(values)
    assert shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_compile_and_import_what_exists(page: Path) -> None:
    for block in code_blocks(page, "python"):
        compile(block, str(page), "exec")
        for line in block.splitlines():
            if line.startswith(("from georgia", "import georgia")):
                exec(line, {})


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all that the pages' snippets read: small, and of the kinds that they name."""
    from PIL import Image

    import georgia
    from georgia.synthetic import render_dataset, render_frame

    folder = tmp_path_factory.mktemp("snippets")
    for name, n_per_class in (("data/crops", 12), ("data/cropped", 12), ("data/held-out", 4)):
        render_dataset(folder / name, n_per_class, seed=n_per_class)
    for path in (folder / "data/crops").glob("*/*.png"):
        path.rename(path.with_name(f"run{path.stem[-2]}_{path.name}"))
    shutil.copytree(folder / "data/held-out/PG", folder / "new-images")
    shutil.copytree(Path(georgia.__file__).parent / "bundled", folder / "runs/first")
    (folder / "probe").mkdir()
    for seed in (1, 2):
        Image.fromarray(render_frame(seed, (360, 480)).image).save(folder / "probe" / f"frame-{seed}.png")
    return folder


@pytest.fixture
def snippets(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Return the namespace that a page's snippets run in, one after another, in a copy of that folder.

    What would go on until Ctrl-C ends after its first pass, and a script gets its arguments.
    """
    import uvicorn

    from georgia.monitor.run import Monitor

    shutil.copytree(prepared, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    images = sorted(Path("new-images").glob("*.png"))[:2]
    monkeypatch.setattr(sys, "argv", ["classify.py", "runs/first/model.onnx", *map(str, images)])
    run_on = Monitor.run
    monkeypatch.setattr(Monitor, "run", lambda self, stop=None, once=False: run_on(self, stop, True))

    async def end_at_once(_: uvicorn.Server) -> None:
        return

    monkeypatch.setattr(uvicorn.Server, "main_loop", end_at_once)
    return {"__name__": "__main__"}


# Their snippets render and predict many images.
LONG = ("robustness.md", "synthetic.md", "monitor.md", "audit.md")
WITH_PYTHON = [page for page in PAGES if any(code_blocks(page, "python"))]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.name in LONG else [])
        for page in WITH_PYTHON
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_python_snippets_run(page: Path, snippets: dict[str, object]) -> None:
    for number, block in enumerate(code_blocks(page, "python"), 1):
        exec(compile(block, f"{page.name}, snippet {number}", "exec"), snippets)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_toml_blocks_are_settings_of_their_commands(page: Path) -> None:
    for block in code_blocks(page, "toml"):
        assert set(tomllib.loads(block)) <= {*COMMANDS, "probes", "moments"}


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    required = [*project["dependencies"], *(item for extra in extras.values() for item in extra)]
    names = {re.split(r"[\[<>=; ]", item)[0] for item in required} - {"georgia"}
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `([\w-]+)`", page, re.M))
    assert explained == names


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages == set(re.findall(r"\((\w+\.md)\)", index))


def show_setting(value: object) -> str:
    """Return a setting as the table in docs/train.md writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "–"
    return str(value)


def test_table_of_training_settings_is_that_of_the_code() -> None:
    import dataclasses

    from georgia.train import TrainConfig, recipe_config

    page = (ROOT / "docs" / "train.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| `(\w+)` \| ([^|]*) \| ([^|]*) \| [^|]+ \|$", page, re.M)
    fast, georgia = recipe_config("fast"), recipe_config("georgia")
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    expected = [
        (name, show_setting(getattr(fast, name)), show_setting(getattr(georgia, name))) for name in names
    ]
    assert shown == expected


def test_tree_names_every_module() -> None:
    block = list(code_blocks(ROOT / "docs" / "architecture.md", "text"))[-1]
    named = set(re.findall(r"(\w+(?:\.py|/))", block))
    source = ROOT / "src" / "georgia"
    there = {path.name for path in source.glob("*.py")} - {"__init__.py", "__main__.py", "_moved.py"}
    there |= {f"{path.name}/" for path in source.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert not there - named, "name these in the tree of docs/architecture.md"
    gone = {name for name in named if name.endswith(".py")} - there - {"speed.py", "architecture.py"}
    assert not gone, "the tree names what is not there"


def test_tests_that_pages_name_exist() -> None:
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py"))
    )
    written = set(re.findall(r"^ *(?:async )?def (test_\w+)", source, re.M))
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8"))}
    assert len(named) > 80
    assert not named - written
