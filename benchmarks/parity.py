"""The same predictions everywhere, on files: Keras, ONNX Runtime, OpenVINO in float32 and bfloat16, and Node.

    .venv/bin/python benchmarks/parity.py MODEL [--keras FILE.h5] [--files 500]

Files of all kinds are rendered: PNG, JPEG, TIFF, BMP and WebP, 8 and 16 bits, grey, colour, palette and
alpha, from 1 to 1,200 px. Node decodes nothing here: it is given the pixels that Georgia reads, as raw
bytes. A processor without bfloat16 computes in float32 whatever OpenVINO is asked for; so a further row
rounds what goes into and comes out of every convolution to bfloat16, in ONNX Runtime, as such units do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import onnx
import tifffile
from PIL import Image

from georgia.export.parity import PARITY_TOLERANCE
from georgia.images.decode import read_image
from georgia.model.bundle import Bundle
from georgia.model.engines import OnnxRuntimeEngine, OpenVinoEngine
from georgia.model.load import load_bundle, load_bundled_model
from georgia.synthetic import render_crop, render_empty

KINDS = ("png", "jpg", "tif", "bmp", "webp", "png16", "tif16", "tif16rgb", "grey", "alpha", "palette", "rgb")
NODE = """
const fs = require("fs"); const ort = require("onnxruntime-node");
(async () => {
  const [model, list] = process.argv.slice(2);
  const session = await ort.InferenceSession.create(model);
  for (const { file, shape } of JSON.parse(fs.readFileSync(list))) {
    const pixels = new Uint8Array(fs.readFileSync(file));
    const out = await session.run({ image: new ort.Tensor("uint8", pixels, [1, ...shape]) });
    console.log(JSON.stringify([...out.probabilities.data, ...out.unknown_score.data]));
  }
})();
"""


def draw_files(folder: Path, count: int) -> list[Path]:
    """Write files of all kinds in turn and return them."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        side = (
            int(np.exp(rng.uniform(np.log(32), np.log(700)))),
            int(np.exp(rng.uniform(np.log(32), np.log(700)))),
        )
        if number % 9 == 0:
            image = render_empty(number, side).image
        elif number % 31 == 1:
            image = rng.integers(
                0, 256, (int(rng.integers(1, 1200)), int(rng.integers(1, 40)), 3), dtype=np.uint8
            )
        else:
            image = render_crop("CEX" if number % 2 else "PG", number, side).image
        files.append(folder / f"{number}.{kind[:3] if kind[:3] in ('png', 'tif') else kind}")
        if kind in ("grey", "alpha", "palette", "rgb"):
            files[-1] = folder / f"{number}_{kind}.png"
        write_kind(image, kind, files[-1], rng)
    return files


def write_kind(image: np.ndarray, kind: str, file: Path, rng: np.random.Generator) -> None:
    """Write one image as its kind asks."""
    deep = image.astype(np.uint16) * 257
    if kind == "png16":
        Image.fromarray(deep[..., 0]).save(file)
    elif kind == "tif16":
        tifffile.imwrite(file, deep[..., 0])
    elif kind == "tif16rgb":
        tifffile.imwrite(file, deep, photometric="rgb")
    elif kind == "grey":
        Image.fromarray(image).convert("L").save(file)
    elif kind == "alpha":
        alpha = rng.integers(120, 256, image.shape[:2], dtype=np.uint8)
        Image.fromarray(np.dstack([image, alpha])).save(file)
    elif kind == "palette":
        Image.fromarray(image).convert("P").save(file)
    elif kind == "rgb":
        Image.fromarray((image * np.array([1.0, 0.8, 0.6])).astype(np.uint8)).save(file)
    else:
        Image.fromarray(image).save(file)


