"""``georgia serve`` with several probes: ``[probes.NAME]`` tables in its settings file."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import georgia
from georgia.cli import console
from georgia.cli.models import open_model
from georgia.cli.options import given
from georgia.config import build_config
from georgia.errors import GeorgiaError, InputError, mask_credentials
from georgia.monitor.fair_queue import ProbeNet, SharedNet
from georgia.monitor.notify import ProbesNotifier, ServiceNotifier
from georgia.monitor.outputs import ProbeOutputs
from georgia.monitor.probe_runner import ProbeRunner, RunnerCalls
from georgia.monitor.probes import Probe, list_names, make_probes
from georgia.monitor.thread_choice import ThreadTrial
from georgia.monitor.tile import FrameAnalyzer

if TYPE_CHECKING:
    from georgia.model.bundle import Bundle
    from georgia.web.config import ServeConfig
    from georgia.web.probe_site import ProbeSite


@dataclass
class _Models:
    """The models of all probes, each opened once, and one net for each way that it runs."""

    default: Path | None
    _bundles: dict[Path | None, Bundle] = field(default_factory=dict)
    _nets: WeakValueDictionary[tuple[Any, ...], SharedNet] = field(default_factory=WeakValueDictionary)
    _opening: threading.Lock = field(default_factory=threading.Lock)

    def open(self, probe: Probe) -> tuple[Bundle, FrameAnalyzer, ProbeNet]:
        """Return a probe's model, its analyzer and its part of the net.

        Raises:
            GeorgiaError: the model cannot be used; the line names the probe.
        """
        try:
            return self._open(probe)
        except GeorgiaError as error:
            error.args = (f"The probe {probe.name!r}: {error}",)
            raise

    def _open(self, probe: Probe) -> tuple[Bundle, FrameAnalyzer, ProbeNet]:
        path = self.find_path(probe)
        place = path.resolve() if path is not None else None
        if place not in self._bundles:
            self._bundles[place] = open_model(path, None)
        return self._bundles[place], *self._analyze_with(self._bundles[place], probe)

    def find_path(self, probe: Probe) -> Path | None:
        """Return where a probe's model lies; None is the one that comes with Georgia."""
        return probe.config.model or self.default

    def reopen(self, bundle: Bundle, runner: ProbeRunner) -> FrameAnalyzer:
        """Return a probe's analyzer with a promoted model; probes that take the same one have one net."""
        analyzer, net = self._analyze_with(bundle, runner.probe)
        net.while_waiting = runner.note_queued
        return analyzer

    def _analyze_with(self, bundle: Bundle, probe: Probe) -> tuple[FrameAnalyzer, ProbeNet]:
        from georgia.monitor.tile import open_probe_engine

        config = probe.monitor
        asked = config.engine, config.n_threads, config.precision
        key = (bundle.model_path.resolve(), bundle.sha256, *asked)
        with self._opening:
            shared = self._nets.get(key)  # held here: the table alone lets go of it
            if shared is None:
                name, threads, precision = asked
                trial = ThreadTrial(lambda n: open_probe_engine(bundle, name, n, precision), threads)
                self._nets[key] = shared = SharedNet(trial)
            net = shared.for_probe(probe.name, probe.config.weight)
        return FrameAnalyzer(bundle, config.tiles, config.impurity, net), net


def read_probes(
    document: Mapping[str, Any],
    assigned: Mapping[str, str],
    of_monitors: Mapping[str, str],
    typed: Mapping[str, Any],
) -> tuple[Probe, ...]:
    """Return the probes of a settings file.

    ``assigned`` are all settings after ``--set``, ``of_monitors`` those of them that all probes take over.

    Raises:
        InputError: there is none, one cannot be used, or an option for one probe was ``typed`` besides.
    """
    from georgia.cli.monitor import read_user

    for name in ("watch", "db", "batch", "source"):
        if typed.get(name) is not None or name in assigned:
            raise InputError(
                f"Cannot use {name} here",
                needs="with [probes] in the settings file it is needed in each probe's table",
                got=f"--{name}" if typed.get(name) is not None else f"--set {name}",
            )
    probes = make_probes(document, of_monitors, read_user())
    if not probes:
        raise InputError(
            "Cannot use the settings of 'probes'",
            needs="a probe or more is needed",
            got="none",
            hint="Example: [probes.reactor-1] with watch = …; or leave [probes] out.",
        )
    return probes


def serve_settings(
    model: Path | None,
    document: Mapping[str, Any],
    changes: tuple[Mapping[str, str], Mapping[str, str]],
    typed: Mapping[str, Any],
    as_json: bool,
    is_shown: bool = False,
) -> int:
    """Serve the probes of a whole settings file.

    ``changes`` are those of ``--set``, of the service and of the monitors; ``typed`` the other options.
    ``is_shown``: the token was typed, so it is no secret of the environment or of a file.

    Raises:
        InputError: the settings, the port or a model cannot be used; nothing has begun then.
    """
    from georgia.web.config import ServeConfig, make_token

    own, others = changes
    probes = read_probes(document, {**own, **others}, others, typed)
    of_service = {key: value for key, value in typed.items() if key not in ("watch", "db")}
    settings = build_config(
        ServeConfig, document.get("serve", {}), own, given(of_service), where="the settings of 'serve'"
    )
    is_secret = bool(settings.token) and not is_shown
    settings = settings if settings.token else replace(settings, token=make_token())
    return serve_probes(model, settings, probes, as_json, is_secret)


