"""Which limits hold, who set them, and what a start takes over from what was changed while a monitor ran.

A start has the settings that it was given. Those of the charts may have been changed on the page since the
start before: they hold on, unless the start says something else than the start before did.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from georgia.config import flatten_config
from georgia.errors import InputError
from georgia.monitor.batch_tracker import BY_HAND, LEARNED, OF_BATCH, BatchTracker
from georgia.monitor.columns import iso_time
from georgia.monitor.connect import naming_damage
from georgia.monitor.records import AuditAction, AuditEvent, Batch
from georgia.monitor.settings import ChartConfig, MonitorConfig

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader

NAMES = tuple(item.name for item in fields(ChartConfig))
# Settings that say one thing together: where one of them is set anew, none of them is carried over.
_TOGETHER = (("mean", "sigma", "limits_from"),)
# Limits of what a model measures; those of the process, such as the plain limit, hold for every model.
_OF_MODEL = ("mean", "sigma")


@dataclass(frozen=True)
class LimitChange:
    """One setting of the charts as somebody set it; ``at`` is ISO 8601, UTC, ``model`` the sha256 it ran."""

    value: Any
    who: str
    at: str
    reason: str = ""
    model: str = ""


@dataclass(frozen=True)
class StartSettings:
    """The settings of one start.

    ``given`` are those of the command, ``config`` those in force: ``carried`` holds over. ``replaced`` were
    changed while the monitor ran and do not hold on. ``before`` were in force last, {} at the first start.
    """

    given: MonitorConfig
    config: MonitorConfig
    carried: Mapping[str, LimitChange] = field(default_factory=dict)
    replaced: Mapping[str, LimitChange] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    model_before: str = ""

    def describe_carried(self) -> str:
        """Return in one clause what is carried over, from whom and when, "" if nothing is."""
        given = flatten_config(self.given.charts)
        return "; ".join(
            f"{name} {change.value} of {change.who}, {change.at}, is carried over; this start gives "
            f"{'none' if given[name] is None else given[name]}"
            for name, change in self.carried.items()
        )

    def to_detail(self) -> dict[str, Any]:
        """Return what the start's entry in the audit log holds of it."""
        detail: dict[str, Any] = {}
        if self.carried:
            given = flatten_config(self.given.charts)
            detail["carried"] = {
                name: {**asdict(change), "given": given[name]} for name, change in self.carried.items()
            }
        if self.replaced:
            detail["replaced"] = {name: asdict(change) for name, change in self.replaced.items()}
        return detail


def carry_over(store: StoreReader, source: str, given: MonitorConfig, model: str) -> StartSettings:
    """Return the settings of a start: as given, with what was changed since the start before.

    A setting that this start gives as the one before did keeps its changed value; one that it gives
    otherwise is taken as given. A mean and a spread that were set for another model are not carried over.

    Raises:
        StoreAwayError: the store cannot be reached now.
    """
    start = _find_start(store, source)
    if start is None:
        return StartSettings(given, given)
    changes = find_changes(store, source, start)
    base = _read(store, start.detail.get("given_id") or start.detail.get("settings_id"))
    before = _read(store, start.detail.get("settings_id"))
    before |= {name: change.value for name, change in changes.items()}
    ours, defaults = flatten_config(given), flatten_config(MonitorConfig())
    is_new = {name for name in (*NAMES, "limits_from") if base.get(name, defaults[name]) != ours[name]}
    for group in _TOGETHER:
        is_new |= set(group) if is_new & set(group) else set()
    kept: dict[str, LimitChange] = {}
    replaced: dict[str, LimitChange] = {}
    for name, change in changes.items():
        is_others = name in _OF_MODEL and change.model not in ("", model)
        if change.value != ours[name]:
            (replaced if name in is_new or is_others else kept)[name] = change
    try:
        values = {name: change.value for name, change in kept.items()}
        config = BatchTracker.check_changes(values, given) if values else given
    except InputError:  # a value that this version does not allow, or one of two without the other
        config, kept, replaced = given, {}, {**replaced, **kept}
    return StartSettings(given, config, kept, replaced, before, _find_model(store, source, start))


def _find_model(store: StoreReader, source: str, start: AuditEvent) -> str:
    """Return the sha256 of the model that ran last: that of the start, or one that was taken since."""
    swaps = store.events_of(source, (AuditAction.MODEL_SWAPPED,), start.seq)
    return str(swaps[-1].detail.get("to", "") if swaps else start.detail.get("model_sha256", ""))


def _find_start(store: StoreReader, source: str, until_s: float | None = None) -> AuditEvent | None:
    starts = store.events_of(source, (AuditAction.MONITOR_STARTED,), until_s=until_s)
    return starts[-1] if starts else None


