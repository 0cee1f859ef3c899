"""Every command gives the same for boxes in a CSV file as for the same crops written as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from georgia.records import format_window
from georgia.synthetic import render_frame
from georgia.text import read_rows

Command = Callable[..., tuple[int, Any, str]]
N_FRAMES = 8
SIZE_PX = (420, 460)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render frames with boxes.csv, and in crops/ the same windows as files with crops.csv."""
    root = tmp_path_factory.mktemp("sets")
    (root / "frames").mkdir()
    (root / "crops").mkdir()
    boxes, crops = ["path,x,y,width,height,class,group"], ["path,class,group"]
    for number in range(N_FRAMES):
        frame = render_frame(number, SIZE_PX, pg_fraction=0.5, coverage=0.35)
        image = Image.fromarray(frame.image[:, :, 0])
        image.save(root / "frames" / f"f{number}.png")
        for box in frame.boxes:
            width, height = min(box.width, image.width - box.left), min(box.height, image.height - box.top)
            name = f"f{number}_{box.left}_{box.top}_{width}_{height}.png"
            if min(width, height) < 40 or (root / "crops" / name).exists():
                continue
            image.crop((box.left, box.top, box.left + width, box.top + height)).save(root / "crops" / name)
            boxes.append(f"f{number}.png,{box.left},{box.top},{width},{height},{box.class_name},")
            crops.append(f"{name},{box.class_name},f{number}.png")
    (root / "frames" / "boxes.csv").write_text("\n".join(boxes), encoding="utf-8")
    (root / "crops" / "crops.csv").write_text("\n".join(crops), encoding="utf-8")
    return root


def name_crop(path: str) -> str:
    """Return the name of the file that holds the same pixels as a window."""
    frame, _, box = Path(path).name.partition("#xywh=")
    return f"{frame.removesuffix('.png')}_{box.replace(',', '_')}.png" if box else frame


@pytest.mark.slow
def test_predict_windows_equals_crops(sets: Path, tmp_path: Path, georgia: Command) -> None:
    table = tmp_path / "boxes.csv"
    code, by_box, _ = georgia("predict", sets / "frames" / "boxes.csv", "--out", table)
    assert code == 0
    _, by_file, _ = georgia("predict", sets / "crops" / "crops.csv")
    found = {name_crop(item["file"]): item for item in by_box["predictions"]}
    assert len(found) == len(by_file["predictions"]) > 15
    for item in by_file["predictions"]:
        assert {**found[Path(item["file"]).name], "file": ""} == {**item, "file": ""}
    one = by_box["predictions"][0]
    assert "#xywh=" in one["file"]
    assert one["file"] in table.read_text(encoding="utf-8")
    _, alone, _ = georgia("predict", one["file"])
    assert alone["predictions"] == [one]


@pytest.mark.slow
def test_evaluate_windows_equals_crops(
    sets: Path, tmp_path: Path, georgia: Command, brightness_model: Path
) -> None:
    found = []
    for folder, name in (("frames", "boxes"), ("crops", "crops")):
        code, result, _ = georgia(
            "evaluate", brightness_model, sets / folder / f"{name}.csv", "--out", tmp_path / name
        )
        assert code in (0, 4)
        found.append(result)
    for key in found[0].keys() & {"n", "confusion", "accuracy", "calibration"}:
        assert found[0][key] == found[1][key]
    assert "confusion" in found[0]


@pytest.mark.slow
def test_audit_windows_equals_crops(sets: Path, tmp_path: Path, georgia: Command) -> None:
    rows = []
    for folder, name in (("frames", "boxes"), ("crops", "crops")):
        georgia("audit", sets / folder / f"{name}.csv", "--out", tmp_path / name)
        table = read_rows((tmp_path / name / "audit.csv").read_text(encoding="utf-8"))
        assert ("#xywh=" in table[0]["path"]) == (name == "boxes")
        # A window has its part of the frame's bytes, which is not that of a file of its own.
        own = [{k: v for k, v in row.items() if k not in ("path", "bytes_per_pixel")} for row in table]
        rows.append({name_crop(row["path"]): values for row, values in zip(table, own, strict=True)})
    assert rows[0].keys() == rows[1].keys()
    for name, row in rows[0].items():
        assert row == rows[1][name]


@pytest.mark.slow
def test_split_windows_equals_crops(sets: Path, tmp_path: Path, georgia: Command) -> None:
    data = sets / "frames" / "boxes.csv"
    _, by_box, _ = georgia("split", data, "--out", tmp_path / "cut", "--audit", "none")
    _, by_file, _ = georgia("split", sets / "crops" / "crops.csv", "--out", tmp_path / "b", "--audit", "none")
    assert by_box["counts"] == by_file["counts"]
    assert by_box["n_groups"] == by_file["n_groups"] == N_FRAMES
    own = sorted((tmp_path / "cut").rglob("*.png"))
    assert len(own) == by_box["n_placed"]
    for path in own:
        with Image.open(sets / "crops" / path.name) as crop, Image.open(path) as written:
            assert (written.mode, written.tobytes()) == (crop.mode, crop.tobytes())
    _, again, _ = georgia("split", data, "--out", tmp_path / "cut", "--audit", "none")
    assert (again["n_placed"], again["n_already"]) == (0, len(own))


@pytest.mark.parametrize("mode", ["link", "symlink", "move"])
def test_split_links_no_windows(sets: Path, tmp_path: Path, georgia: Command, mode: str) -> None:
    data, out = sets / "frames" / "boxes.csv", tmp_path / "out"
    code, _, err = georgia("split", data, "--out", out, "--audit", "none", "--mode", mode)
    assert code == 2
    assert "windows of frames. --mode copy writes them as PNG files" in err
    assert not out.exists()


def test_sheet_over_frame_is_rejected(sets: Path, georgia: Command) -> None:
    frame = sets / "frames" / "f0.png"
    before = frame.read_bytes()
    code, _, err = georgia("predict", format_window(frame, (0, 0, 64, 64)), "--sheet", frame)
    assert code == 2
    assert "never written over" in err
    assert frame.read_bytes() == before


def test_ray_rejects_table_of_windows(sets: Path, georgia: Command) -> None:
    code, _, err = georgia("predict", sets / "frames" / "boxes.csv", "--engine", "ray")
    assert code == 2
    assert "names windows or lists images" in err


def test_missing_box_fault_names_line(sets: Path, georgia: Command, tmp_path: Path) -> None:
    table = tmp_path / "bad.csv"
    table.write_text(f"path,x,y,width,height\n{sets / 'frames' / 'f0.png'},900,0,64,64\n", encoding="utf-8")
    code, _, err = georgia("predict", table)
    assert code == 2
    assert "line 2 has the box 900,0,64,64, which lies beyond its frame of 460×420 px" in err


@pytest.mark.slow
def test_train_takes_windows(sets: Path, tmp_path: Path, georgia: Command) -> None:
    code, _, err = georgia(
        *("train", sets / "frames" / "boxes.csv", "--out", tmp_path / "run", "--weights", "none"),
        "--rehearse",
    )
    assert code in (0, 4), err
    assert "#xywh=" in (tmp_path / "run" / "split.csv").read_text(encoding="utf-8")
