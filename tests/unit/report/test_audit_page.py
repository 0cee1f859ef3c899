"""The audit's page and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.helpers.audit_examples import FIRST, render_texture, render_textures

from georgia.audit import AuditConfig, run_audit
from georgia.audit.measurements import PROPERTIES
from georgia.report.audit_figures import Distribution, draw_distribution, draw_property_predictability
from georgia.report.audit_page import render_audit
from georgia.report.canvas import make_figure

FAST = AuditConfig(n_permutations=39, alpha=0.05, near_copies=False)


@pytest.mark.slow
def test_page_shows_duplicates_side_by_side(tmp_path: Path) -> None:
    example = render_textures(4).add("PG/flipped.png", FIRST[::-1].copy())
    page = render_audit(run_audit(example.write(tmp_path), FAST))
    assert "Quality gate failed." in page
    assert "flip top-bottom of 0.png" in page
    # Both findings (`copies`, `conflict`) show both images; an image is in the page, not beside it.
    assert page.count('class="frame"') == 4
    assert page.count("data:image/jpeg;base64,") == 4
    assert "http" not in page.replace("http://www.w3.org", "")
    assert str(tmp_path) not in page


def test_page_of_many_findings_shows_the_first_of_a_kind(tmp_path: Path) -> None:
    example = render_textures(4)
    for number in range(15):
        texture = render_texture(700 + number, 46, 47)
        example = example.add(f"CEX/{number:02d} one.png", texture)
        example = example.add(f"PG/{number:02d} other.png", texture)
    audit = run_audit(example.write(tmp_path), FAST)
    assert sum(finding.check == "conflict" for finding in audit.findings) == 15
    page = render_audit(audit)
    assert page.count("</span>conflict</h3>") == 12
    assert "And 3 further findings of this kind</b>, which audit.json holds" in page
    # Twelve sets of `copies`, in another order perhaps, and twelve conflicts.
    assert page.count("data:image/jpeg;base64,") == 2 * 24


def test_figures_return_plotted_values(tmp_path: Path) -> None:
    audit = run_audit(render_textures(3).write(tmp_path), FAST)
    plotted: dict[str, Any] = {}
    cut = float(np.unique(audit.columns["width_px"])[:2].mean())
    make_figure(
        lambda result, axes: plotted.update(draw_distribution(result, axes)) or plotted,
        Distribution(audit, PROPERTIES[0], cut),
    )
    assert all(sum(fractions) == pytest.approx(1) for fractions in plotted["fractions"].values())
    # Few values are bars; the mark is between the first and the second.
    assert plotted["mark"] == 0.5
    make_figure(
        lambda result, axes: plotted.update(draw_property_predictability(result, axes)) or plotted, audit
    )
    assert plotted["chance"] == 0.5
    assert len(plotted["properties"]) == len(audit.properties)
