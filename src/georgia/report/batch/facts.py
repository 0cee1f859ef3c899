"""What a report says of a batch, read from a store that is left as it is."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

import numpy as np

from georgia.config import flatten_config
from georgia.errors import InputError
from georgia.files import check_fields
from georgia.monitor import tables
from georgia.monitor.batch_frames import (
    BatchFrames,
    FloatArray,
    Gap,
    Pause,
    find_gaps,
    find_pauses,
    read_batch_frames,
)
from georgia.monitor.columns import iso_time
from georgia.monitor.commissioned import read_verdict
from georgia.monitor.connect import naming_damage, reading
from georgia.monitor.health import ProbeHealth, read_health
from georgia.monitor.limits_in_force import read_limits
from georgia.monitor.people.signatures import Signature, count_later, find_decision, list_signatures
from georgia.monitor.records import Alarm, AuditAction, AuditEvent, Batch
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.verify import Verification, verify_store
from georgia.process.calibrate import Calibration, calibrate_fraction
from georgia.process.moments.in_store import read_recorded_settings, suggest_moments
from georgia.process.moments.settings import MomentsConfig
from georgia.process.queries import BatchProcess, read_batch_process
from georgia.spotcheck.checked import CheckedFraction, measure_check

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.result import FrameResult, TileMap
    from georgia.process.moments.result import BatchMoments
    from georgia.report.batch.key_frames import KeyFrame

# Rows of one batch that are read: more are counted.
_MOST_ROWS = 100_000


# As ``columns.iso_time`` writes a time.
_ISO_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@dataclass(frozen=True)
class Times:
    """Writes times in one zone, with its name or its distance from UTC; ``zone`` None is this machine's.

    >>> Times(UTC)(0.0), Times(UTC)(None)
    ('1970-01-01 00:00:00 UTC', '–')
    """

    zone: tzinfo | None = UTC

    def __call__(self, seconds: float | None) -> str:
        """Return seconds since 1970 as a date and a time with its zone; "–" for None."""
        if seconds is None:
            return "–"
        iso_time(seconds)  # one line for a time that no calendar knows
        try:
            moment = datetime.fromtimestamp(seconds, UTC).astimezone(self.zone)
        except (OverflowError, ValueError):  # within a day of the calendar's ends
            moment = datetime.fromtimestamp(seconds, UTC)
            return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
        text = moment.strftime("%z")
        zone = "UTC" if self.zone is UTC else f"{text[:3]}:{text[3:5]}"
        return f"{moment:%Y-%m-%d %H:%M:%S} {zone}"

    def in_text(self, text: str) -> str:
        """Return a text whose times, as the record has them, are written as all others of the page.

        >>> Times(UTC).in_text("limit 0.05 of Ann, 1970-01-01T00:00:00.000Z")
        'limit 0.05 of Ann, 1970-01-01 00:00:00 UTC'
        """
        return _ISO_TIME.sub(lambda found: self(datetime.fromisoformat(found[0]).timestamp()), text)

    @property
    def name(self) -> str:
        """Return how the zone is called."""
        return "this machine's time" if self.zone is None else self.setting

    @property
    def setting(self) -> str:
        """Return the zone as the setting ``time_zone`` names it."""
        return "UTC" if self.zone is UTC else str(self.zone or "local")


@dataclass(frozen=True)
class ModelUsed:
    """A model that analysed frames: its sha256, what the store knows of it, how many frames, and its card.

    ``card`` is the text of its model card, "" where that is not at hand.
    """

    sha256: str
    description: Mapping[str, Any]
    n_frames: int
    card: str = ""


@dataclass(frozen=True, eq=False)
class BatchFacts:
    """All that a report says of one batch; what is read later than ``read_at_s`` is not in it.

    ``alarms`` and ``events`` are in the order in which they came, ``checks`` newest first: results, or why
    one cannot be read. ``settings`` are those that were in force for the last frame, by name.
    ``commissioning`` is the verdict on its images that held for it, as ``read_verdict`` gives it.
    ``process`` is None where the store holds no process data of the batch; ``calibrations`` are of the
    laboratory's results in it, one a name. ``health`` is that of the monitor of a batch that runs.
    ``signatures`` are electronic ones, each with how many entries of the audit log came after it.
    ``moments`` are what the frames tell with ``moments_config``; what people said of them is in ``events``.
    ``n_left_out`` counts files that came in its time and could not be read or analysed.
    """

    store: str
    batch: Batch
    frames: BatchFrames
    read_at_s: float
    alarms: tuple[Alarm, ...]
    events: tuple[AuditEvent, ...]
    limits: Mapping[str, Any]
    settings: Mapping[str, Any]
    models: tuple[ModelUsed, ...]
    checks: tuple[CheckedFraction | str, ...]
    gaps: tuple[Gap, ...]
    pauses: tuple[Pause, ...]
    verification: Verification
    times: Times = Times()
    commissioning: Mapping[str, Any] | None = None
    process: BatchProcess | None = None
    calibrations: tuple[Calibration, ...] = ()
    health: ProbeHealth | None = None
    n_left_out: int = 0
    key_frames: tuple[KeyFrame, ...] = ()
    signatures: tuple[tuple[Signature, int], ...] = ()
    moments: BatchMoments | None = None
    moments_config: MomentsConfig = field(default_factory=MomentsConfig)

    @property
    def decision(self) -> tuple[Signature, int] | None:
        """Return the signature that releases or rejects the batch, with the entries after it, if any does."""
        found = find_decision([signature for signature, _ in self.signatures])
        return next((each for each in self.signatures if each[0] == found), None)

    @property
    def has_ended(self) -> bool:
        """Tell whether the batch had ended when it was read."""
        return self.batch.ended_at_s is not None

    @property
    def plain_limit(self) -> FloatArray:
        """Return the plain limit of each frame (N,), NaN without one; 0.1 kept it in settings alone."""
        column, setting = self.frames.numbers["limit"], self.settings.get("limit")
        if np.isfinite(column).any() or not isinstance(setting, (int, float)):
            return column
        return np.full(len(column), float(setting))

    @property
    def checked(self) -> CheckedFraction | None:
        """Return the spot check that counts: the newest that has a name."""
        found = (each for each in self.checks if not isinstance(each, str) and each.names)
        return next(found, None)

    @property
    def open_alarms(self) -> list[Alarm]:
        """Return the alarms that nobody has acknowledged, or that were active when the batch was read."""
        return [
            alarm
            for alarm in self.alarms
            if alarm.acknowledged_at_s is None or (alarm.cleared_at_s is None and not self.has_ended)
        ]

    def find_event(self, action: AuditAction) -> AuditEvent | None:
        """Return the last event of a kind, None where there was none."""
        return next((event for event in reversed(self.events) if event.action == action), None)


def read_facts(
    reader: StoreReader,
    batch: Batch,
    store: str,
    cards: Mapping[str, str] | None = None,
    times: Times | None = None,
    through_frame: int | None = None,
    moments: MomentsConfig | None = None,
) -> BatchFacts:
    """Return what the store holds of a batch now, and whether its whole record holds.

    Args:
        reader: opened for reading.
        batch: one of its batches.
        store: how the page calls the store; no password is in it.
        cards: texts of model cards by the sha256 of the model.
        times: in which zone times are written.
        through_frame: the number of the last frame that counts; None is the newest.
        moments: how the batch's moments are found; None is as the last service wrote that it does.

    Raises:
        InputError: a row was altered so that it cannot be read.
        StoreAwayError: the store cannot be reached.
    """
    now, config = time.time(), moments or read_recorded_settings(reader)
    process = _read_process(reader, batch, now)
    newest = reader.frames(batch.id, limit=1)
    batch = reader.batch(batch.id)
    last = newest[0].frame_id if newest else 0
    frames = read_batch_frames(reader, batch, last if through_frame is None else min(last, through_frame))
    events = tuple(reversed(reader.audit_log(_MOST_ROWS, batch_id=batch.id)))
    with naming_damage():
        limits = _read_limits(reader, batch)
        pauses = tuple(find_pauses(events))
    settings = _read_settings(reader, frames)
    return BatchFacts(
        store=store,
        batch=batch,
        frames=frames,
        read_at_s=now,
        alarms=tuple(reversed(reader.alarms(batch.id, limit=_MOST_ROWS))),
        events=events,
        limits=limits,
        settings=settings,
        models=tuple(_list_models(reader, frames, cards or {})),
        checks=tuple(_read_checks(reader, batch)),
        gaps=tuple(find_gaps(frames, _find_quiet(settings))),
        pauses=pauses,
        # Last: its head covers all that was read before.
        verification=verify_store(reader),
        times=times or Times(),
        commissioning=_find_commissioning(reader, batch, frames, events),
        process=None if process.is_empty else process,
        calibrations=tuple(_calibrate(reader, batch, process)),
        health=read_health(reader, now, batch.source) if batch.ended_at_s is None else None,
        n_left_out=reader.count_left_out(batch, now),
        signatures=tuple(_read_signatures(reader, batch)),
        moments=_suggest(reader, batch, frames, config),
        moments_config=config,
    )


def _read_settings(reader: StoreReader, frames: BatchFrames) -> dict[str, Any]:
    """Return the settings that were in force for the last frame."""
    found = _read_document(reader, frames.texts["settings_id"][-1]) if len(frames) else {}
    return {MonitorConfig.renamed.get(name, name): value for name, value in found.items()}


def _find_quiet(settings: Mapping[str, Any]) -> float:
    """Return for how long no frame may come, s."""
    default_s = float(flatten_config(MonitorConfig())["no_frames_s"])
    quiet_s = settings.get("no_frames_s", default_s)
    return float(quiet_s) if isinstance(quiet_s, (int, float)) else default_s


def _suggest(
    reader: StoreReader, batch: Batch, frames: BatchFrames, config: MomentsConfig
) -> BatchMoments | None:
    """Return what the frames tell of moments, None without a frame."""
    if not len(frames):
        return None
    with naming_damage():
        return suggest_moments(reader, batch, config, frames, must_have=False)


def _read_signatures(reader: StoreReader, batch: Batch) -> Iterator[tuple[Signature, int]]:
    if reader.has(tables.people_signatures):  # an earlier version's store lacks it
        with reading(reader.engine) as connection:
            for signature in list_signatures(connection, batch.id):
                yield signature, count_later(connection, signature)


def _read_limits(reader: StoreReader, batch: Batch) -> Mapping[str, Any]:
    try:
        return read_limits(reader, batch)
    except AttributeError as error:  # JSON of another shape than Georgia wrote
        raise TypeError(f"{batch.chart_state!r:.80} as chart_state") from error


def _read_process(reader: StoreReader, batch: Batch, now_s: float) -> BatchProcess:
    """Return the process data of a batch, each value of its kind."""
    process = read_batch_process(reader, batch.id, now_s=now_s)
    with naming_damage():
        for series in process.series:
            check_fields(series)
        for entry in (*process.events, *process.laboratory):
            check_fields(entry)
    return process


def _calibrate(reader: StoreReader, batch: Batch, process: BatchProcess) -> Iterator[Calibration]:
    """Yield the calibration of the fraction against each kind of laboratory results of the batch alone."""
    for name in sorted({entry.name for entry in process.laboratory if entry.fraction is not None}):
        yield calibrate_fraction(reader, name, batch)


def _find_commissioning(
    reader: StoreReader, batch: Batch, frames: BatchFrames, events: Sequence[AuditEvent]
) -> Mapping[str, Any] | None:
    """Return the verdict on the batch's own frames, or else the one on its source, if it is no later one."""
    own, override = None, None
    for event in events:
        if event.action == AuditAction.COMMISSIONED:
            own, override = event, None
        elif event.action == AuditAction.COMMISSIONING_OVERRIDDEN:
            override = {"who": event.who, "at": iso_time(event.at_s), "reason": event.detail.get("reason")}
    if own is not None:
        return {**own.detail, "who": own.who, "at": iso_time(own.at_s), "override": override}
    if not len(frames):
        return None
    with naming_damage():
        found = read_verdict(reader, batch.source, frames.texts["model_sha256"][-1])
    is_later = found is not None and found["at"] > (iso_time(batch.ended_at_s) or "~")
    return None if is_later else found


