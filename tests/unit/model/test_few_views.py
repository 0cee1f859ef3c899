"""Four of eight views give what the rotations alone give; nothing else of the net changes."""

from __future__ import annotations

import numpy as np
import openvino
import pytest
from openvino import opset13

from georgia.errors import InputError
from georgia.model.engines import OpenVinoEngine
from georgia.model.few_views import keep_rotations
from georgia.model.load import load_bundled_model
from georgia.synthetic import render_crop


def test_rotations_are_half_of_all_views() -> None:
    bundle = load_bundled_model()
    full = OpenVinoEngine(bundle.model_path, bundle.preprocess)
    few = OpenVinoEngine(bundle.model_path, bundle.preprocess, precision="rotations")
    image = full.prepare(render_crop("PG", 7).image)
    expected = full.run([image])
    rotated = few.run([np.rot90(image, number, (1, 2)) for number in range(4)])
    mirrored = few.run([image[:, :, ::-1]])
    assert rotated.keys() == expected.keys() - {"cam"}
    for name in ("logits", "features"):
        # A rotated image has the same four views.
        np.testing.assert_allclose(rotated[name], rotated[name][:1].repeat(4, axis=0), rtol=1e-3, atol=1e-4)
        both = (rotated[name][:1] + mirrored[name]) / 2
        np.testing.assert_allclose(both, expected[name], rtol=1e-3, atol=1e-4)


def test_net_of_one_view_is_rejected() -> None:
    image = opset13.parameter([-1, 3, 8, 8], np.float32)
    net = openvino.Model([opset13.relu(image)], [image], "one view")
    with pytest.raises(
        InputError, match="Cannot run four rotations: a net that averages eight views is needed"
    ):
        keep_rotations(net, [0])
