"""Open a model in the precision that it may be served in; bfloat16 with a second look in float32.

bfloat16, 8-bit integers or fewer views serve a model only where the trial on its validation images shows
that they keep what float32 predicts (``precision``, ``stepwise``). Elsewhere float32 does, and one line says
why.
"""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.model.bundle import Bundle
from georgia.model.engines import (
    PRECISION_VARIABLE,
    Engine,
    OpenVinoEngine,
    Outputs,
    find_asked_precision,
    find_int8_units,
    list_capabilities,
    open_engine,
)
from georgia.model.gpu_engine import has_gpu_runtime
from georgia.model.plain_net import check_plain_net
from georgia.model.views_net import STEPS, ViewsNet
from georgia.predict.precision import (
    BFLOAT16_TOLERANCE,
    WINDOW_TOLERANCE,
    Bands,
    PrecisionTrial,
    PrecisionWarning,
)
from georgia.predict.stepwise import StepwiseEngine, ViewsTrial
from georgia.uncertainty.decision import DecisionThresholds

# For tests and measurements: "1" is bfloat16 even where it is not shown for a model, emulated where the
# processor lacks it; "emulated" is the same on every processor.
UNPROVEN_VARIABLE = "GEORGIA_UNPROVEN_BFLOAT16"
T = TypeVar("T")
_NOT_TRIED = "it was not tried on this model's validation images"
# Images of a batch, and runs, that tell which precision is the fastest.
_N_TIMED = 4


@dataclass(frozen=True)
class _Opening:
    """A model and how its nets are opened."""

    bundle: Bundle
    engine: str
    threads: int
    is_wide: bool
    is_of_frames: bool = False

    @property
    def thresholds(self) -> DecisionThresholds:
        """Those near which a cheaper way is not enough."""
        own = self.bundle.thresholds
        return replace(own, conformal=None) if self.is_of_frames else own

    @property
    def tolerance(self) -> float:
        """What a probability may differ by from float32's, where only views are left out."""
        return WINDOW_TOLERANCE if self.is_of_frames else BFLOAT16_TOLERANCE

    def open_full(self) -> Engine:
        return open_engine(
            self.bundle.model_path, self.bundle.preprocess, self.engine, self.threads, "float32", self.is_wide
        )

    def open_rejudging(
        self, low: Engine, trial: PrecisionTrial | None, tolerance: float = BFLOAT16_TOLERANCE
    ) -> Engine:
        path, spec = self.bundle.model_path, self.bundle.preprocess
        full = OpenVinoEngine(path, spec, self.threads, is_wide=self.is_wide)
        bands = trial.bands if trial is not None else Bands()
        return RejudgingEngine(low, full, bands, self.thresholds, tolerance)


def open_served_engine(
    bundle: Bundle,
    engine: str = "auto",
    threads: int = 0,
    precision: str = "auto",
    is_wide: bool = False,
    is_of_frames: bool = False,
) -> Engine:
    """Open a model for predictions; its ``precision`` is the one that is used, and may be another than asked.

    bfloat16, int8, rotations (four of eight views) and views (as many as an image needs) are used where they
    are asked for, by name or by GEORGIA_PRECISION, OpenVINO runs the net, and the bundle shows them;
    "fastest" is the quickest of those. Otherwise the net computes in float32, and a ``PrecisionWarning`` says
    why. ``is_wide`` is for batches of many images: see ``georgia.model.openvino_async.NetChoice``. Of
    windows of frames labels and rejections are kept, prediction sets are not, and probabilities within
    ``WINDOW_TOLERANCE`` by rotations and views.

    Raises:
        InputError: a name is not known, the engine cannot read the file, or a precision is asked for by name
            together with an engine, or on a processor, without it.
        MissingDependencyError: the engine asked for is not installed.
    """
    asked = find_asked_precision(precision)
    opening = _Opening(bundle, engine, threads, is_wide, is_of_frames)
    if asked in ("auto", "float32"):
        return opening.open_full()
    if not _is_on_openvino(engine):
        if precision == "auto":
            _warn(f"{asked} ({PRECISION_VARIABLE}) is not used, float32 is: ONNX Runtime has no other.")
            return opening.open_full()
        raise InputError(
            f"Cannot use {asked}",
            needs="OpenVINO is needed",
            got="ONNX Runtime",
            hint="Leave --precision out, or use --engine openvino.",
        )
    if asked == "fastest":
        return _open_fastest(opening)
    return _OPENERS[asked](opening)


