"""Variants of the bundled model: other files with other or the same predictions, as if trained anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from georgia.files import write_text
from georgia.model.load import load_bundle, load_bundled_model
from georgia.text import format_csv


def write_model(folder: Path, name: str, is_inverted: bool = False, trained: list[str] | None = None) -> Path:
    """Write a model that predicts as the bundled one, or the opposite; ``trained`` are what it learned from.

    Without ``trained`` it is a demonstration model, which learned from synthetic crystals only.
    """
    bundled = load_bundled_model()
    folder.mkdir(parents=True)
    model = onnx.load(bundled.model_path)
    for tensor in model.graph.initializer:
        if tensor.name.startswith("net/head_output/kernel"):
            values = numpy_helper.to_array(tensor)
            flipped = values[:, ::-1] if tensor.name.endswith("kernel/float16") else values[::-1]
            tensor.CopyFrom(
                numpy_helper.from_array(np.ascontiguousarray(flipped if is_inverted else values), tensor.name)
            )
    details = json.loads((bundled.model_path.parent / "bundle.json").read_text())
    entry = next(entry for entry in model.metadata_props if entry.key == "georgia")
    inside = json.loads(entry.value)
    for document in (details, inside):
        document["name"] = name
        if trained is not None:
            document["data"] = {**document["data"], "source": "tests"}
            document["note"] = ""
    entry.value = json.dumps(inside)
    onnx.save(model, folder / "model.onnx")
    shutil.copy(bundled.model_path.with_name("reference.npz"), folder)
    if trained is not None:
        rows = [["path", "class", "group", "part"], *([file, "CEX", "", "train"] for file in trained)]
        write_text(folder / "split.csv", format_csv(rows))
    import hashlib

    details["model_sha256"] = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    write_text(folder / "bundle.json", json.dumps(details))
    load_bundle(folder)
    return folder
