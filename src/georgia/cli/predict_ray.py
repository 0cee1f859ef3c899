"""``georgia predict --engine ray``: the same predictions from a cluster, for archives of any size."""

from __future__ import annotations

import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from georgia.cli import console
from georgia.errors import InputError

if TYPE_CHECKING:
    from georgia.distributed import ArchiveResult
    from georgia.model.bundle import Bundle
    from georgia.predict.predictor import PredictConfig
    from georgia.records import Failure


def run(
    bundle: Bundle,
    sources: Sequence[str],
    out: Path | None,
    settings: PredictConfig,
    resume: bool,
    as_json: bool,
) -> int:
    """Predict on Ray into a table, a folder of Parquet files, or onto the screen; return the exit code."""
    from georgia.distributed import DistributedConfig, predict_archive
    from georgia.distributed.predict import is_table
    from georgia.predict.tables import check_table_path

    _reject_windows(sources)
    where = "" if out is None else restore_url(out)
    table = Path(where) if where and is_table(where) else None
    if table is not None:
        check_table_path(table)
    with console.ConsoleProgress() as progress, tempfile.TemporaryDirectory(prefix="georgia-ray-") as folder:
        parts = f"{where}.parts" if table is not None else where or str(Path(folder) / "parts")
        result = predict_archive(bundle, sources, parts, settings, DistributedConfig(resume=resume), progress)
        if where and table is None:
            return _show_folder(result, as_json)
        code = _show_all(result, table, as_json, bundle)
        result.remove()
        return code


def _reject_windows(sources: Sequence[str]) -> None:
    from georgia.catalog.sources import is_table
    from georgia.records import split_window

    for source in sources:
        if is_table(source) or split_window(source)[1] is not None:
            raise InputError(
                "Cannot predict on Ray",
                needs="image files, folders, globs or URLs are needed there",
                got=f"{source!r}, which names windows or lists images",
                hint="Leave --engine ray out, or give the crops as files.",
            )


def restore_url(out: Path) -> str:
    """Return an output as it was typed: a path takes one slash from ``s3://``.

    >>> restore_url(Path("s3://bucket/predictions")), restore_url(Path("predictions.csv"))
    ('s3://bucket/predictions', 'predictions.csv')
    """
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]+):/(?=[^/])", r"\1://", out.as_posix())


def _show_all(result: ArchiveResult, table: Path | None, as_json: bool, bundle: Bundle) -> int:
    """Show every prediction, and write the table in the same pass."""
    from georgia.cli.show_predictions import FailedFiles, show_predictions
    from georgia.model.engines import Computation
    from georgia.predict.prediction import Outcome
    from georgia.predict.predictor import describe_model
    from georgia.predict.tables import write_table

    failed = FailedFiles()

    def shown(show: Callable[[Outcome], None]) -> Iterator[Outcome]:
        for outcome in result.outcomes():
            show(outcome)
            yield outcome

    # The machines of a cluster may have processors of several kinds.
    computation = Computation(result.engine, result.precision)
    details = {**describe_model(bundle), "notices": list(result.notices)}
    with show_predictions(result.labels, computation, as_json, failed, details) as show:
        if table is not None:
            write_table(table, shown(show), result.labels, computation, details)
        else:
            deque(shown(show), maxlen=0)
    return _end(result, failed.first, failed.count)


def _show_folder(result: ArchiveResult, as_json: bool) -> int:
    first = result.find_failures(console.SHOWN_FAILURES)
    if as_json:
        keys = ("engine", "precision", "n_files", "n_failed", "n_reused", "n_shards", "seconds")
        counts = {key: getattr(result, key) for key in keys}
        classes = list(result.labels.names)
        notices = list(result.notices)
        console.show_json(
            {"out": result.folder, **counts, "classes": classes, "failed": first, "notices": notices}
        )
    else:
        console.show_line(f"{result.n_files:,} predictions in {result.n_shards:,} files: {result.folder}")
    return _end(result, first, result.n_failed)


def _end(result: ArchiveResult, failed: Sequence[Failure], n_failed: int) -> int:
    for notice in result.notices:
        console.show_note(notice)
    return console.end_with(failed, n_failed)
