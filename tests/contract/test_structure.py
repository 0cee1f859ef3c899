"""The rules of the source tree: layers point one way, files and functions stay small."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "georgia"
# Packages and root modules from the ground up; docs/architecture.md draws them.
LAYERS = {
    "base": {
        "georgia",
        "errors",
        "labels",
        "records",
        "config",
        "registry",
        "progress",
        "text",
        "files",
        "_moved",
    },
    "data": {"images", "catalog", "split", "synthetic", "fetch"},
    "serving": {
        *("model", "uncertainty", "metrics", "predict", "evaluate", "audit", "report", "distributed"),
        *("monitor", "explain", "cluster"),
    },
    "training": {"backbones", "export", "train", "study", "demo"},
    "faces": {"cli", "web", "api", "__main__"},
}
MAX_ROOT_MODULES = 16
ORDER = list(LAYERS)
TRAINING_ONLY = ("keras", "tensorflow", "jax", "torch", "h5py")
HEAVY = {"numpy", "PIL", "cv2", "onnx", "onnxruntime", "openvino", "matplotlib", "scipy", *TRAINING_ONLY}
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 600, 60, 9
FILES = sorted(SOURCE.rglob("*.py"))


def layer_of(module: str) -> str:
    """Return the layer of ``georgia.<package or root module>…``."""
    name = [*module.split("."), "georgia"][1]
    for layer, names in LAYERS.items():
        if name in names:
            return layer
    raise AssertionError(f"{module} stands in no layer; name it in LAYERS and docs/architecture.md")


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(tree: ast.AST) -> set[str]:
    """Return absolute names of everything that is imported at run time, inside functions too."""
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for statement in block.body
        for node in ast.walk(statement)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            if node.module == "georgia":
                found.update(
                    f"georgia.{alias.name}" for alias in node.names if not alias.name.startswith("__")
                )
    return found


# Doors upwards, opened when they are used: a foreign Keras file is converted where Keras is installed, and
# the package of all packages hands on its Python interface.
DOORS = {("georgia.model.load", "georgia.export.keras_import"), ("georgia", "georgia.api")}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_to_the_same_layer_or_below(path: Path) -> None:
    module = module_name(path)
    own = ORDER.index(layer_of(module))
    above = [
        name
        for name in imports_of(parse(path))
        if name.split(".")[0] == "georgia"
        and ORDER.index(layer_of(name)) > own
        and (module, name) not in DOORS
    ]
    assert not above, f"{module} is {ORDER[own]} and imports {above}"


def test_root_is_a_screenful() -> None:
    modules = [path for path in FILES if path.parent == SOURCE]
    assert len(modules) <= MAX_ROOT_MODULES


def own_imports(path: Path) -> set[str]:
    """Return the modules of ours that a file imports; ``from package import module`` names the module."""
    found: set[str] = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found.update(name if name in MODULES else node.module for name in names)
    return found & set(MODULES) - {"georgia"}


def test_no_module_imports_itself_through_others() -> None:
    graph = {module: own_imports(path) for module, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("import circle: " + " → ".join(error.args[1]))


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_only_training_imports_keras(path: Path) -> None:
    if layer_of(module_name(path)) in ("training", "faces"):
        return
    heavy = {name for name in imports_of(parse(path)) if name.split(".")[0] in TRAINING_ONLY}
    assert not heavy


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_and_functions_stay_small(path: Path) -> None:
    faults = []
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    if n_lines > MAX_FILE_LINES:
        faults.append(f"{n_lines} lines")
    for node in ast.walk(parse(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                faults.append(f"{node.name}: {length} lines")
            n_parameters = len(node.args.args) + len(node.args.kwonlyargs) + len(node.args.posonlyargs)
            if n_parameters > MAX_PARAMETERS and "cli" not in path.parts:
                faults.append(f"{node.name}: {n_parameters} parameters")
    assert not faults


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_assert_print_bare_except_or_pickle(path: Path) -> None:
    faults = []
    for node in ast.walk(parse(path)):
        where = f"line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Assert):
            faults.append(f"{where}: assert")
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            faults.append(f"{where}: bare except")
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print" and "cli" not in path.parts:
            faults.append(f"{where}: print")
        if isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "pickle.load",
            "pickle.loads",
            "eval",
            "exec",
        ):
            faults.append(f"{where}: {ast.unparse(node.func)}")
    assert not faults


def modules_loaded_by(statement: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter holds after a statement."""
    program = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return set(result.stdout.split())


def test_importing_georgia_loads_nothing_heavy() -> None:
    assert not modules_loaded_by("import georgia") & HEAVY


def test_command_line_starts_without_heavy_packages() -> None:
    assert not modules_loaded_by("from georgia.cli import main; main(['--version'])") & HEAVY


def test_serving_imports_without_keras() -> None:
    serving = [m for m in map(module_name, FILES) if layer_of(m) in ("base", "data", "serving")]
    blocker = f"for name in {TRAINING_ONLY!r}: sys.modules[name] = None\n"
    statement = blocker + "\n".join(f"import {module}" for module in serving)
    statement += f"\nfor name in {TRAINING_ONLY!r}: del sys.modules[name]"
    assert not modules_loaded_by(statement) & set(TRAINING_ONLY)


IMPORT_NAMES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "prometheus-client": "prometheus_client",
    "scikit-learn": "sklearn",
}


def test_every_core_dependency_is_imported_and_nothing_else_is() -> None:
    project = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = [item for extra in project["optional-dependencies"].values() for item in extra]
    core, extras = (
        {IMPORT_NAMES.get(name, name) for name in (re.split(r"[\[<>=; ]", item)[0] for item in items)}
        for items in (project["dependencies"], optional)
    )
    imported = {name.split(".")[0] for path in FILES for name in imports_of(parse(path))}
    third_party = imported - set(sys.stdlib_module_names) - {"georgia"}
    assert not core - third_party, "declared, yet imported nowhere"
    assert not third_party - core - extras, "imported, yet declared nowhere"
