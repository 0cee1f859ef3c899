"""A package that is not installed is named with its extra, before any work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from georgia.cli.packages import CORE, EXTRAS, check_packages
from georgia.errors import MissingDependencyError

BLOCKED = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
from georgia.cli import main
sys.exit(main(sys.argv[2:]))
"""
TRAIN = ("train", "data", "--out", "run")
DEMO = ("demo", "--out", "run")
STUDY = ("study", "data", "--out", "run")
LIVE = ("demo", "--live", "--out", "run")
SERVE = ("serve", "--db", "q.db", "--port", "0")
MONITOR = ("monitor", "--watch", "data", "--once", "--db")
AUDIT, PREDICT = ("audit", "data", "--out", "run"), ("predict", "data")
TRAINS = ("keras", "tensorflow", "h5py")
WEB = ("fastapi", "prometheus_client", "pydantic", "python_multipart", "starlette", "uvicorn")

CASES = [
    *((module, command, "georgia[train]") for module in TRAINS for command in (TRAIN, DEMO, STUDY)),
    *((module, TRAIN, module) for module in ("openvino", "matplotlib", "onnx", "onnxruntime")),
    ("sklearn", TRAIN, "scikit-learn"),
    ("cv2", TRAIN, "opencv-python-headless"),
    ("nncf", (*TRAIN, "--set", "int8=yes"), "georgia[int8]"),
    ("nncf", (*STUDY, "--set", "int8=yes"), "georgia[int8]"),
    ("ray", (*STUDY, "--ray", "auto"), "georgia[ray]"),
    ("ray", (*PREDICT, "--engine", "ray", "--out", "run"), "georgia[ray]"),
    ("pyarrow", (*PREDICT, "--out", "table.parquet"), "georgia[parquet]"),
    ("h5py", ("predict", "GA.h5", "data", "--classes", "A,B"), "georgia[train]"),
    ("keras", ("evaluate", "GA.h5", "data", "--classes", "A,B"), "georgia[train]"),
    ("cv2", PREDICT, "opencv-python-headless"),
    ("openvino,onnxruntime", PREDICT, "onnxruntime"),
    *((module, AUDIT, module) for module in ("jinja2", "matplotlib", "scipy")),
    *((module, AUDIT, CORE[module]) for module in ("cv2", "sklearn")),
    *((module, ("evaluate", "m", "data", "--out", "run"), module) for module in ("jinja2", "matplotlib")),
    ("sklearn", ("cluster", "m", "data", "--out", "run"), "scikit-learn"),
    ("sqlalchemy", (*MONITOR, "q.db"), "georgia[monitor]"),
    ("psycopg", (*MONITOR, "postgresql://u:secret@h/x"), "georgia[postgres]"),
    ("asyncua", (*MONITOR, "q.db", "--set", "opcua=opc.tcp://127.0.0.1:4840/x"), "georgia[plant]"),
    *((module, SERVE, "georgia[web]") for module in WEB),
    ("fastapi", LIVE, "georgia[web]"),
    ("sqlalchemy", SERVE, "georgia[monitor]"),
    ("sqlalchemy", ("frames", "q.db"), "georgia[monitor]"),
    ("sqlalchemy", ("verify", "q.db"), "georgia[monitor]"),
    ("cv2", ("simulate", "--out", "run", "--frames", "1"), "opencv-python-headless"),
]


@pytest.mark.parametrize(
    ("modules", "command", "extra"),
    [
        # One in eight with the quick tests: each starts a process.
        pytest.param(*case, id=f"{case[0]}-{case[1][0]}-{index}", marks=[pytest.mark.slow] * bool(index % 8))
        for index, case in enumerate(CASES)
    ],
)
def test_missing_package_is_one_line(
    modules: str, command: tuple[str, ...], extra: str, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "data" / "a.png")
    (tmp_path / "GA.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    result = subprocess.run(
        [sys.executable, "-c", BLOCKED, modules, *command],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert result.returncode == 2, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("georgia: Cannot ")
    assert "pip install" in last
    assert extra in last
    assert "Traceback" not in result.stderr
    assert "secret" not in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "run").exists()


def test_every_declared_package_has_its_extra() -> None:
    file = Path(__file__).parents[3] / "pyproject.toml"
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]

    def names(items: list[str]) -> set[str]:
        return {re.split(r"[\[>=;<! ]", item)[0].lower().replace("-", "_") for item in items}

    modules = {"psycopg": "psycopg", "tensorflow_cpu": "tensorflow", "georgia": ""}
    for extra, items in project["optional-dependencies"].items():
        if extra == "dev":
            continue
        for name in names(items):
            module = modules.get(name, name)
            assert not module or module in EXTRAS, f"{name} of {extra}"
    core = {name.lower().replace("-", "_") for name in CORE.values()}
    assert names(project["dependencies"]) - core == set()


def test_all_missing_packages_are_named_at_once() -> None:
    with pytest.raises(MissingDependencyError, match=r"packages no_such, neither are needed; got none"):
        check_packages("Cannot try", ["json", "no_such", "neither"])
