"""The programs in docs/export.md, run outside of the project, give the project's predictions."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from georgia.model.load import load_bundled_model
from georgia.predict.predictor import PredictConfig, predict_files
from georgia.synthetic import render_crop, render_empty

pytestmark = [pytest.mark.slow]
PAGE = Path(__file__).parents[2] / "docs" / "export.md"
BUNDLE = load_bundled_model()


def _program(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"the page shows no {language}"
    return found[1]


def _images(folder: Path) -> list[Path]:
    """PNG files of several sizes, grey and colour, synthetic crystals and fields without one."""
    images = [render_crop("CEX" if seed % 2 else "PG", seed).image for seed in range(8)]
    images += [render_empty(seed).image for seed in range(4)]
    rng = np.random.default_rng(0)
    images.append(rng.integers(0, 256, (400, 300, 3), dtype=np.uint8))
    files = []
    for number, image in enumerate(images):
        colour = Image.fromarray(image)
        files.append(folder / f"{number}.png")
        (colour.convert("L") if number % 3 == 0 else colour).save(files[-1])
    return files


def _check(lines: str, files: list[Path]) -> None:
    expected = predict_files(BUNDLE, files, PredictConfig(engine="onnxruntime")).items
    rows = [line.split("\t") for line in lines.splitlines()]
    assert [row[0] for row in rows] == [item.label for item in expected]
    assert {"unknown", "CEX", "PG"} == {row[0] for row in rows}
    got = np.array([[float(value) for value in row[1:]] for row in rows])
    mine = np.array([[*item.probabilities.values(), item.unknown_score or 0.0] for item in expected])
    np.testing.assert_allclose(got, mine, rtol=1e-3, atol=1e-4)


def _run(command: list[str | Path], folder: Path, reason: str = "") -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=240, env=environment
    )
    if done.returncode and reason:
        pytest.skip(f"{reason}: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_python_program_predicts_in_fresh_environment(tmp_path: Path) -> None:
    files = _images(tmp_path)
    home = tmp_path / "venv"
    _run([sys.executable, "-m", "venv", home], tmp_path)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    needed = ["pillow", "numpy", "onnxruntime"]
    _run([python, "-m", "pip", "install", "-q", *needed], tmp_path, "needs a package index")
    (tmp_path / "predict.py").write_text(_program("python"), encoding="utf-8")
    _check(_run([python, "predict.py", BUNDLE.model_path, *files], tmp_path), files)


@pytest.mark.parametrize("runtime", ["onnxruntime-node", "onnxruntime-web"])
def test_javascript_program_predicts(runtime: str, tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("needs node and npm")
    files = _images(tmp_path)
    (tmp_path / "package.json").write_text(json.dumps({"name": "predict", "private": True}))
    packages = [runtime, "pngjs"]
    _run([npm, "install", "--ignore-scripts", "--no-audit", *packages], tmp_path, "needs an npm registry")
    program = _program("js")
    if runtime == "onnxruntime-web":  # as in a browser: the file's bytes, on the provider that is named
        wasm = 'create(fs.readFileSync(model), { executionProviders: ["wasm"] })'
        program = program.replace("onnxruntime-node", runtime).replace("create(model)", wasm)
        assert wasm in program
    (tmp_path / "predict.js").write_text(program, encoding="utf-8")
    bundle = BUNDLE.model_path.with_name("bundle.json")
    _check(_run([node, "predict.js", BUNDLE.model_path, bundle, *files], tmp_path), files)
