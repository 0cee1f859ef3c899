"""Models of several probes: one net for those that compute alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from georgia.cli.serve_probes import _Models
from georgia.monitor.probes import make_probes


def test_probes_that_compute_alike_have_one_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    probes = {name: {"watch": f"frames-{name}", "threads": "1"} for name in ("a", "b", "c")}
    document = {"monitor": {"precision": "rotations"}, "probes": probes}
    probes["c"]["precision"] = "float32"
    models = _Models(None)
    opened = {probe.name: models.open(probe) for probe in make_probes(document, {})}
    analyzers = {name: analyzer for name, (_, analyzer, _) in opened.items()}
    assert [analyzers[name].precision for name in "abc"] == ["rotations", "rotations", "float32"]
    nets = [net._shared for _, _, net in opened.values()]
    assert nets[0] is nets[1]
    assert nets[0] is not nets[2]
