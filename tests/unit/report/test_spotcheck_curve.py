"""The plot of a spot check's curve draws each span's interval, in percent over minutes."""

from __future__ import annotations

from pathlib import Path

import matplotlib.figure
import pytest
from PIL import Image

from georgia.report.spotcheck_curve import draw_curve, save_curve
from georgia.spotcheck import Interval, Span


def test_spans_are_plotted_with_their_intervals(tmp_path: Path) -> None:
    curve = [
        Span(1000.0, 1060.0, 40, 0.1, Interval(0.2, 0.1, 0.4, 9)),
        Span(1120.0, 1120.0, 10, None, Interval(0.5, 0.0, 1.0, 0)),
    ]
    axes = matplotlib.figure.Figure().add_subplot()
    values = draw_curve(curve, axes)
    assert values["minutes"][0] == [0.0, 1.0]
    assert values["high"] == [40.0, 100.0]
    assert values["raw"] == [10.0, None]
    # One frame is a span that can be seen.
    assert values["minutes"][1][0] < 2.0 < values["minutes"][1][1]
    assert [text.get_text() for text in axes.texts] == ["9 names", "0 names"]
    with Image.open(save_curve(curve, "PG", tmp_path)) as image:
        assert image.width == pytest.approx(1080, abs=400)
