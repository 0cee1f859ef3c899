"""A folder that another process writes: the second command is told who does, and changes nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from georgia.files import hold_folder


@pytest.mark.parametrize("command", ["evaluate", "explain", "cluster", "audit", "split"])
def test_folder_in_use_is_told(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path, command: str
) -> None:
    out = tmp_path / "out"
    models = [] if command in ("audit", "split") else [brightness_model]
    args = (command, *models, grey_images, "--out", out, *(("--audit", "none") if command == "split" else ()))
    with hold_folder(out):
        code, _, err = georgia(*args)
        assert [path.name for path in out.iterdir()] == [".lock"]
    assert code == 2
    assert f"one process at a time may write it; got process {os.getpid()} on" in err
    code, _, err = georgia(*args)
    assert code in (0, 4), err  # so few images may fail the audit's gate
    assert not (out / ".lock").exists()
