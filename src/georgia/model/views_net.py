"""A net that averages eight views of an image, run view by view: two first, and more where they are needed.

The eight views of the exported graph are one large batch. Here views are made outside of the net, a few at a
time, and their outputs are added up, so that an image can stop after two or four of them and nothing is
computed twice. All eight give what the exported graph gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.images.preprocess import PreprocessSpec
from georgia.images.symmetry import SYMMETRIES
from georgia.model.engines import Outputs, choose_output_name, cut_at_network_input, open_core
from georgia.model.few_views import CLASS_MAP, split_views
from georgia.model.openvino_async import AsyncNet, explain_failed_run, explain_unread

Floats = npt.NDArray[np.float32]
# The numbers in ``SYMMETRIES`` of the views that each step adds: as it is and rotated by 90°, the other two
# rotations, the reflections. Source: of pairs, that one leaves the fewest images near a threshold
# (docs/measurements/precision.md).
STEPS = ((0, 1), (2, 3), (4, 5, 6, 7))
# Views that run together, of a fixed number: on one core of an AMD EPYC (Zen 4) a view takes 2.75 ms in fours
# and 3.1 ms in sixteens, whose tensors leave the core's own cache, or where the number may change.
VIEWS_AT_ONCE = 4
# Images whose light is measured together: 0.40 ms each there, 0.67 ms one by one.
IMAGES_AT_ONCE = 8


def make_view(image: Floats, number: int) -> Floats:
    """Return one of the eight views of network input (3, S, S), as ``SYMMETRIES`` counts them; not a copy."""
    symmetry = SYMMETRIES[number]
    return np.rot90(image[:, :, ::-1] if symmetry.is_flip else image, symmetry.n_rotations, (1, 2))


@dataclass(frozen=True)
class ViewSums:
    """What some views of N images add up to: tensors (N, width); ``light`` is the same for all views."""

    n_views: int
    sums: list[Floats]
    light: Floats | None

    def keep(self, is_kept: npt.NDArray[np.bool_]) -> ViewSums:
        """Return those of some of the images."""
        light = None if self.light is None else self.light[is_kept]
        return ViewSums(self.n_views, [rows[is_kept] for rows in self.sums], light)


class ViewsNet:
    """The net of one view, and the head that makes outputs of the mean over views; float32.

    Raises:
        InputError: OpenVINO cannot read the file, or the net does not average eight views.
    """

    def __init__(self, model: Path, spec: PreprocessSpec, threads: int = 0) -> None:
        self._spec = spec
        try:
            core = open_core()
            whole = core.read_model(str(model))
            names = [choose_output_name(output.get_names()) for output in whole.outputs]
            places = [place for place, name in enumerate(names) if name != CLASS_MAP]
            self._names = [names[place] for place in places]
            parts = split_views(cut_at_network_input(whole, spec.size_px), places)
            parts.view.reshape([VIEWS_AT_ONCE, 3, spec.size_px, spec.size_px])
            common = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
            properties = {**common, **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
            self._view = AsyncNet(core.compile_model(parts.view, "CPU", properties))
            alone = {**common, "INFERENCE_NUM_THREADS": 1}
            self._head = core.compile_model(parts.head, "CPU", alone)
            self._light = parts.light and core.compile_model(parts.light, "CPU", alone)
            self._light_place = parts.place
        except RuntimeError as error:
            raise explain_unread(model, error) from error

    def prepare(self, image: npt.NDArray[np.uint8]) -> Floats:
        """Return network input (3, size, size), float32."""
        return self._spec.network_input(image)

    def start(self, prepared: Sequence[Floats]) -> ViewSums:
        """Return what N images give without any view of theirs."""
        if self._light is None or not len(prepared):
            return ViewSums(0, [], None)
        request = self._light.create_infer_request()
        parts = (prepared[at : at + IMAGES_AT_ONCE] for at in range(0, len(prepared), IMAGES_AT_ONCE))
        rows = [_infer(request, [np.stack(part)])[0] for part in parts]
        return ViewSums(0, [], np.concatenate(rows))

    def add_views(self, before: ViewSums, prepared: Sequence[Floats], numbers: Sequence[int]) -> ViewSums:
        """Return what the same images give with some more of their views."""
        found = [parts for _, parts in self._view.stream(self._make_batches(prepared, numbers))]
        n_rows = len(prepared) * len(numbers)
        joined = [np.concatenate(parts)[:n_rows] for parts in zip(*found, strict=True)]
        sums = [rows.reshape(len(prepared), len(numbers), -1).sum(axis=1) for rows in joined]
        if before.n_views:
            sums = [a + b for a, b in zip(before.sums, sums, strict=True)]
        return ViewSums(before.n_views + len(numbers), sums, before.light)

    def finish(self, gathered: ViewSums) -> Outputs:
        """Return the outputs for the views so far."""
        means = [rows / np.float32(gathered.n_views) for rows in gathered.sums]
        if gathered.light is not None:
            behind = means[self._light_place]
            means[self._light_place] = np.concatenate([gathered.light, behind], axis=1)
        request = self._head.create_infer_request()  # one for each call: several threads may call
        return dict(zip(self._names, _infer(request, means), strict=True))

    def run_steps(self, prepared: Sequence[Floats]) -> list[Outputs]:
        """Return the outputs of all images after each of ``STEPS``; those after the last are the net's."""
        gathered, found = self.start(prepared), []
        for numbers in STEPS:
            gathered = self.add_views(gathered, prepared, numbers)
            found.append(self.finish(gathered))
        return found

    def _make_batches(
        self, prepared: Sequence[Floats], numbers: Sequence[int]
    ) -> Iterator[tuple[None, npt.NDArray[Any]]]:
        views = [(image, number) for image in prepared for number in numbers]
        size = self._spec.size_px
        for start in range(0, len(views), VIEWS_AT_ONCE):
            # What is left over in the last batch is computed and dropped.
            batch = np.zeros((VIEWS_AT_ONCE, 3, size, size), np.float32)
            for place, (image, number) in enumerate(views[start : start + VIEWS_AT_ONCE]):
                batch[place] = make_view(image, number)
            yield None, batch


def _infer(request: Any, inputs: Sequence[Floats]) -> list[Floats]:
    try:
        request.infer(dict(enumerate(inputs)))
    except RuntimeError as error:
        raise explain_failed_run("OpenVINO", error) from error
    return [np.array(tensor.data, np.float32) for tensor in request.output_tensors]