def find_changes(
    store: StoreReader, source: str, start: AuditEvent, until_s: float | None = None
) -> dict[str, LimitChange]:
    """Return, by name, the settings of the charts that hold since a start other than as given to it.

    With ``until_s``, seconds since 1970, those that held then.
    """
    known = {item.name for item in fields(LimitChange)}
    changes = {
        name: LimitChange(**{key: value for key, value in held.items() if key in known})
        for name, held in start.detail.get("carried", {}).items()
        if name in NAMES
    }
    model = str(start.detail.get("model_sha256", ""))
    actions = (AuditAction.LIMITS_CHANGED, AuditAction.MODEL_SWAPPED)
    for event in store.events_of(source, actions, start.seq, until_s=until_s):
        if event.action == AuditAction.MODEL_SWAPPED:
            model = str(event.detail.get("to", model))
            for name in _OF_MODEL:  # a running monitor leaves them behind, as a start does
                if name in changes and changes[name].model not in ("", model):
                    del changes[name]
            continue
        reason, model = event.detail.get("reason", ""), event.detail.get("model_sha256", model)
        for name, (_, value) in event.detail.get("changes", {}).items():
            changes[name] = LimitChange(value, event.who, iso_time(event.at_s) or "", reason, model)
    return changes


def _read(store: StoreReader, key: str | None) -> dict[str, Any]:
    """Return kept settings under today's names; {} if there are none."""
    if not key:
        return {}
    renamed = MonitorConfig.renamed
    try:
        return {renamed.get(name, name): value for name, value in store.document(key).items()}
    except InputError:  # a start without its settings
        return {}


def read_state(batch: Batch) -> dict[str, Any]:
    """Return the state of a batch's charts, as ``BatchTracker.to_json`` wrote it.

    Raises:
        InputError: it was altered.
    """
    with naming_damage():
        state = json.loads(batch.chart_state)
        parts = {"the state": state}
        if isinstance(state, dict):
            parts |= {name: state[name] for name in ("charts", "basis") if state.get(name) is not None}
            charts = state.get("charts")
            limits = charts.get("limits") if isinstance(charts, dict) else None
            parts |= {"limits": limits} if limits is not None else {}
            if isinstance(charts, dict) and not isinstance(charts.get("baseline", []), list):
                raise TypeError(f"{charts['baseline']!r:.80} as baseline of batch {batch.id}")
        for name, part in parts.items():
            if not isinstance(part, dict):
                raise TypeError(f"{part!r:.80} as {name} of the charts of batch {batch.id}")
        for name, value in (parts.get("limits") or {}).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{value!r:.80} as {name} of batch {batch.id}")
        return dict(state)


def read_limits(store: StoreReader, batch: Batch) -> dict[str, Any]:
    """Return which limits hold in a batch, or held at its end, and whose they are, as the page shows them.

    ``changed`` holds the settings that somebody changed, ``mean`` and ``sigma`` are those in force: from
    ``origin``, "learned", "by hand", or the name of a batch.

    Raises:
        InputError: the state of the batch's charts was altered.
    """
    end_s = batch.ended_at_s
    start = _find_start(store, batch.source, end_s)
    changes = find_changes(store, batch.source, start, end_s) if start is not None else {}
    settings = _read(store, start.detail.get("settings_id")) if start is not None else {}
    settings |= {name: change.value for name, change in changes.items()}
    state = read_state(batch)
    charts, limits = state.get("charts", {}), state.get("charts", {}).get("limits") or {}
    carried = start.detail.get("carried", {}) if start is not None else {}
    shown = {
        name: {
            **asdict(change),
            "given": carried.get(name, {}).get("given"),
            "is_carried": _is_carried(change, carried.get(name)),
        }
        for name, change in changes.items()
    }
    confirmed = store.events_of(batch.source, (AuditAction.LIMITS_CONFIRMED,), batch_id=batch.id)
    return {
        "batch": batch.id,
        "is_running": batch.ended_at_s is None,
        "chart": settings.get("chart"),
        "limit": settings.get("limit"),
        "mean": limits.get("mean"),
        "sigma": limits.get("sigma"),
        "origin": _name_origin(state, settings) if limits else "",
        "is_confirmed": state.get("is_confirmed", True),
        "confirmed_by": confirmed[-1].who if confirmed else None,
        "most_plausible": _most_plausible(settings),
        "n_baseline": len(charts.get("baseline", ())),
        "baseline_frames": settings.get("baseline_frames"),
        "changed": shown,
        "started_by": start.who if start is not None else None,
    }


def _is_carried(change: LimitChange, carried: Mapping[str, Any] | None) -> bool:
    return carried is not None and (carried.get("at"), carried.get("who")) == (change.at, change.who)


def _name_origin(state: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    origin = state.get("origin") or (BY_HAND if settings.get("mean") is not None else LEARNED)
    return f"batch {settings.get('limits_from')}" if origin == OF_BATCH else str(origin)


def _most_plausible(settings: Mapping[str, Any]) -> float | None:
    try:
        charts = {name: settings[name] for name in NAMES if name in settings}
        return ChartConfig(**charts).most_plausible
    except (InputError, TypeError):  # settings of another version
        return None
