"""Another model in a running monitor: what a start would take over from the record holds here too."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from georgia.config import flatten_config
from georgia.errors import InputError
from georgia.monitor.batch_tracker import make_basis
from georgia.monitor.changes import MonitorChanges
from georgia.monitor.commission import known_of
from georgia.monitor.commissioned import find_commissioning
from georgia.monitor.limits_in_force import StartSettings, carry_over
from georgia.monitor.outages import OutageKind
from georgia.monitor.records import AuditAction, EventKind
from georgia.monitor.released_limits import find_released
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.start_record import describe_model, describe_swap
from georgia.monitor.tile import FrameAnalyzer

if TYPE_CHECKING:
    from georgia.model.bundle import Bundle


@dataclass(frozen=True)
class _Swap:
    """A model that is to be taken, and what the record says with regard to it.

    ``held`` are the settings that held when the record was asked.
    """

    who: str
    analyzer: FrameAnalyzer
    held: MonitorConfig
    settings: StartSettings
    commissioning: tuple[str, str] | None


class ModelSwap(MonitorChanges):
    """The part of a monitor that takes another model between two frames."""

    # Whether a model was handed over that is neither taken nor rejected.
    is_swapping = False

    @property
    def bundle(self) -> Bundle:
        """Return the model that analyses the frames."""
        return self._analyzer.bundle

    @property
    def analyzer(self) -> FrameAnalyzer:
        """Return what analyses the frames: that of the start, or of the last swap."""
        return self._analyzer

    def note_model(self, reason: str) -> None:
        """Take in, between two frames, why a promoted model is not in use; "" where it is."""
        self._requests.put(lambda: self._take_fault(OutageKind.MODEL_NOT_TAKEN, reason))

    def swap_model(self, who: str, analyzer: FrameAnalyzer) -> None:
        """Analyse with another model from the next frame on; what limits the old one taught are dropped.

        A model with which a start would not begin is not taken: an outage says so, and the old one goes on.
        """
        self.is_swapping = True
        self._requests.put(lambda: self._find_swap(who, analyzer))

    def _find_swap(self, who: str, analyzer: FrameAnalyzer) -> None:
        """Ask the record, once the store responds; the model is taken after that, between two frames."""
        held = self.config

        def read() -> _Swap:
            self._check_swap(analyzer)
            settings = carry_over(self.store, self.source, self._given, analyzer.model_sha256)
            known = find_commissioning(self.store, self.source, analyzer.model_sha256)
            return _Swap(who, analyzer, held, settings, known)

        def failed(error: Exception) -> None:
            self.is_swapping = False
            self._take_fault(OutageKind.MODEL_NOT_TAKEN, f"the promoted model is not taken: {error}")

        self._writes.put(read, lambda swap: self._requests.put(lambda: self._swap(swap)), failed)

    def _check_swap(self, analyzer: FrameAnalyzer) -> None:
        """Reject a model with which the running batch cannot go on.

        Raises:
            InputError: it charts another class, or the limits of a batch that the settings name are not its.
            StoreAwayError: the store cannot be reached now.
        """
        now = self._analyzer.impurity
        if analyzer.impurity != now:
            needs = f"it must know the class {now!r}, which this batch charts"
            raise InputError("Cannot go on with another model", needs=needs, got=repr(analyzer.impurity))
        if self._given.limits_from:
            basis = make_basis(analyzer, self._given)
            find_released(self.store, self.source, self._given.limits_from, basis)

    def _swap(self, swap: _Swap) -> None:
        if swap.held is not self.config:  # somebody has changed the limits meanwhile
            self._find_swap(swap.who, swap.analyzer)
            return
        analyzer, before = swap.analyzer, self._analyzer
        self._analyzer, self.is_swapping = analyzer, False
        if isinstance(analyzer, FrameAnalyzer) and isinstance(before, FrameAnalyzer):
            analyzer.go_on_from(before)
        self.cancel_commissioning()
        self._released = self._tracker.released = None  # they are of another model
        self._take_charts(swap.who, swap.settings)
        self._tracker.config = self.config.charts
        self._tracker.take_basis(make_basis(analyzer, self.config))
        self._tracker.input.known = known_of(analyzer.bundle)
        if swap.commissioning is not None:
            self._tracker.input.give(*swap.commissioning)
        detail = describe_swap(before.model_sha256, analyzer, self.config)
        who, batch_id = swap.who, self._batch.id if self._batch else None
        self._writes.put(
            lambda: self.store.save_document("model", describe_model(analyzer), analyzer.model_sha256)
        )
        self._writes.put(lambda: self.store.append_event(who, AuditAction.MODEL_SWAPPED, detail, batch_id))
        self._note_limits()
        self._take_fault(OutageKind.MODEL_NOT_TAKEN, "")
        told = f"{analyzer.bundle.name} analyses from now on", detail.get("reason")
        reason = "; ".join(filter(None, told))
        self._tell(EventKind.STATE, detail={"reason": reason})

    def _take_charts(self, who: str, settings: StartSettings) -> None:
        """Leave behind a mean and a spread that were set on the page for the model before."""
        new = replace(self.config, charts=settings.config.charts)
        old_values, new_values = flatten_config(self.config.charts), flatten_config(new.charts)
        changes = {
            name: [old, new_values[name]] for name, old in old_values.items() if old != new_values[name]
        }
        if not changes:
            return
        self.config = new
        before = {name: asdict(change) for name, change in settings.replaced.items() if name in changes}
        detail = {"changes": changes, "set_before": before, "reason": "they were set for another model"}
        batch_id, state = (self._batch.id if self._batch else None), self._tracker.to_json()
        action, plain = AuditAction.SETTINGS_CHANGED, new.to_json_dict()
        self._writes.put(
            lambda: self.store.record_limits(who, detail, batch_id, state, plain, action), self._keep_id
        )
