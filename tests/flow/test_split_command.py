"""``georgia split`` from arguments to files, exit codes and JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from georgia.cli import main


def run_json(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, dict[str, object]]:
    code = main([*map(str, args), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_split_counts_match_files(
    synthetic_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "split"
    code, result = run_json(capsys, "split", synthetic_crops, "--out", out, "--audit", "none")
    assert code == 0
    assert result["leaks"] == 0
    for part, counts in result["counts"].items():  # type: ignore[attr-defined]
        for name, count in counts.items():
            assert len(list((out / part / name).iterdir())) == count
    assert (out / "split.csv").is_file()


def test_unreadable_file_gives_exit_code_3(
    synthetic_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "crops"
    shutil.copytree(synthetic_crops, data)
    (data / "CEX" / "empty.png").touch()
    code = main(["split", str(data), "--out", str(tmp_path / "split"), "--audit", "none", "--json"])
    out, err = capsys.readouterr()
    assert code == 3
    assert [Path(failure["file"]).name for failure in json.loads(out)["failed"]] == ["empty.png"]
    assert "empty.png" in err
    assert "the file is empty" in err


def test_study_naming_reads_back(
    synthetic_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from georgia.catalog.read import read_catalog

    out = tmp_path / "study"
    options = ("--order", "name", "--naming", "study", "--audit", "none")
    code, result = run_json(capsys, "split", synthetic_crops, "--out", out, *options)
    assert code == 0
    assert (out / "GAtrainBinary" / "0").is_dir()
    catalog = read_catalog(out, class_names={"0": "CEX", "1": "PG"})
    assert catalog.count_by_class() == {"CEX": 40, "PG": 40}
    assert len(catalog.subset("train")) == sum(result["counts"]["train"].values())  # type: ignore[index]


def test_options_override_settings_file(
    synthetic_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[split]\nfractions = [0.5, 0.25, 0.25]\nseed = 3\n", encoding="utf-8")
    options = ("--config", file, "--seed", "4", "--mode", "manifest", "--audit", "none")
    main(["split", str(synthetic_crops), "--out", str(tmp_path / "noted"), *map(str, options)])
    assert "[audit] is not used" not in capsys.readouterr().err
    with file.open("a", encoding="utf-8") as stream:
        stream.write('[audit]\ngroup_regex = "(.*)"\n')
    main(["split", str(synthetic_crops), "--out", str(tmp_path / "told"), *map(str, options)])
    assert "section [audit] is not used: --audit none gives the groups" in capsys.readouterr().err
    code, result = run_json(capsys, "split", synthetic_crops, "--out", tmp_path / "s", *options)
    assert code == 0
    assert (result["fractions"], result["seed"]) == ([0.5, 0.25, 0.25], 4)
    assert not (tmp_path / "s" / "train").exists()


def test_splits_that_are_made_anew_are_told(
    synthetic_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, order = ("--audit", "none", "--mode", "manifest"), ("--order", "given")
    assert main(["split", str(synthetic_crops), "--out", str(tmp_path / "a"), *first]) == 0
    assert "made anew" not in capsys.readouterr().err
    for name, more, is_told in (("b", (), True), ("c", order, False)):
        table, out = str(tmp_path / "a" / "split.csv"), str(tmp_path / name)
        assert main(["split", table, "--out", out, *first, *more]) == 0
        assert ("made anew; --order given keeps them" in capsys.readouterr().err) == is_told