def serve_probes(
    model: Path | None, settings: ServeConfig, probes: Sequence[Probe], as_json: bool, is_secret: bool
) -> int:
    """Serve the pages of several probes, each with its monitor, until Ctrl-C or a signal to stop.

    Raises:
        InputError: the port or a model cannot be used; nothing has begun then.
    """
    from georgia.cli.monitor import noting_signals
    from georgia.web.serve import open_probes_service

    models = _Models(model)
    opened = [(probe, *models.open(probe)) for probe in probes]
    with ExitStack() as stack, noting_signals() as received:
        shared = _open_shared(probes, stack)
        ends: list[Callable[[], None]] = []

        def end_service() -> None:
            for end in ends:
                end()

        sites = {
            probe.name: _make_site(probe, (bundle, analyzer, net), shared, settings, end_service)
            for probe, bundle, analyzer, net in opened
        }

        def begin(address: str) -> None:
            _show_address(address, settings, probes, as_json, is_secret)
            if received:
                end_service()

        for site in sites.values():
            _let_swap(site.runner, models)
        server = open_probes_service(settings, sites, begin)
        ends.append(lambda: setattr(server, "should_exit", True))
        for site in sites.values():
            site.runner.start()
        try:
            server.run()
        finally:
            _stop_all([site.runner for site in sites.values()])
    return console.INTERRUPTED if signal.SIGINT in received else console.DONE


@dataclass(frozen=True)
class _Shared:
    """The outputs that all probes have in common."""

    notifier: ProbesNotifier
    opcua: Any = None

    def for_probe(self, name: str) -> ProbeOutputs:
        opcua = self.opcua.for_probe(name) if self.opcua is not None else None
        return ProbeOutputs(name, self.notifier.for_probe(name), opcua)


def _open_shared(probes: Sequence[Probe], stack: ExitStack) -> _Shared:
    names = [probe.name for probe in probes]
    notifier = ServiceNotifier()
    if notifier.is_wanted:
        stack.callback(notifier.close)
    config = probes[0].monitor  # all have the one of [monitor]
    if not config.opcua:
        return _Shared(ProbesNotifier(names, notifier))
    from georgia.monitor.opcua import open_opcua_server

    server = open_opcua_server(config.opcua, config.opcua_access, names)
    stack.callback(server.close)
    return _Shared(ProbesNotifier(names, notifier), server)


def _make_site(
    probe: Probe,
    opened: tuple[Bundle, FrameAnalyzer, ProbeNet],
    shared: _Shared,
    settings: ServeConfig,
    end_service: Callable[[], None],
) -> ProbeSite:
    from georgia.cli.monitor import read_who
    from georgia.web.probe_site import ProbeSite

    bundle, analyzer, net = opened
    runner = ProbeRunner(
        probe, analyzer, shared.for_probe(probe.name), read_who(), net, version=georgia.__version__
    )
    config = replace(settings, db=probe.monitor.db, no_frames_s=probe.monitor.no_frames_s)
    site = ProbeSite(runner, config, bundle, bundle.model_path.parent)
    runner.calls = RunnerCalls(
        on_store=site.take_store,
        on_monitor=site.take_monitor,
        on_hang=end_service,
        on_dead=lambda reason: shared.notifier.say_dead(probe.name, reason),
        say=lambda text: console.show_note(f"{probe.name}: {text}"),
    )
    return site


def _let_swap(runner: ProbeRunner, models: _Models) -> None:
    """Let a probe take what is promoted in its model's place."""
    from georgia.cli.monitor import find_place

    probe = runner.probe
    runner.place = find_place(
        models.find_path(probe), probe.monitor, lambda bundle: models.reopen(bundle, runner)
    )


def _show_address(
    address: str, settings: ServeConfig, probes: Sequence[Probe], as_json: bool, is_secret: bool
) -> None:
    token = "" if is_secret else settings.token
    link = f"{address}#token={token}" if token else address
    if as_json:
        places = {
            probe.name: {"db": mask_credentials(probe.monitor.db), "url": f"{address}probes/{probe.name}/"}
            for probe in probes
        }
        console.show_json({"url": address, "token": token, "page": link, "probes": places})
        return
    console.show_line(f"page: {link}")
    console.show_note(f"probes: {list_names(probes)}. Ctrl-C stops.")


def _stop_all(runners: Sequence[ProbeRunner]) -> None:
    """End all probes at the same time; where one hangs, end the program, with exit code 1."""
    for runner in runners:
        runner.ask_to_stop()
    for runner in runners:
        runner.stop()
    hung = [runner.probe.name for runner in runners if runner.is_hung]
    if not hung:
        return
    console.show_note(
        f"The monitor of {', '.join(hung)} hangs. The service ends, to be started again; "
        "nothing that was written is lost."
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
