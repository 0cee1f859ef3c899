"""``georgia audit`` from words to files, exit codes and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from georgia.audit.examples import ExampleImage, add, draw_texture, draw_textures

Command = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    draw_textures(4).write(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """One CEX image stands, mirrored, among the PG."""
    mirrored = ExampleImage("PG/m.png", draw_texture(0, 44, 44)[:, ::-1].copy())
    add(draw_textures(4), mirrored).write(tmp_path / "data")
    return tmp_path / "data"


def test_sound_data_passes_with_the_promised_keys(georgia: Command, clean: Path, tmp_path: Path) -> None:
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


def test_unsound_data_stops_with_4_and_says_what_to_do(georgia: Command, faulty: Path) -> None:
    code, result, _ = georgia("audit", faulty)
    assert (code, result["gate"], result["n_groups"]) == (4, "stop", 8)
    finding = next(one for one in result["findings"] if one["check"] == "conflict")
    assert {"check", "severity", "message", "evidence", "files"} <= set(finding)
    assert set(finding["files"]) == {"CEX/0.png", "PG/m.png"}
    assert finding["evidence"]["pairs"][0]["transform"] == "flip left-right"


def test_known_finding_is_let_pass_and_recorded(georgia: Command, faulty: Path) -> None:
    code, result, _ = georgia("audit", faulty, "--allow", "conflict")
    assert (code, result["gate"], result["allowed"]) == (0, "pass", ["conflict"])
    assert [one["allowed"] for one in result["findings"] if one["check"] == "conflict"] == [True]


def test_unreadable_file_is_left_out_named_and_3(georgia: Command, clean: Path) -> None:
    (clean / "CEX" / "empty.png").touch()
    code, result, err = georgia("audit", clean)
    assert code == 3
    assert [one["check"] for one in result["findings"]] == ["unreadable"]
    assert "the file is empty" in err


def test_groups_asked_for_are_joined(georgia: Command, clean: Path) -> None:
    code, result, _ = georgia("audit", clean, "--group-regex", r"([01])\.png$")
    assert (code, result["n_groups"]) == (0, 6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--allow", "conflct"), "Did you mean 'conflict'"),
        (("--group-regex", "("), "must be a regular expression"),
        (("--group-regex", "zzz"), "must match names"),
        (("--time-gap", "-1"), "time_gap_s must be 0 or more"),
        (("--group-folder", "1"), "one group with all of CEX"),
    ],
)
def test_bad_input_is_one_line_and_2(
    georgia: Command, clean: Path, words: tuple[str, ...], message: str
) -> None:
    code, result, err = georgia("audit", clean, *words)
    assert (code, result) == (2, None)
    assert message in err
    assert sum(line.startswith("georgia: ") for line in err.splitlines()) == 1


def test_settings_file_and_typed_words_meet(georgia: Command, faulty: Path, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[audit]\nallow = ["conflict"]\nnear_copies = false\n', encoding="utf-8")
    assert georgia("audit", faulty, "--config", file)[0] == 0
    assert georgia("audit", faulty, "--config", file, "--allow", "leak")[0] == 4
