"""The exported file with its net in 8-bit integers, kept only where it predicts as well.

Preprocessing and head stay float32; between them NNCF quantises most convolutions, with ranges from
validation images.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import MissingDependencyError
from georgia.files import write_bytes
from georgia.images.preprocess import NETWORK_INPUT, PreprocessSpec
from georgia.metrics.classification import Metrics
from georgia.model.description import METADATA_KEY
from georgia.model.engines import import_openvino, open_engine

Images = Sequence[npt.NDArray[np.uint8]]
# Source: NNCF's own default number of images for the ranges.
N_CALIBRATION = 300
ROUNDS = 3


@dataclass(frozen=True)
class Int8Comparison:
    """The 8-bit file beside the float32 one, on the same images; ``kept`` is whether it ships.

    ``why_not`` names the metrics below the 95 % confidence interval of the float32 file; file sizes are
    in bytes, speeds in images/s of the engine alone.
    """

    kept: bool
    why_not: str
    accuracy: tuple[float, float]
    f1: dict[str, tuple[float, float]]
    images_per_s: tuple[float, float]
    n_bytes: tuple[int, int]

    def to_json_dict(self) -> dict[str, Any]:
        """Return the plain form; each pair is (float32, int8)."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the comparison as text, one line for each metric."""
        pairs = {"accuracy": self.accuracy, **{f"F1 {name}": pair for name, pair in self.f1.items()}}
        shown = [f"int8 {name}: {low:.4f}, float32 {high:.4f}" for name, (high, low) in pairs.items()]
        ratio = self.images_per_s[1] / self.images_per_s[0]
        shown.append(f"int8 speed: {ratio:.2f} × float32; file {self.n_bytes[1] / self.n_bytes[0]:.2f} ×")
        return [*shown, "int8: kept" if self.kept else f"int8: not kept, {self.why_not}"]


def require_nncf() -> Any:
    """Return NNCF, which what is asked for needs: said before the training, not behind it.

    Raises:
        MissingDependencyError: NNCF is not installed.
    """
    import_openvino()  # switches off NNCF's usage reports too
    try:
        import nncf
    except ImportError as error:
        raise MissingDependencyError(
            "Cannot quantise", needs="NNCF is needed", got=error, hint="pip install 'georgia[int8]'."
        ) from error
    return nncf


def quantize_model(source: Path, target: Path, images: Images) -> None:
    """Write ``source`` with its net in 8-bit integers to ``target``, whole or not at all.

    Args:
        images: images (H, W, 3), uint8 RGB, like those to predict; they set the ranges of the integers.

    Raises:
        MissingDependencyError: NNCF is not installed.
    """
    nncf = require_nncf()
    import onnx

    model = _unpack_weights(onnx.load(str(source)))
    logging.getLogger("nncf").setLevel(logging.ERROR)
    # NNCF prints progress bars on stdout, which belongs to the command's own output.
    with contextlib.redirect_stdout(io.StringIO()):
        quantised = nncf.quantize(
            model,
            nncf.Dataset(list(images), lambda image: {"image": image[None]}),
            subset_size=min(len(images), N_CALIBRATION),
            ignored_scope=nncf.IgnoredScope(names=list_float_nodes(model)),
        )
    _move_threshold(quantised, images, target.parent)
    write_bytes(target, quantised.SerializeToString())


def _move_threshold(model: Any, images: Images, folder: Path) -> None:
    """Set the threshold in the metadata so that the 8-bit net accepts the same fraction of the images.

    Rounding moves features away from the float32 net's, in OpenVINO on processors without 8-bit units further
    than in ONNX Runtime: the threshold is that of the engine with the higher scores.
    """
    entry = next((entry for entry in model.metadata_props if entry.key == METADATA_KEY), None)
    details = json.loads(entry.value) if entry is not None else {}
    if entry is None or "unknown" not in details or not images:
        return
    spec = PreprocessSpec.from_dict(details["preprocess"])
    unknown = details["unknown"]
    accepted, threshold = float(unknown["true_acceptance"]), float(unknown["threshold"])
    with tempfile.TemporaryDirectory(prefix="georgia-", dir=folder) as temporary:
        file = Path(temporary) / "model.onnx"
        file.write_bytes(model.SerializeToString())
        for name in ("onnxruntime", "openvino"):
            engine = open_engine(file, spec, name, precision="float32")
            scores = engine.run([engine.prepare(image) for image in images])["unknown_score"]
            threshold = max(threshold, float(np.quantile(scores, accepted, method="higher")))
    unknown["threshold"] = threshold
    entry.value = json.dumps(details)


