"""``georgia audit`` from arguments to files, exit codes and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.audit_examples import FIRST, render_textures

Command = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    render_textures(4).write(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """One CEX image is, mirrored, among the PG images."""
    render_textures(4).add("PG/m.png", FIRST[:, ::-1].copy()).write(tmp_path / "data")
    return tmp_path / "data"


def test_sound_data_pass_with_all_keys(georgia: Command, clean: Path, tmp_path: Path) -> None:
    code, result, _ = georgia("audit", clean, "--out", tmp_path / "out")
    assert code == 0
    assert {"n_images", "classes", "n_groups", "findings", "gate"} <= set(result)
    assert (result["n_images"], result["classes"], result["n_groups"]) == (8, {"CEX": 4, "PG": 4}, 8)
    assert (result["findings"], result["gate"]) == ([], "pass")
    saved = json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8"))
    assert saved["n_groups"] == 8
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert "Nothing was found." in page
    assert 'class="verdict good"' in page


def test_unsound_data_fail_with_4(georgia: Command, faulty: Path) -> None:
    code, result, _ = georgia("audit", faulty)
    assert (code, result["gate"], result["n_groups"]) == (4, "stop", 8)
    finding = next(finding for finding in result["findings"] if finding["check"] == "conflict")
    assert set(finding) == {"check", "severity", "message", "todo", "evidence", "files", "allowed"}
    assert set(finding["files"]) == {"CEX/0.png", "PG/m.png"}
    assert finding["evidence"]["pairs"][0]["transform"] == "flip left-right"


def test_allowed_finding_passes_and_is_recorded(georgia: Command, faulty: Path) -> None:
    code, result, _ = georgia("audit", faulty, "--allow", "conflict")
    assert (code, result["gate"], result["allowed"]) == (0, "pass", ["conflict"])
    allowed = {finding["check"]: finding["allowed"] for finding in result["findings"]}
    assert allowed == {"conflict": True, "copies": False}


def test_unreadable_file_is_named_with_3(georgia: Command, clean: Path) -> None:
    (clean / "CEX" / "empty.png").touch()
    code, result, err = georgia("audit", clean)
    assert code == 3
    assert [finding["check"] for finding in result["findings"]] == ["unreadable"]
    assert "the file is empty" in err


def test_group_regex_joins_groups(georgia: Command, clean: Path) -> None:
    code, result, _ = georgia("audit", clean, "--group-regex", r"([01])\.png$")
    assert (code, result["n_groups"]) == (0, 6)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--allow", "conflct"), "Did you mean 'conflict'"),
        (("--group-regex", "("), "must be a regular expression"),
        (("--group-regex", "zzz"), "must match names"),
        (("--time-gap", "-1"), "time_gap_s must be 0 or more"),
        (("--group-folder", "1"), "one group with all of CEX"),
    ],
)
def test_bad_input_is_one_line_with_2(
    georgia: Command, clean: Path, args: tuple[str, ...], message: str
) -> None:
    code, result, err = georgia("audit", clean, *args)
    assert (code, result) == (2, None)
    assert message in err
    assert sum(line.startswith("georgia: ") for line in err.splitlines()) == 1


def test_option_wins_over_settings_file(georgia: Command, faulty: Path, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[audit]\nallow = ["conflict"]\nnear_copies = false\n', encoding="utf-8")
    assert georgia("audit", faulty, "--config", file)[0] == 0
    assert georgia("audit", faulty, "--config", file, "--allow", "leak")[0] == 4
