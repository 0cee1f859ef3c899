"""A small sound file for each reader of ``fuzz_readers``."""

from __future__ import annotations

import io
import json
import shutil
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

KEPT = Path(__file__).parents[1] / "kept" / "v0.1"
IMAGE = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)


def write_samples(folder: Path, names: Sequence[str]) -> None:
    """Write those of the named files that the folder lacks."""
    folder.mkdir(exist_ok=True, parents=True)
    for name in names:
        path = folder / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True, parents=True)
            WRITERS[name](path)


def copy_kept(name: str) -> Callable[[Path], None]:
    """Return what takes a file that version 0.1 wrote."""
    return lambda path: shutil.copy(next(KEPT.glob(name)), path) and None


def make_state() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (4, 3, 3, 3), "bn1.running_var": (4,), "n": ()}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def write_torch(path: Path) -> None:
    from tests.unit.backbones.conftest import TorchWriter

    if path.name == "legacy.pth":
        TorchWriter().write_legacy(path, make_state(), "model")
    else:
        TorchWriter().write_zip(path, make_state(), "state_dict")


def write_safetensors(path: Path) -> None:
    import safetensors.numpy

    safetensors.numpy.save_file(make_state(), path)


def make_net() -> Any:
    import keras

    layers = keras.layers
    image = keras.Input((16, 16, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image)))
    return keras.Model(image, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def write_keras(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (make_net().save_weights if path.name == "net.weights.h5" else make_net().save)(path)


def write_onnx(path: Path) -> None:
    from georgia.export.keras_import import PIXELS
    from georgia.export.onnx_file import export_onnx
    from georgia.labels import Labels

    export_onnx(make_net(), replace(PIXELS, size_px=16), Labels(("CEX", "PG")), path, {"name": "small"})


def write_bundle(path: Path) -> None:
    """Write what version 0.1 wrote, with the net beside it named."""
    details = json.loads((KEPT / "run" / "bundle.json").read_text(encoding="utf-8"))
    path.write_text(json.dumps({**details, "model": "net.onnx"}), encoding="utf-8")


def write_image(path: Path) -> None:
    from PIL import Image

    Image.fromarray(IMAGE).save(path)


def write_table(path: Path) -> None:
    rows = ["path,class,group,time,part", "a.png,CEX,g1,2026-01-02,train", '"b.png",PG,,,train']
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def write_state(path: Path) -> None:
    from georgia.train.state import TrainState

    arrays = list(make_state().values())
    TrainState("key", 2, [{"epoch": 1.0}], 0.5, 1, 0, weights=arrays, optimizer=arrays).save(path.parent)


def write_features(path: Path) -> None:
    np.savez(path, **{"digest.0": make_state()["conv1.weight"], "digest.1": np.arange(5)})


def write_decoded(path: Path) -> None:
    np.save(path, IMAGE[None, :16, :16])


def write_decoded_list(path: Path) -> None:
    path.write_text(
        json.dumps({"place": [["/a.png", 10, 11, 0]], "failed": [["/b.png", 1, 1, "no such file"]]}),
        encoding="utf-8",
    )


def write_map(path: Path) -> None:
    from georgia.monitor.result import TileMap

    boxes = np.array([[0, 0, 16, 16], [16, 0, 16, 16]], np.int32)
    parts = np.array([0, -1], np.int8), np.array([[0.9, 0.1], [0.5, 0.5]], np.float16)
    path.write_bytes(TileMap(32, 16, ("CEX", "PG"), boxes, *parts).to_bytes())


def write_part(path: Path) -> None:
    from georgia.distributed.shards import ShardFolder
    from georgia.labels import Labels
    from georgia.predict.prediction import Prediction
    from georgia.records import Failure

    rows = [Prediction(Path("a.png"), "CEX", 0.9, {"CEX": 0.9, "PG": 0.1}), Failure(Path("b.png"), "empty")]
    ShardFolder(str(path.parent)).write_outcomes(0, rows, Labels(("CEX", "PG")))


def write_list(path: Path) -> None:
    path.write_text(json.dumps(["a.png", "b.png"]), encoding="utf-8")


def write_zip(path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("set/cex/a.png", "set/pg/b.png", "set/notes.txt"):
            archive.writestr(name, IMAGE.tobytes())
    path.write_bytes(stream.getvalue())


def open_predictor() -> Any:
    from georgia.model.load import load_bundle
    from georgia.predict import PredictConfig, Predictor

    if not _PREDICTORS:
        bundle = load_bundle(next((KEPT / "run").glob("*.onnx")))
        _PREDICTORS.append(Predictor(bundle, PredictConfig("onnxruntime", threads=1)))
    return _PREDICTORS[0]


_PREDICTORS: list[Any] = []


def write_journal(path: Path) -> None:
    """Write the journal of a table that was interrupted after one of its images."""
    from georgia.predict.resume import predict_to_table

    write_image(path.with_name("a.png"))
    run = predict_to_table(open_predictor(), [path.with_name("a.png")] * 2, path.with_suffix(""))
    next(run)
    run.close()  # type: ignore[attr-defined]


def resume_table(journal: Path) -> None:
    """Finish the table of such a journal; there is nothing left to predict."""
    from georgia.predict.resume import predict_to_table

    list(predict_to_table(open_predictor(), [], journal.with_suffix(""), resume=True))


WRITERS: dict[str, Callable[[Path], None]] = {
    **dict.fromkeys(("net.pth", "legacy.pth"), write_torch),
    "net.safetensors": write_safetensors,
    **dict.fromkeys(("net.h5", "net.weights.h5", "net.keras"), write_keras),
    "net.onnx": copy_kept("run/*.onnx"),
    "small.onnx": write_onnx,
    "bundle.json": write_bundle,
    "reference.npz": copy_kept("run/reference.npz"),
    "images.csv": write_table,
    **dict.fromkeys(("a.png", "b.png"), write_image),
    "settings.toml": copy_kept("run/settings.toml"),
    **{
        name: copy_kept(f"run/{name}")
        for name in (
            *("evaluation.json", "predictions_test.csv", "robustness.json", "split.csv", "split.json"),
            *("audit.json", "audit.csv", "history.csv"),
        )
    },
    "table.csv.part": write_journal,
    "resume.npz": write_state,
    "features.npz": write_features,
    "pictures.npy": write_decoded,
    "pictures.json": write_decoded_list,
    "map.npz": write_map,
    "part-000000.parquet": write_part,
    "_georgia/files-000000.json": write_list,
    "set.zip": write_zip,
}
