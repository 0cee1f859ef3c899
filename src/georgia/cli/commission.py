"""``georgia monitor --commission``: whether a probe's first frames are like the model's training images."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georgia.cli import console
from georgia.errors import InputError

if TYPE_CHECKING:
    from georgia.monitor.commission import Commissioning
    from georgia.monitor.result import FrameInput
    from georgia.monitor.store import Store
    from georgia.monitor.tile import FrameAnalyzer

Noting = Callable[[], AbstractContextManager[set[int]]]
_TAKE_S = 0.2


def commission(
    analyzer: FrameAnalyzer, settings: Any, store: Store, n_frames: int, out: Path, once: bool, noting: Noting
) -> int:
    """Compare the first frames of the watched folder, write page, JSON and audit log; return the exit code.

    ``noting`` yields the signals to stop that were received.

    Raises:
        InputError: no frame with detail came.
    """
    from georgia.monitor.columns import iso_time
    from georgia.monitor.commission import Finding, compare_input, known_of, save_commissioning
    from georgia.monitor.commissioned import record_commissioning
    from georgia.report.commissioning_page import save_commissioning_page

    inputs, is_stopped, n_read, n_unreadable = _gather(analyzer, settings, n_frames, once, noting)
    if not inputs:
        raise InputError(
            f"Cannot commission {str(settings.watch)!r}",
            needs="frames with crystals in them are needed",
            got=(f"{n_read} frames, none with detail" if n_read else "no frame")
            + (f", and {n_unreadable} unreadable" if n_unreadable else ""),
            hint="Commission with a slurry in front of the probe.",
        )
    result = compare_input(inputs, known_of(analyzer.bundle))
    source = settings.source or str(settings.watch.resolve())
    head = {
        "source": source,
        "model": analyzer.bundle.name,
        "model_sha256": analyzer.model_sha256,
        "window_px": str(analyzer.tile_px),
        "frames_read": str(n_read),
        "frames_unreadable": str(n_unreadable),
        "compared_at": str(iso_time(time.time())),
        "compared_by": settings.operator,
    }
    out.mkdir(parents=True, exist_ok=True)
    save_commissioning(result, out, head)
    page = save_commissioning_page(result, head, out)
    record_commissioning(store, settings.operator, source, analyzer.model_sha256, result)
    _show(result, page)
    if is_stopped:
        return console.INTERRUPTED
    if result.verdict == Finding.BAD:
        return console.GATE_FAILED
    return console.DONE_IN_PART if n_unreadable else console.DONE


def _gather(
    analyzer: FrameAnalyzer, settings: Any, n_frames: int, once: bool, noting: Noting
) -> tuple[list[FrameInput], bool, int, int]:
    """Return what the first frames with detail bring, if Ctrl-C ended it, how many were read, and not."""
    from georgia.monitor.frame_reader import FrameReader
    from georgia.monitor.watch import FolderWatch

    found: list[FrameInput] = []
    reader, n_read = FrameReader(FolderWatch(settings.watch, (), settings.grace_s), 0.2), 0
    n_unreadable = 0
    with noting() as received:
        reader.start()
        try:
            while len(found) < n_frames and not received:
                frame = reader.take(_TAKE_S)
                if frame is None and once and (reader.is_quiet or reader.error):
                    break
                if frame is None:
                    continue
                if frame.image is None:
                    n_unreadable += 1
                    console.show_note(f"left out {frame.key.file!r}: {frame.error}")
                    continue
                n_read += 1
                new = analyzer.analyze(frame.image).input
                if new is not None:
                    found.append(new)
                    note = f"frame {len(found)} of {n_frames}: {frame.key.file}"
                    console.show_note(f"{note}, {new.rejected:.0%} of {new.n_full} windows rejected")
        finally:
            reader.stop()
    return found, signal.SIGINT in received and len(found) < n_frames, n_read, n_unreadable


def _show(result: Commissioning, page: Path) -> None:
    console.show_line(f"commissioning: {result.verdict}: {result.describe()}")
    for line in result.lines:
        rest = f" {line.remedy}" if line.remedy else ""
        console.show_line(f"  {line.finding:<9}  {line.name}: {line.measured} (limit {line.limit}).{rest}")
    console.show_line(f"page: {page}")
