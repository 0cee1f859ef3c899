"""``georgia explain``: which places of the images the predictions rest on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from georgia.cli import console
from georgia.cli.models import find_images, open_model, take_model
from georgia.cli.options import (
    ClassesOption,
    ConfigOption,
    EngineOption,
    JsonOption,
    ModelAndImagesArgument,
    PreprocessOption,
    make_config,
)
from georgia.errors import InputError
from georgia.files import check_outside_data, hold_folder
from georgia.text import count_noun

if TYPE_CHECKING:
    from georgia.explain import Explanations


def run(
    args: ModelAndImagesArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder for the overlays and explain.json.")],
    class_name: Annotated[
        str | None, typer.Option("--class", help="Explain this class.  [each image's predicted class]")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="auto, 'class map' or occlusion.  [auto: the class map if there is one]"),
    ] = None,
    engine: EngineOption = None,
    classes: ClassesOption = None,
    preprocess: PreprocessOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show which places of an image the prediction rests on: each image beside a map over it.

    \b
    Examples:
      georgia explain runs/first odd/image.png --out why
      georgia explain runs/first "probe/*.png" --class PG --out why
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.explain import ExplainConfig, explain_files
    from georgia.report.overlay import save_overlays

    typed = {"class_name": class_name, "method": method, "engine": engine}
    settings = make_config(ExplainConfig, config, "explain", typed)
    model, sources = take_model(args)
    paths = find_images(sources)
    check_outside_data(out, *sources)
    _check_folder(out, paths)
    bundle = open_model(model, classes, preprocess)
    with hold_folder(out), console.ConsoleProgress() as progress:
        result = explain_files(bundle, paths, settings, progress)
        files = [result.save(out), *save_overlays(result, out, progress=progress)]
    if as_json:
        entries = [explanation.to_json_dict() for explanation in result.items]
        for entry in entries:
            del entry["values"]
        if len(entries) == len(files) - 1:  # none was lost in between
            for entry, overlay in zip(entries, files[1:], strict=True):
                entry["overlay"] = overlay
        console.show_json({"files": files, "explanations": entries, "failed": result.failed})
    else:
        _show(result, files)
    return console.end_with(result.failed)


def _check_folder(out: Path, paths: list[Path]) -> None:
    """Reject a folder of images: the next call would read the overlays as images."""
    if any(path.parent.resolve() == out.resolve() for path in paths):
        raise InputError(
            "Cannot use --out",
            needs="it must be another folder than that of the images",
            got=repr(str(out)),
            hint="Example: --out why.",
        )


def _show(result: Explanations, files: list[Path]) -> None:
    columns = ["file", "label", "probability", "explained", "by", "strongest, logits"]
    rows = []
    for item in result.items:
        numbers = f"{item.probability:.4f}", f"{item.strength:.2f}"
        rows.append([item.file.name, item.label, numbers[0], item.class_name, item.method, numbers[1]])
    console.show_table(columns, rows, more=f"All of them: {files[0]}.")
    console.show_line(f"{count_noun(len(files) - 1, 'overlay')} in {files[0].parent}")
