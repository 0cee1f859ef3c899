"""The moments of a batch of a store, with what people have said of them."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from georgia.config import flatten_config
from georgia.errors import GeorgiaError, InputError
from georgia.monitor.batch_frames import BatchFrames, read_batch_frames
from georgia.monitor.connect import naming_damage
from georgia.process.moments.decisions import MomentAction, NewDecision, with_decisions, write_decision
from georgia.process.moments.detect import Beside, find_moments, is_seeding
from georgia.process.moments.false_rate import measure_false_rate, read_card_rate
from georgia.process.moments.frames import MomentFrames
from georgia.process.moments.result import BatchMoments, Moment, MomentKind
from georgia.process.moments.settings import MomentsConfig, make_moments_settings
from georgia.process.moments.temperature import (
    TemperatureTrend,
    choose_temperature,
    label_temperatures,
)
from georgia.process.queries import ProcessVariable, list_variables, read_batch_process

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.records import Batch
    from georgia.monitor.store import Store

_log = logging.getLogger(__name__)
# The entry of the audit log that holds settings which a service began to use.
SETTINGS_ACTION = "moments settings"
# More values than any batch has: none is a mean of several.
_ALL = 2**31 - 1


def read_moments(
    store: StoreReader,
    batch: Batch,
    config: MomentsConfig | None = None,
    frames: BatchFrames | None = None,
    must_have: bool = True,
) -> BatchMoments:
    """Return the moments of a batch as its frames tell them now, with what people said of them.

    Args:
        store: opened for reading.
        batch: one of its batches.
        config: how they are found.
        frames: those of the batch, where they were already read.
        must_have: ``config.temperature`` must name a variable of the batch. Settings that hold for many
            batches may name one that this one lacks: then the result says so.

    Raises:
        InputError: a row was altered, or the temperature that the batch must have is none of its variables.
        StoreAwayError: the store cannot be reached.
    """
    found = suggest_moments(store, batch, config, frames, must_have)
    actions = [str(action) for action in MomentAction]
    events = store.audit_log(100_000, action=actions, batch_id=batch.id)
    return with_decisions(found, reversed(events))


def suggest_moments(
    store: StoreReader,
    batch: Batch,
    config: MomentsConfig | None = None,
    frames: BatchFrames | None = None,
    must_have: bool = True,
) -> BatchMoments:
    """Return what the frames of a batch tell, without what people said of it; see ``read_moments``."""
    config = config or MomentsConfig()
    own = MomentFrames.of(read_batch_frames(store, batch) if frames is None else frames)
    variables = list_variables(store, batch, has_counts=False)
    chosen = _choose(variables, config.temperature, must_have)
    wanted = [] if isinstance(chosen, str) else [chosen.id]
    process = read_batch_process(store, batch.id, _ALL, wanted or (0,), has_counts=False)
    temperature: TemperatureTrend | str = chosen if isinstance(chosen, str) else "it has no value"
    if process.series:
        temperature = TemperatureTrend.of(process.series[0])
    seedings = [(event.time_s, event.name) for event in process.events if is_seeding(event.name)]
    errors = measure_false_rate(store, batch), batch.impurity, read_card_rate(store, batch)
    beside = Beside(temperature, seedings, *errors)
    found = find_moments(own, beside, config, batch.ended_at_s is not None, batch.id)
    labels = label_temperatures(variables)
    named: dict[str, Any] = {"temperatures": tuple(labels.values()), "settings": flatten_config(config)}
    if found.temperature and not isinstance(chosen, str):
        named["temperature"] = labels.get(chosen.id, found.temperature)
    return replace(found, **named)


def _choose(variables: list[ProcessVariable], wanted: str, must_have: bool) -> ProcessVariable | str:
    try:
        return choose_temperature(variables, wanted)
    except InputError:
        if must_have:
            raise
        return f"the settings name {wanted!r}, which is none of the batch's variables"


def find_moment(found: BatchMoments, kind: MomentKind, number: int) -> Moment:
    """Return one moment of a batch.

    Raises:
        InputError: there is none.
    """
    for moment in found.moments:
        if (moment.kind, moment.number) == (kind, number):
            return moment
    own = ", ".join(f"{moment.kind} {moment.number}" for moment in found.moments)
    raise InputError(
        "Cannot find the moment",
        needs="one that the batch has is needed",
        got=f"{kind} {number}",
        hint=f"There are: {own or 'none'}.",
    )


def decide_moment(
    store: Store,
    batch: Batch,
    kind: MomentKind,
    number: int,
    new: NewDecision,
    config: MomentsConfig | None = None,
    must_have: bool = True,
) -> int:
    """Write what somebody says of a moment; return the number of the entry in the audit log.

    ``must_have`` is that of ``read_moments``.

    Raises:
        InputError: there is no such moment, or it cannot be decided so.
        StoreAwayError: the store cannot be reached.
    """
    found = read_moments(store, batch, config, must_have=must_have)
    moment = find_moment(found, kind, number)
    return store.write(lambda change: write_decision(change, batch.id, moment, new, found.settings))


def read_recorded_settings(store: StoreReader) -> MomentsConfig:
    """Return the settings that the last service to change them wrote, the defaults without any.

    Raises:
        InputError: the entry was altered.
        StoreAwayError: the store cannot be reached.
    """
    for event in store.audit_log(1, action=SETTINGS_ACTION):
        with naming_damage():
            return make_moments_settings(event.detail["settings"])
    return MomentsConfig()


def record_settings(store: Store, config: MomentsConfig) -> None:
    """Write the settings in force into the audit log, where they are others than those written last.

    A store that cannot be written to now is no reason not to begin: the log file says so.
    """
    try:
        if read_recorded_settings(store) != config:
            store.append_event("georgia", SETTINGS_ACTION, {"settings": flatten_config(config)})
    except (ConnectionError, GeorgiaError) as error:
        _log.warning("the settings of moments could not be written into the record: %s", error)
