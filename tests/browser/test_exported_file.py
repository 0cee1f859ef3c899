"""The page of docs/export.md in a real browser: onnxruntime-web (wasm) gives Python's predictions."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.helpers.patience import PATIENCE_MS, PATIENCE_S

from georgia.model.load import load_bundled_model
from georgia.predict.predictor import PredictConfig, predict_files
from georgia.synthetic import render_crop, render_empty

pytestmark = [pytest.mark.slow]
PAGE = Path(__file__).parents[2] / "docs" / "export.md"
BUNDLE = load_bundled_model()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Keep requests off the tests' stderr."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the page with the files that it says it needs, and nothing else."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm (Debian: apt-get install npm)")
    folder = tmp_path_factory.mktemp("site")
    (folder / "package.json").write_text(json.dumps({"name": "predict", "private": True}), encoding="utf-8")
    options = ["--ignore-scripts", "--no-audit", "--prefer-offline", "--fetch-retries=1"]
    install = [npm, "install", *options, "onnxruntime-web"]
    try:
        subprocess.run(install, cwd=folder, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"needs an npm registry: {error.stderr.strip()[-200:]}")
    except subprocess.TimeoutExpired:
        pytest.skip("needs an npm registry that responds")
    site, text = folder / "served", PAGE.read_text(encoding="utf-8")
    site.mkdir()
    page = re.search(r"```html\n(.*?)```", text, re.DOTALL)
    assert page, "the page shows no HTML"
    (site / "index.html").write_text(page[1], encoding="utf-8")
    for name in set(re.findall(r"`(ort[\w.-]+\.(?:js|mjs|wasm))`", text)):
        shutil.copy(folder / "node_modules/onnxruntime-web/dist" / name, site)
    shutil.copy(BUNDLE.model_path, site / "model.onnx")
    shutil.copy(BUNDLE.model_path.with_name("bundle.json"), site)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def _images(folder: Path) -> list[Path]:
    """Lossless files: colour, grey, transparent, rotated by Exif, of other formats, and without a crystal."""
    images = [render_crop("CEX" if seed % 2 else "PG", seed).image for seed in range(6)]
    images += [render_empty(seed).image for seed in range(3)]
    images.append(np.random.default_rng(0).integers(0, 256, (90, 301, 3), dtype=np.uint8))
    files = [folder / f"{number}.png" for number in range(len(images))]
    for number, image in enumerate(images):
        colour = Image.fromarray(image)
        (colour.convert("L") if number % 3 == 0 else colour).save(files[number])
    clear, rotated = Image.fromarray(images[1]).convert("RGBA"), Image.Exif()
    clear.paste((255, 255, 255, 0), (0, 0, clear.width // 2, clear.height))
    rotated[0x0112] = 6
    files += [folder / "clear.png", folder / "rotated.png", folder / "whole.bmp", folder / "whole.webp"]
    clear.save(files[-4])
    Image.fromarray(images[2]).save(files[-3], exif=rotated)
    Image.fromarray(images[3]).save(files[-2])
    Image.fromarray(images[4]).save(files[-1], lossless=True)
    return files


def test_browser_gives_predictions_of_python(browser: Any, address: str, tmp_path: Path) -> None:
    files = _images(tmp_path)
    (tmp_path / "none.png").write_bytes(b"no image")
    page, asked, errors = browser.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.set_input_files("#files", [*files, tmp_path / "none.png"])
    page.wait_for_function(
        "n => document.getElementById('lines').textContent.split('\\n').length > n",
        arg=len(files) + 1,
        timeout=PATIENCE_MS,
    )
    *rows, fault = [line.split("\t") for line in page.inner_text("#lines").strip("\n").split("\n")]
    page.close()
    assert not errors
    assert all(url.startswith((address, "blob:" + address)) for url in asked), (
        "asked for files of other places"
    )
    assert fault[0].startswith("none.png: ")
    expected = predict_files(BUNDLE, files, PredictConfig(engine="onnxruntime")).items
    assert [row[0] for row in rows] == [item.label for item in expected]
    assert {"unknown", "CEX", "PG"} == {row[0] for row in rows}
    got = np.array([[float(value) for value in row[1:]] for row in rows])
    mine = np.array([[*item.probabilities.values(), item.unknown_score or 0.0] for item in expected])
    np.testing.assert_allclose(got[:, :-1], mine[:, :-1], atol=1e-4)
    np.testing.assert_allclose(got[:, -1], mine[:, -1], rtol=1e-3, atol=1e-3)
