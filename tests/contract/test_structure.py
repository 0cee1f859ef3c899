"""The rules of the source tree: layers point one way, files and functions stay small."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from tests.helpers.patience import PATIENCE_S
from tests.helpers.sources import nodes_of, read

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
        *("monitor", "process", "spotcheck", "explain", "cluster"),
    },
    "training": {"backbones", "export", "train", "study", "demo", "label"},
    "faces": {"cli", "web", "api", "service", "__main__"},
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
def imports_of(path: Path) -> set[str]:
    """Return absolute names of everything that is imported at run time, inside functions too."""
    typing_only = {
        id(node)
        for block in nodes_of(path)
        if isinstance(block, ast.If)
        and isinstance(block.test, (ast.Name, ast.Attribute))
        and "TYPE_CHECKING" in ast.unparse(block.test)
        for statement in block.body
        for node in ast.walk(statement)
    }
    found: set[str] = set()
    for node in nodes_of(path):
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


def test_imports_point_to_the_same_layer_or_below() -> None:
    above = [
        f"{module} is {layer_of(module)} and imports {name}"
        for module, path in MODULES.items()
        for name in imports_of(path)
        if name.split(".")[0] == "georgia"
        and ORDER.index(layer_of(name)) > ORDER.index(layer_of(module))
        and (module, name) not in DOORS
    ]
    assert not above, "\n".join(above)


def test_root_is_a_screenful() -> None:
    modules = [path for path in FILES if path.parent == SOURCE]
    assert len(modules) <= MAX_ROOT_MODULES


def own_imports(path: Path) -> set[str]:
    """Return the modules of ours that a file imports; ``from package import module`` names the module."""
    found: set[str] = set()
    for node in nodes_of(path):
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


def test_only_training_imports_keras() -> None:
    heavy = [
        f"{module} imports {name}"
        for module, path in MODULES.items()
        if layer_of(module) not in ("training", "faces")
        for name in imports_of(path)
        if name.split(".")[0] in TRAINING_ONLY
    ]
    assert not heavy, "\n".join(heavy)


def oversized(path: Path) -> Iterator[str]:
    """Yield what is too long or takes too much."""
    n_lines = len(read(path).splitlines())
    if n_lines > MAX_FILE_LINES:
        yield f"{n_lines} lines"
    for node in nodes_of(path):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{node.name}: {length} lines"
            n_parameters = len(node.args.args) + len(node.args.kwonlyargs) + len(node.args.posonlyargs)
            if n_parameters > MAX_PARAMETERS and "cli" not in path.parts:
                yield f"{node.name}: {n_parameters} parameters"


def test_files_and_functions_stay_small() -> None:
    faults = [f"{module}: {fault}" for module, path in MODULES.items() for fault in oversized(path)]
    assert not faults, "\n".join(faults)


def forbidden(path: Path) -> Iterator[str]:
    """Yield assertions, prints outside of the command line, bare excepts, and what runs code from data."""
    for node in nodes_of(path):
        where = f"line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Assert):
            yield f"{where}: assert"
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{where}: bare except"
        elif isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
            name = ast.unparse(node.func)
            if name == "print" and "cli" not in path.parts:
                yield f"{where}: print"
            elif name in ("pickle.load", "pickle.loads", "eval", "exec"):
                yield f"{where}: {name}"


def test_no_assert_print_bare_except_or_pickle() -> None:
    faults = [f"{module}: {fault}" for module, path in MODULES.items() for fault in forbidden(path)]
    assert not faults, "\n".join(faults)


def modules_loaded_by(statement: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter holds after a statement."""
    program = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
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
    "argon2-cffi": "argon2",
    "opencv-python-headless": "cv2",
    "paho-mqtt": "paho",
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
    imported = {name.split(".")[0] for path in FILES for name in imports_of(path)}
    third_party = imported - set(sys.stdlib_module_names) - {"georgia"}
    assert not core - third_party, "declared, yet imported nowhere"
    assert not third_party - core - extras, "imported, yet declared nowhere"
