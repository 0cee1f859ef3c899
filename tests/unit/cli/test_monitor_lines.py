"""The lines of ``georgia monitor``: the end of a fault names the fault, and no other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.helpers.monitor import make_event

from georgia.cli.monitor import _Lines
from georgia.monitor.records import EventKind


def test_end_of_fault_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    lines, event = _Lines(as_json=False), make_event(EventKind.FAULT)
    for fault in ("'latest.png' changes faster than it can be read", "the folder cannot be read", ""):
        lines(replace(event, status=replace(event.status, fault=fault)))
    told = capsys.readouterr().err.splitlines()
    assert [line.removeprefix("georgia: ") for line in told] == [
        "'latest.png' changes faster than it can be read",
        "the folder cannot be read",
        "over: the folder cannot be read",
    ]