def list_float_nodes(model: Any) -> list[str]:
    """Return the names of the nodes that stay float32.

    They are all before ``network_input`` and behind ``features``, those of views, the first convolution, and
    depthwise ones, which are no quicker in integers and where rounding costs most. Source:
    docs/measurements/precision.md.
    """
    makers = {name: node for node in model.graph.node for name in node.output}

    def before(tensor: str) -> set[str]:
        found: set[str] = set()
        waiting = [tensor]
        while waiting:
            node = makers.get(waiting.pop())
            if node is not None and node.name not in found:
                found.add(node.name)
                waiting += list(node.input)
        return found

    net = before("features") - before(NETWORK_INPUT)
    convolutions = [node for node in model.graph.node if node.name in net and node.op_type == "Conv"]
    kept = {node.name for node in convolutions if _count_groups(node) > 1}
    kept |= {node.name for node in convolutions[:1]}
    return [
        node.name
        for node in model.graph.node
        if node.name not in net or node.name in kept or node.name.startswith("symmetry/")
    ]


def _count_groups(convolution: Any) -> int:
    return next((int(entry.i) for entry in convolution.attribute if entry.name == "group"), 1)


def _unpack_weights(model: Any) -> Any:
    """Turn weights that are stored as float16 into float32 ones, which NNCF expects."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in [node for node in model.graph.node if node.op_type == "Cast" and node.input[0] in stored]:
        values = numpy_helper.to_array(stored[node.input[0]]).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        model.graph.initializer.remove(stored[node.input[0]])
        model.graph.node.remove(node)
    return model


def compare_int8(
    float_file: Path,
    int8_file: Path,
    spec: PreprocessSpec,
    images: Images,
    metrics: tuple[Metrics, Metrics],
) -> Int8Comparison:
    """Compare an 8-bit file: it is kept if accuracy and every F1 stay inside the float32 file's intervals.

    ``metrics`` are of (float32, int8), on the same labelled images; ``images`` are for the speed.
    """
    before, after = metrics
    f1 = {name: (metric.f1, after.per_class[name].f1) for name, metric in before.per_class.items()}
    faults = [
        f"F1 of {name} {f1[name][1]:.4f} below {metric.f1_ci95[0]:.4f}"
        for name, metric in before.per_class.items()
        if f1[name][1] < metric.f1_ci95[0]
    ]
    if after.accuracy < before.accuracy_ci95[0]:
        faults.insert(0, f"accuracy {after.accuracy:.4f} below {before.accuracy_ci95[0]:.4f}")
    return Int8Comparison(
        not faults,
        "; ".join(faults),
        (before.accuracy, after.accuracy),
        f1,
        measure_speeds(float_file, int8_file, spec, images),
        (float_file.stat().st_size, int8_file.stat().st_size),
    )


def measure_speeds(first: Path, second: Path, spec: PreprocessSpec, images: Images) -> tuple[float, float]:
    """Return images/s of two files' nets on prepared input, run alternately: medians of ``ROUNDS``."""
    steps: list[Callable[[], object]] = []
    for file in (first, second):
        engine = open_engine(file, spec, "openvino", precision="float32")
        prepared = [engine.prepare(image) for image in images]
        steps.append(lambda engine=engine, prepared=prepared: engine.run(prepared))  # type: ignore[misc]
    rates: tuple[list[float], list[float]] = ([], [])
    for round_number in range(ROUNDS + 1):
        for step, found in zip(steps, rates, strict=True):
            started = time.perf_counter()
            step()
            if round_number:  # the first one warms up
                found.append(len(images) / (time.perf_counter() - started))
    return statistics.median(rates[0]), statistics.median(rates[1])