def run_node(model: Path, images: list[np.ndarray], folder: Path) -> np.ndarray | None:
    """Return Node's probabilities and unknown scores, or None where it cannot be had."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        return None
    (folder / "package.json").write_text('{"name": "parity", "private": true}')
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--silent", "onnxruntime-node"]
    if subprocess.run(command, cwd=folder, check=False).returncode:
        return None
    listed = []
    for number, image in enumerate(images):
        (folder / f"{number}.raw").write_bytes(image.tobytes())
        listed.append({"file": str(folder / f"{number}.raw"), "shape": image.shape})
    (folder / "list.json").write_text(json.dumps(listed))
    (folder / "run.js").write_text(NODE)
    command = [node, "run.js", str(model.absolute()), "list.json"]
    lines = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    return np.array([json.loads(line) for line in lines.splitlines()])


def run_keras(file: Path, bundle: Bundle, images: list[np.ndarray]) -> np.ndarray:
    """Return the calibrated probabilities of the Keras file."""
    import keras

    from georgia.export.parity import run_keras
    from georgia.uncertainty.calibration import softmax

    model = keras.models.load_model(file, compile=False)
    parts = [
        run_keras(model, bundle.preprocess, images[start : start + 50]) for start in range(0, len(images), 50)
    ]
    temperature = float(bundle.metadata.get("calibration", {}).get("temperature", 1.0))
    return softmax(np.concatenate(parts), temperature)


def write_rounded(model: Path, target: Path) -> Path:
    """Write the graph with its convolutions' inputs and outputs rounded to bfloat16; sums stay float32."""
    graph_file = onnx.load(model)
    nodes = []

    def rounded(name: str, result: str) -> str:
        for source, end, kind in (
            (name, f"{result}/bf16", onnx.TensorProto.BFLOAT16),
            (f"{result}/bf16", result, onnx.TensorProto.FLOAT),
        ):
            nodes.append(onnx.helper.make_node("Cast", [source], [end], to=kind))
        return result

    for number, node in enumerate(graph_file.graph.node):
        if node.op_type != "Conv":
            nodes.append(node)
            continue
        for place in (0, 1):
            node.input[place] = rounded(node.input[place], f"rounded/{number}/{place}")
        (output,) = node.output
        node.output[0] = f"rounded/{number}/sum"
        nodes.append(node)
        rounded(f"rounded/{number}/sum", output)
    del graph_file.graph.node[:]
    graph_file.graph.node.extend(nodes)
    onnx.save(graph_file, target)
    return target


def compare(name: str, probabilities: np.ndarray, reference: np.ndarray) -> dict[str, object]:
    """Return the largest difference, and labels that differ, in all and where the margin is clear."""
    differs = probabilities.argmax(axis=1) != reference.argmax(axis=1)
    ordered = np.sort(reference, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 2 * PARITY_TOLERANCE
    return {
        "engine": name,
        "largest_difference": float(np.abs(probabilities - reference).max()),
        "median_difference": float(np.median(np.abs(probabilities - reference).max(axis=1))),
        "other_labels": int(differs.sum()),
        "other_labels_with_clear_margin": int((differs & clear).sum()),
    }


def main() -> None:
    """Print one JSON object; ONNX Runtime on the shipped file is the reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, help="instead of the bundled model")
    parser.add_argument("--keras", type=Path, help="the net as .h5; a run folder's own is found by itself")
    parser.add_argument("--files", type=int, default=504)
    options = parser.parse_args()
    bundle = load_bundle(options.model) if options.model else load_bundled_model()
    keras_file = options.keras
    if keras_file is None and "weights_file" in bundle.metadata:
        keras_file = bundle.model_path.with_name(bundle.metadata["weights_file"])
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = [read_image(file) for file in draw_files(folder, options.files)]
        shipped = OnnxRuntimeEngine(bundle.model_path)
        reference = shipped.run(images)
        expected, scores = reference["probabilities"], reference.get("unknown_score")
        for precision in ("float32", "bfloat16"):
            engine = OpenVinoEngine(bundle.model_path, bundle.preprocess, precision=precision)
            outputs = engine.run([engine.prepare(image) for image in images])
            row = compare(f"OpenVINO {precision}", outputs["probabilities"], expected)
            if scores is not None:
                row["unknown_score"] = float(np.abs(outputs["unknown_score"] - scores).max())
            rows.append(row)
        rounded = OnnxRuntimeEngine(write_rounded(bundle.model_path, folder / "rounded.onnx")).run(images)
        row = compare("convolutions rounded to bfloat16", rounded["probabilities"], expected)
        if scores is not None:
            row["unknown_score"] = float(np.abs(rounded["unknown_score"] - scores).max())
            row["other_rejections"] = int(((rounded["unknown_score"] > 1) != (scores > 1)).sum())
        rows.append(row)
        if keras_file is not None:
            rows.append(compare("Keras", run_keras(keras_file, bundle, images), expected))
        node = run_node(bundle.model_path, images, folder)
        if node is not None:
            rows.append(compare("onnxruntime-node", node[:, :-1], expected))
    print(json.dumps({"model": bundle.name, "n_files": len(images), "engines": rows}, indent=1))


if __name__ == "__main__":
    main()
