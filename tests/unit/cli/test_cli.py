"""How commands end: one line and the right exit code, whatever went wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.helpers.patience import PATIENCE_S

from georgia.cli import app as cli
from georgia.cli import console, models, options
from georgia.errors import GateError, GeorgiaError, InputError, ParityError
from georgia.records import Failure

COMMANDS = [str(command.name) for command in cli.app.registered_commands]


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what is on stderr: one line; stdout must be empty."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("georgia: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("Cannot read 'a': x is needed; got y."), 2),
        (GateError("The quality gate failed."), 4),
        (ParityError("The file predicts differently."), 1),
        (GeorgiaError("Something of ours."), 1),
        (PermissionError(13, "Permission denied", "run"), 2),
        (NotADirectoryError(20, "Not a directory", "run/x"), 2),
    ],
)
def test_known_errors_become_one_line(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    assert cli.main([]) == code
    assert "Traceback" not in error_line(capsys)


def test_unexpected_error_shows_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli, "app", fail)
    assert cli.main([]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_multiline_message_becomes_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: Any) -> None:
        raise InputError("first\n  second")

    monkeypatch.setattr(cli, "app", fail)
    cli.main([])
    assert error_line(capsys) == "georgia: first second\n"


def test_keyboard_interrupt_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    (tmp_path / "a.png").touch()
    monkeypatch.setattr("georgia.cli.predict.open_model", interrupt)
    assert cli.main(["predict", str(tmp_path / "a.png")]) == 130
    assert "stopped" in error_line(capsys)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["trian"], "Did you mean 'train'"),
        (["train"], "Missing argument 'data'"),
        (["train", "data", "--out", "run", "--recpie", "fast"], "--recipe"),
        (["train", "data", "--out", "run", "--set", "epochs"], "key=value"),
        (["train", "data", "--out", "run", "--class-names", "CEX"], "folder=name"),
        (["train", "data", "--out", "run", "--config", "none.toml"], "none.toml"),
        (["split", "data"], "--out"),
        (["predict"], "Missing argument"),
        (["predict", "nothing-here", "real.png"], "'nothing-here'"),
        (["predict", "nothing.png"], "nothing.png"),
        (["predict", "a.png", "--out", "a.txt"], ".csv"),
        (["predict", "real.png", "--engine", "fast"], "engine"),
        (["evaluate", "nothing", "data"], "'nothing'"),
    ],
)
def test_wrong_arguments_exit_with_2(
    args: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("real.png")
    assert cli.main(args) == 2
    assert message in error_line(capsys)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    assert f"\n    georgia {command} " in capsys.readouterr().out


def test_no_arguments_show_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    assert not [name for name in COMMANDS if name not in shown]


def test_closed_pipe_leaves_no_traceback() -> None:
    program = "import sys; from georgia.cli import main; sys.exit(main(['--help']))"
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        [sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, timeout=PATIENCE_S
    )
    os.close(write)
    assert result.returncode == cli.BROKEN_PIPE
    assert result.stderr == b""


OLD_NAME = """
import sys
from dataclasses import dataclass
import georgia.synthetic.simulate as simulate
from georgia.cli import main

@dataclass(frozen=True)
class Renamed(simulate.SimulateConfig):
    renamed = {"old_frames": "frames", "old_seed": "seed"}