def read_frame(reader: StoreReader, frame_id: int) -> tuple[FrameResult, TileMap | None]:
    """Return a frame and its windows, None where they were removed or it never had any."""
    return reader.frame(frame_id), reader.frame_map(frame_id)


def _read_document(reader: StoreReader, key: str) -> dict[str, Any]:
    """Return kept settings or a model's description, {} where the store has none of that key."""
    try:
        return dict(reader.document(key)) if key else {}
    except InputError:
        return {}


def _list_models(reader: StoreReader, frames: BatchFrames, cards: Mapping[str, str]) -> list[ModelUsed]:
    counts: dict[str, int] = {}
    for sha256 in frames.texts["model_sha256"]:
        counts[sha256] = counts.get(sha256, 0) + 1
    return [
        ModelUsed(sha256, _read_document(reader, sha256), n, cards.get(sha256, ""))
        for sha256, n in counts.items()
    ]


def _read_checks(reader: StoreReader, batch: Batch) -> list[CheckedFraction | str]:
    found: list[CheckedFraction | str] = []
    for check in reader.spotchecks(batch.id):
        try:
            with naming_damage():
                is_part = batch.n_frames > check.body["through"]["ordinal"]
            found.append(measure_check(reader, check, is_part))
        except InputError as error:  # its rows were altered: verify names them, and the page goes on
            found.append(f"Spot check {check.id}: {error}")
    return found