def _open_bfloat16(opening: _Opening) -> Engine:
    bundle, threads = opening.bundle, opening.threads
    trial = PrecisionTrial.from_metadata(bundle.metadata)
    reason = _NOT_TRIED if trial is None else trial.reason
    if reason and not is_unproven_allowed():
        _warn(f"bfloat16 is not used for model {bundle.name!r}, float32 is: {reason}.")
        return opening.open_full()
    if reason:
        _warn(
            f"bfloat16 is not shown to keep the predictions of model {bundle.name!r}: {reason}. "
            f"{UNPROVEN_VARIABLE} asks for it all the same."
        )
    path, spec = bundle.model_path, bundle.preprocess
    if _is_emulation_asked():
        low: Engine = OpenVinoEngine(path, spec, threads, "bfloat16", True, opening.is_wide)
    else:
        low = open_engine(path, spec, opening.engine, threads, "bfloat16", opening.is_wide)
    # A net without convolutions has nothing to compute in bfloat16.
    return low if low.precision != "bfloat16" else opening.open_rejudging(low, trial)


def _open_int8(opening: _Opening) -> Engine:
    reason = find_int8_fault(opening.bundle)
    if reason:
        _warn(f"int8 is not used for model {opening.bundle.name!r}, float32 is: {reason}.")
        return opening.open_full()
    file, spec = _find_int8_file(opening.bundle), opening.bundle.preprocess
    check_plain_net(file)
    low = OpenVinoEngine(file, spec, opening.threads, "int8", is_wide=opening.is_wide)
    return opening.open_rejudging(low, PrecisionTrial.from_metadata(opening.bundle.metadata, "int8"))


def _find_int8_file(bundle: Bundle) -> Path:
    return bundle.model_path.parent / Path(str(bundle.metadata["precision"]["int8"].get("file"))).name


def _open_rotations(opening: _Opening) -> Engine:
    bundle, trial = opening.bundle, PrecisionTrial.from_metadata(opening.bundle.metadata, "rotations")
    reason = find_rotations_fault(bundle)
    if reason:
        _warn(f"rotations is not used for model {bundle.name!r}, float32 on all its views is: {reason}.")
        return opening.open_full()
    path, spec = bundle.model_path, bundle.preprocess
    low = OpenVinoEngine(path, spec, opening.threads, "rotations", is_wide=opening.is_wide)
    return opening.open_rejudging(low, trial, opening.tolerance)


def _open_views(opening: _Opening) -> Engine:
    bundle, trial = opening.bundle, ViewsTrial.from_metadata(opening.bundle.metadata)
    reason = find_views_fault(bundle)
    if reason or trial is None:
        _warn(f"views is not used for model {bundle.name!r}, float32 on all its views is: {reason}.")
        return opening.open_full()
    net = ViewsNet(bundle.model_path, bundle.preprocess, opening.threads)
    return StepwiseEngine(net, trial.steps, opening.thresholds, opening.tolerance)


_OPENERS = {
    "bfloat16": _open_bfloat16,
    "int8": _open_int8,
    "rotations": _open_rotations,
    "views": _open_views,
}


def find_rotations_fault(bundle: Bundle) -> str:
    """Return why four of eight views may not serve a model; "" where they may."""
    if bundle.preprocess.symmetry != "average":
        return "it does not average eight views"
    trial = PrecisionTrial.from_metadata(bundle.metadata, "rotations")
    return _NOT_TRIED if trial is None else trial.reason


def find_views_fault(bundle: Bundle) -> str:
    """Return why views as needed may not serve a model; "" where they may."""
    if bundle.preprocess.symmetry != "average":
        return "it does not average eight views"
    trial = ViewsTrial.from_metadata(bundle.metadata)
    return _NOT_TRIED if trial is None else trial.reason


def find_int8_fault(bundle: Bundle) -> str:
    """Return why a model may not be served in int8 on this processor; "" where it may."""
    trial = PrecisionTrial.from_metadata(bundle.metadata, "int8")
    if trial is None:
        return f"{_NOT_TRIED} (--set int8=yes tries it)"
    if trial.reason:
        return trial.reason
    tried = bundle.metadata["precision"]["int8"]
    if tried.get("units") != find_int8_units():
        return (
            f"it was tried on another processor ({tried.get('units') or 'without units for 8-bit integers'})"
        )
    file = _find_int8_file(bundle)
    try:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return f"its file {file.name[:80]!r} is not beside the model"
    return (
        "" if found == tried.get("sha256") else f"its file {file.name[:80]!r} is not the one that was tried"
    )


def _open_fastest(opening: _Opening) -> Engine:
    """Open the precision that takes the least processor time here, of those that are shown for a model."""
    bundle = opening.bundle
    trial = PrecisionTrial.from_metadata(bundle.metadata)
    reasons = {
        "bfloat16": _NOT_TRIED if trial is None else trial.reason,
        "int8": find_int8_fault(bundle),
        "rotations": find_rotations_fault(bundle),
        "views": find_views_fault(bundle),
    }
    if not reasons["bfloat16"] and "BF16" not in list_capabilities():
        reasons["bfloat16"] = "this processor lacks it"
    able = [name for name, reason in reasons.items() if not reason]
    full = opening.open_full()
    if not able:
        told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        _warn(f"float32 is the fastest that may be used for model {bundle.name!r}: {told}.")
        return full
    best, least_s = full, _time_images(full, bundle)
    full_s = least_s
    for name in able:
        engine = _OPENERS[name](opening)
        cost_s = _expect_cost(engine, bundle, full_s)
        if cost_s < least_s:
            best, least_s = engine, cost_s
    return best


