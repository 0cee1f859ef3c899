"""``georgia explain``: where on the images the answers come from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from georgia.cli import console
from georgia.cli.models import open_model, take_model
from georgia.cli.options import ClassesOption, ConfigOption, JsonOption, make_config
from georgia.errors import InputError
from georgia.text import count_noun

if TYPE_CHECKING:
    from georgia.explain import Explanations


def run(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] PATH…",
            help="A run folder, .onnx or Keras .h5 (none: the bundled model), then images, folders, globs.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the overlays and explain.json.")],
    class_name: Annotated[
        str | None, typer.Option("--class", help="Explain this class.  [each image's answer]")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="auto, 'class map' or occlusion.  [auto: the class map if there is one]"),
    ] = None,
    engine: Annotated[str | None, typer.Option(help="auto, openvino or onnxruntime.  [auto]")] = None,
    classes: ClassesOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show where the net looked: each image beside itself with the map of its answer.

    \b
    Examples:
      georgia explain runs/first odd/image.png --out why
      georgia explain runs/first "probe/*.png" --class PG --out why
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.explain import ExplainConfig, explain_files
    from georgia.images.listing import find_images
    from georgia.report.overlay import save_overlays

    typed = {"class_name": class_name, "method": method, "engine": engine}
    settings = make_config(ExplainConfig, config, "explain", typed)
    model, sources = take_model(words)
    paths = find_images(sources)
    _check_folder(out, paths)
    bundle = open_model(model, classes)
    with console.ConsoleProgress() as progress:
        result = explain_files(bundle, paths, settings, progress)
        files = [result.save(out), *save_overlays(result, out, progress=progress)]
    if as_json:
        plain = [
            {key: value for key, value in one.to_json_dict().items() if key != "values"}
            for one in result.items
        ]
        if len(plain) == len(files) - 1:  # none was lost in between
            for one, overlay in zip(plain, files[1:], strict=True):
                one["overlay"] = overlay
        console.show_json({"files": files, "explanations": plain, "failed": result.failed})
    else:
        _show(result, files)
    return console.end_with(result.failed)


def _check_folder(out: Path, paths: list[Path]) -> None:
    """Refuse a folder of images: overlays would be taken for images the next time."""
    if any(path.parent.resolve() == out.resolve() for path in paths):
        raise InputError(
            "Cannot use --out",
            needs="it must be another folder than that of the images",
            got=repr(str(out)),
            hint="Example: --out why.",
        )


def _show(result: Explanations, files: list[Path]) -> None:
    rows = [
        [
            one.file.name,
            one.label,
            f"{one.probability:.4f}",
            one.class_name,
            one.method,
            f"{one.strength:.2f}",
        ]
        for one in result.items
    ]
    columns = ["file", "label", "probability", "explained", "by", "strongest, logits"]
    console.show_table(columns, rows, more=f"All of them: {files[0]}.")
    console.show_line(f"{count_noun(len(files) - 1, 'overlay')} in {files[0].parent}")
