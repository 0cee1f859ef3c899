"""A net that averages eight views of an image, cut down to four: half the work, near the same outputs.

Whether that serves a model is tried on its validation images, as a lower precision is: ``georgia.predict``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from georgia.errors import InputError
from georgia.images.symmetry import SYMMETRIES

# Names in graphs of ``georgia.export.graph.symmetry``.
_VIEWS, _BY_VIEW, _MEAN = "symmetry/views", "symmetry/by_view", "symmetry/mean"
# And of ``georgia.export.graph.ood_score``.
_FEATURES, _HALF = "picture/features", "picture/half"
# The four rotations. Source: of six subsets of one to four views, they left the fewest images near a
# threshold (docs/measurements/precision.md).
KEPT = tuple(number for number, symmetry in enumerate(SYMMETRIES) if not symmetry.is_flip)
# The output that puts each of eight views back in its place, which four cannot do.
CLASS_MAP = "cam"


def keep_rotations(net: Any, outputs: Sequence[int]) -> Any:
    """Return an OpenVINO model from ``network_input`` on that averages the four rotations.

    Args:
        outputs: the positions of the outputs that it keeps; ``CLASS_MAP`` cannot be among them.

    Raises:
        InputError: the net does not average eight views.
    """
    import openvino
    from openvino import opset13

    copy, is_found = net.clone(), False
    for node in copy.get_ordered_ops():
        name = node.get_friendly_name()
        if name == _VIEWS and len(node.inputs()) == len(SYMMETRIES):
            kept = opset13.concat([node.input(number).get_source_output() for number in KEPT], 0)
            for target in node.output(0).get_target_inputs():
                target.replace_source_output(kept.output(0))
            is_found = True
        elif name.startswith(_BY_VIEW) and node.get_type_name() == "Reshape":
            shape = np.array(node.input(1).get_source_output().get_node().data, np.int64)
            shape[0] = len(KEPT)
            node.input(1).replace_source_output(opset13.constant(shape).output(0))
    if not is_found:
        raise _explain_other_net("Cannot run four rotations")
    results = copy.get_results()
    return openvino.Model([results[place] for place in outputs], copy.get_parameters(), "georgia_rotations")


@dataclass(frozen=True)
class SplitViews:
    """A net that averages eight views, in three OpenVINO models.

    ``view`` takes views (M, 3, S, S) and gives tensors (M, width). ``light`` gives one tensor (N, width) of
    images (N, 3, S, S) that is the same for all their views, or is None. ``head`` takes the means of the
    first over the views of N images, in their order; ``light`` stands in front of that of ``place``.
    """

    view: Any
    head: Any
    light: Any | None
    place: int


def split_views(net: Any, outputs: Sequence[int]) -> SplitViews:
    """Return the net of single views, and what makes outputs of the means over views.

    Args:
        net: an OpenVINO model from ``network_input`` on.
        outputs: the positions of the outputs that the head has; ``CLASS_MAP`` cannot be among them.

    Raises:
        InputError: the net does not average eight views.
    """
    import openvino
    from openvino import opset13

    copy, views, averaged = net.clone(), None, []
    is_even = _halves_evenly(copy)
    for node in copy.get_ordered_ops():
        name = node.get_friendly_name()
        if name == _VIEWS and len(node.inputs()) == len(SYMMETRIES):
            views = node
        elif name.startswith(_MEAN) and node.get_type_name() == "ReduceMean":
            averaged.append((_find_by_view(node).input(0).get_source_output(), node))
    if views is None or not averaged:
        raise _explain_other_net("Cannot run single views")
    start = opset13.parameter(views.output(0).get_partial_shape(), np.float32, name="views")
    _replace(views, start)
    means, ends, light, place = [], [], None, -1
    for number, (source, node) in enumerate(averaged):
        means.append(opset13.parameter(node.output(0).get_partial_shape(), np.float32, name=f"mean_{number}"))
        _replace(node, means[-1])
        same, other = _part_light(source.get_node())
        if same and is_even:
            # A copy of its own: the other one gets a fixed number of views.
            light = openvino.Model([opset13.concat(same, 1)], [start], "georgia_light").clone()
            source, place = opset13.concat(other, 1).output(0), number
        ends.append(opset13.result(source))
    results = copy.get_results()
    head = openvino.Model([results[each] for each in outputs], means, "georgia_views_head")
    return SplitViews(openvino.Model(ends, [start], "georgia_view"), head, light, place)


def _part_light(features: Any) -> tuple[list[Any], list[Any]]:
    """Return the parts of the image features that no convolution leads to, and the others behind them."""
    if features.get_friendly_name() != _FEATURES:
        return [], []
    sources = [port.get_source_output() for port in features.inputs()]
    is_light = [not _has_convolution(source.get_node()) for source in sources]
    n_light = sum(is_light)
    if not 0 < n_light < len(sources) or not all(is_light[:n_light]):
        return [], []
    return sources[:n_light], sources[n_light:]


def _has_convolution(node: Any) -> bool:
    known, waiting = set[str](), [node]
    while waiting:
        found = waiting.pop()
        if "Convolution" in found.get_type_name():
            return True
        if found.get_name() not in known:
            known.add(found.get_name())
            waiting += [port.get_source_output().get_node() for port in found.inputs()]
    return False


def _halves_evenly(net: Any) -> bool:
    """Return whether image statistics halve even sides only; of odd ones a line is lost on one side."""
    halves = [node for node in net.get_ordered_ops() if node.get_friendly_name().startswith(_HALF)]
    shapes = [node.input(0).get_partial_shape() for node in halves]
    return all(shape[axis].get_length() % 2 == 0 for shape in shapes for axis in (2, 3))


def _find_by_view(mean: Any) -> Any:
    node = mean.input(0).get_source_output().get_node()
    if not node.get_friendly_name().startswith(_BY_VIEW):
        raise _explain_other_net("Cannot run single views")
    return node


def _replace(node: Any, other: Any) -> None:
    for target in node.output(0).get_target_inputs():
        target.replace_source_output(other.output(0))


def _explain_other_net(what: str) -> InputError:
    return InputError(what, needs="a net that averages eight views is needed", got="another net")