def _expect_cost(engine: Engine, bundle: Bundle, full_s: float) -> float:
    """Return the processor time, s, that a batch is expected to take with what is computed again."""
    if isinstance(engine, StepwiseEngine):
        trial = ViewsTrial.from_metadata(bundle.metadata)
        n_views = trial.n_views if trial is not None else sum(map(len, STEPS))
        return _time_images(_FirstStep(engine.net), bundle) * n_views / len(STEPS[0])
    if isinstance(engine, RejudgingEngine):
        shown = PrecisionTrial.from_metadata(bundle.metadata, engine.precision)
        return _time_images(engine.low, bundle) + (shown.rejudged if shown is not None else 1.0) * full_s
    return full_s


class _FirstStep:
    """The first views of images, whatever they show."""

    precision = "views"

    def __init__(self, net: ViewsNet) -> None:
        self._net, self.prepare = net, net.prepare

    def run(self, prepared: Sequence[npt.NDArray[Any]]) -> Outputs:
        net = self._net
        return net.finish(net.add_views(net.start(prepared), prepared, STEPS[0]))


def _time_images(engine: Engine | _FirstStep, bundle: Bundle) -> float:
    """Return the least processor time, s, that a batch of noise took in a few runs."""
    size = bundle.preprocess.size_px
    noise = np.random.default_rng(0).integers(0, 256, (_N_TIMED, size, size, 3), np.uint8)
    prepared = [engine.prepare(image) for image in noise]
    engine.run(prepared)
    times = []
    for _ in range(_N_TIMED):
        started = time.process_time()
        engine.run(prepared)
        times.append(time.process_time() - started)
    return min(times)


def is_unproven_allowed() -> bool:
    """Return whether GEORGIA_UNPROVEN_BFLOAT16 allows bfloat16 where it is not shown."""
    return os.environ.get(UNPROVEN_VARIABLE, "") not in ("", "0")


def _is_emulation_asked() -> bool:
    lacks = "BF16" not in list_capabilities()
    return os.environ.get(UNPROVEN_VARIABLE) == "emulated" or (is_unproven_allowed() and lacks)


def _is_on_openvino(engine: str) -> bool:
    if engine == "auto" and not has_gpu_runtime():
        return find_spec("openvino") is not None
    return engine == "openvino"


def _warn(message: str) -> None:
    warnings.warn(message, PrecisionWarning, stacklevel=1)


class RejudgingEngine:
    """A net in a cheaper way and the same in float32, which computes again what lies near a threshold.

    Both take the same prepared images. ``n_images`` and ``n_rejudged`` count what went through.
    """

    def __init__(
        self,
        low: Engine,
        full: Engine,
        bands: Bands,
        thresholds: DecisionThresholds,
        tolerance: float = BFLOAT16_TOLERANCE,
    ) -> None:
        self.low, self._full, self._bands, self._thresholds = low, full, bands, thresholds
        self._tolerance = tolerance
        self.name, self.precision, self.device = low.name, low.precision, low.device
        self.n_images = self.n_rejudged = 0

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Do the per-image work, in any thread, on an image (H, W, 3), uint8 RGB."""
        return self.low.prepare(image)

    def run(self, prepared: Sequence[npt.NDArray[Any]]) -> Outputs:
        """Return the outputs for any number of prepared images."""
        return self._rejudge(prepared, self.low.run(prepared))

    def stream(self, batches: Iterable[tuple[T, Sequence[npt.NDArray[Any]]]]) -> Iterator[tuple[T, Outputs]]:
        """Yield each batch's token and outputs, in order, while the caller prepares the next batch."""
        paired = (((token, prepared), prepared) for token, prepared in batches)
        for (token, prepared), outputs in self.low.stream(paired):
            yield token, self._rejudge(prepared, outputs)

    def _rejudge(self, prepared: Sequence[npt.NDArray[Any]], outputs: Outputs) -> Outputs:
        if not outputs:
            return outputs
        near = np.flatnonzero(self._bands.find_near(outputs, self._thresholds, self._tolerance))
        self.n_images += len(prepared)
        self.n_rejudged += len(near)
        if not len(near):
            return outputs
        again = self._full.run([prepared[index] for index in near.tolist()])
        joined = {name: np.array(values) for name, values in outputs.items()}
        for name, values in joined.items():
            values[near] = again[name]
        return joined