simulate.SimulateConfig = Renamed
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_old_setting_names_are_noted_on_stderr(tmp_path: Path, options: tuple[str, ...]) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[simulate]\nold_frames = 1\n", encoding="utf-8")
    args = ["simulate", "--out", str(tmp_path / "probe"), "--config", str(file), "--set", "old_seed=3"]
    args += ["--every", "0", "--set", "height_px=200", "--set", "width_px=200", *options]
    result = subprocess.run(
        [sys.executable, "-c", OLD_NAME, *args], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert result.returncode == 0, result.stderr
    notices = [line for line in result.stderr.splitlines() if "now called" in line]
    assert notices == [
        "georgia: 'old_frames' is now called 'frames'; the old name goes with version 0.3.",
        "georgia: 'old_seed' is now called 'seed'; the old name goes with version 0.3.",
    ]
    assert "Warning" not in result.stderr
    assert ".py" not in result.stderr
    assert "now called" not in result.stdout
    if options:
        assert len(json.loads(result.stdout)["files"]) == 1


def test_settings_file_needs_the_section(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[trian]\nepochs = 3\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"\[train\] is needed; got \[trian\]"):
        options.read_settings(file, "train")
    file.write_text("[train]\n# all as it comes\n")
    assert options.read_settings(file, "train") == {}


def test_options_win_over_settings_file(tmp_path: Path) -> None:
    from georgia.predict.predictor import PredictConfig

    file = tmp_path / "settings.toml"
    file.write_text('[predict]\nengine = "openvino"\nbatch_size = 4\n', encoding="utf-8")
    config = options.make_config(PredictConfig, file, "predict", {"engine": "onnxruntime", "workers": None})
    assert (config.engine, config.batch_size, config.workers) == ("onnxruntime", 4, PredictConfig().workers)


@pytest.mark.parametrize(
    ("args", "model", "sources"),
    [
        (["model.onnx", "a.png"], "model.onnx", ["a.png"]),
        (["GAweights.h5", "a.png", "b"], "GAweights.h5", ["a.png", "b"]),
        (["run", "a.png"], "run", ["a.png"]),
        (["images"], None, ["images"]),
        (["CEX (1).png", "images"], None, ["CEX (1).png", "images"]),
        (["probe/*.png"], None, ["probe/*.png"]),
        (["a[1].png"], None, ["a[1].png"]),
        (["not-there", "a.png"], "not-there", ["a.png"]),
    ],
)
def test_first_argument_can_be_the_model(
    args: list[str],
    model: str | None,
    sources: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "bundle.json").write_text("{}", encoding="utf-8")
    (tmp_path / "images").mkdir()
    assert models.take_model(args) == (Path(model) if model else None, sources)


def test_model_alone_is_rejected(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.touch()
    with pytest.raises(InputError, match="got only a model"):
        models.take_model([str(model)])


def test_json_has_no_nan_nor_paths(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_json({"a": float("nan"), "b": (1, Path("x")), "c": {"ü": None}, "d": float("inf")})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1, "x"], "c": {"ü": None}, "d": None}


def test_json_holds_results_in_their_own_form(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_json({"failed": (Failure(Path("a.png"), "the file is empty"),)})
    assert json.loads(capsys.readouterr().out) == {
        "failed": [{"file": "a.png", "error": "the file is empty"}]
    }


def test_piped_table_is_whole_and_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_table(["file", "p"], [[f"{number}.png", "0.5"] for number in range(3000)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "file\tp"
    assert len(lines) == 3001


def test_failures_are_named_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    failures = [Failure(Path(f"{number}.png"), "the file is empty") for number in range(30)]
    assert console.end_with(failures) == 3
    err = capsys.readouterr().err.splitlines()
    assert err[0] == "georgia: left out '0.png': the file is empty"
    assert "10 more" in err[-1]
    assert console.end_with([]) == 0


def test_piped_progress_prints_one_line_per_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with console.ConsoleProgress() as progress:
        progress.say("a note [with] brackets")
        progress.start("read", 3)
        for _ in range(3):
            progress.advance()
        progress.start("epoch 1", 2)
        progress.advance(2, note="loss 0.1")
        progress.say("Epoch 1: loss 0.1")
        progress.start("export", None)
        progress.advance(1, note="one file")
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "a note [with] brackets"
    assert lines[1].startswith("read: 3 in ")
    assert lines[2] == "Epoch 1: loss 0.1"
    assert lines[3].startswith("export: 1 in ")
    assert lines[3].endswith("one file")
    assert len(lines) == 4
