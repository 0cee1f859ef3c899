"""When images are shown at one scale, and how large the window is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from georgia.audit import Audit, AuditConfig, Finding
from georgia.errors import InputError
from georgia.images.preprocess import EFFICIENTNET_LITE
from georgia.labels import Labels
from georgia.progress import QUIET
from georgia.records import Catalog, Record
from georgia.train.geometry import apply_geometry, choose_window, tells_by_size
from georgia.train.network import Network
from georgia.train.recipes import recipe_config

SIZE = Finding("file-shortcut", "error", "width", "", {"property": "width_px"})
NETWORK = Network(None, None, None, EFFICIENTNET_LITE, (), "", None)


def audit_of(*findings: Finding) -> Audit:
    records = tuple(Record(Path(f"{n}.png"), "CEX" if n < 40 else "PG") for n in range(100))
    side = np.array([151.0] * 40 + [*np.linspace(130, 220, 60)])
    columns = {"width_px": side, "height_px": side + 3}
    return Audit(
        Catalog(Path(), Labels(("CEX", "PG")), records), findings, (), columns, (), AuditConfig(), 0.0
    )


def test_window_fits_nearly_all_images() -> None:
    window = choose_window(audit_of())
    small = audit_of().columns["width_px"][40:]
    assert 0.9 < (small >= window).mean() <= 0.97
    assert window < 151


def test_auto_acts_on_errors_of_size_only() -> None:
    config = recipe_config("fast")
    for findings in (
        (),
        (replace(SIZE, severity="warning"),),
        (replace(SIZE, evidence={"property": "mode"}),),
    ):
        assert not tells_by_size(audit_of(*findings))
        network, chosen = apply_geometry(NETWORK, config, audit_of(*findings), QUIET)
        assert (network.preprocess.window_px, chosen.geometry) == (0, "stretch")
    network, chosen = apply_geometry(NETWORK, config, audit_of(SIZE), QUIET)
    assert network.preprocess.window_px == chosen.window_px == choose_window(audit_of())
    assert (chosen.geometry, chosen.augmentation) == ("scale", "crystal-jitter")


def test_study_stretches_and_given_window_wins() -> None:
    assert apply_geometry(NETWORK, recipe_config("georgia"), audit_of(SIZE), QUIET)[1].geometry == "stretch"
    asked = recipe_config("fast", {"geometry": "scale", "window_px": 96, "audit": False})
    assert apply_geometry(NETWORK, asked, None, QUIET)[0].preprocess.window_px == 96


def test_window_needs_an_audit() -> None:
    with pytest.raises(InputError, match="with window_px where nothing is audited"):
        recipe_config("fast", {"geometry": "scale", "audit": False})
