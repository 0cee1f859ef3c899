"""``georgia cluster``: which images are similar to a model, as tables and maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from georgia.cli import console
from georgia.cli.models import find_images, open_model
from georgia.cli.options import (
    ClassesOption,
    ConfigOption,
    EngineOption,
    JsonOption,
    ModelArgument,
    PartsOption,
    PreprocessOption,
    make_config,
    parse_split_folders,
)
from georgia.errors import InputError
from georgia.files import check_outside_data, hold_folder
from georgia.progress import QUIET, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from georgia.cluster import Clustering
    from georgia.records import Failure


def run(
    model: ModelArgument,
    data: Annotated[Path, typer.Argument(help="Labelled images, or any folder of images.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for tables and maps.")],
    k: Annotated[int | None, typer.Option("--k", help="Number of clusters.  [4]")] = None,
    components: Annotated[
        int | None, typer.Option(help="Principal components that k-means uses.  [2, those of the map]")
    ] = None,
    engine: EngineOption = None,
    classes: ClassesOption = None,
    parts: PartsOption = None,
    preprocess: PreprocessOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Group images by the features of a model, and plot the map.

    \b
    Examples:
      georgia cluster runs/first data/crops --k 4 --out clusters
      georgia cluster runs/first new-images/ --out clusters
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.cluster import ClusterConfig, cluster_files
    from georgia.report.cluster_map import save_cluster_map
    from georgia.report.cluster_page import save_cluster_page

    typed = {"k": k, "components": components, "engine": engine}
    settings = make_config(ClusterConfig, config, "cluster", typed)
    check_outside_data(out, data)
    with hold_folder(out), console.ConsoleProgress() as progress:
        paths, labels, failures = read_images(data, parse_split_folders(parts), progress)
        bundle = open_model(model, classes, preprocess)
        result = cluster_files(bundle, paths, labels, settings, progress)
        progress.start("maps", None)
        files = [*result.save(out), save_cluster_map(result, out), save_cluster_page(result, out)]
    failures = (*failures, *result.failed)
    if as_json:
        console.show_json({**result.to_json_dict(), "files": files, "failed": failures})
    else:
        _show(result, files)
    return console.end_with(failures)


def read_images(
    data: Path, parts: Mapping[str, str] | str | None = None, progress: Progress = QUIET
) -> tuple[list[Path], dict[Path, str], Sequence[Failure]]:
    """Return image files, the labels of those that have one, and what was left out.

    Raises:
        InputError: there is no image.
    """
    from georgia.catalog.read import read_catalog

    try:
        catalog = read_catalog(data, parts=parts, verify=False, is_for_training=False, progress=progress)
    except InputError as error:
        if not data.is_dir() or parts:
            raise
        paths = find_images([data])
        console.show_note(_tell_unlabelled(data, paths, error))
        return paths, {}, ()
    return (
        [record.path for record in catalog.records],
        {record.path: record.class_name for record in catalog.records},
        catalog.failures,
    )


def _tell_unlabelled(data: Path, paths: Sequence[Path], fault: InputError) -> str:
    """Return one line with the reason why purity is not given; a folder without class folders is valid."""
    text = f"{data.name or data}: the images have no labels, so purity is not given"
    if len({path.parent for path in paths}) == 1:
        return f"{text}. For labels: one folder per class, or a CSV file with path,class."
    reason = str(fault).removeprefix(f"Cannot read data {str(data)!r}: ")
    return f"{text}. They lie in several folders, but not as classes do: {reason}"


def _show(result: Clustering, files: Sequence[Path]) -> None:
    rows = [
        [
            str(cluster.number),
            f"{cluster.size:,}",
            "–" if cluster.purity is None else f"{cluster.purity:.4f}",
            ", ".join(f"{name} {count:,}" for name, count in cluster.labels.items()) or "–",
        ]
        for cluster in result.clusters
    ]
    console.show_table(["cluster", "images", "purity", "labels"], rows)
    console.show_line(result.describe())
    for file in files:
        console.show_line(str(file))
