"""All checks in their order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from georgia.errors import GeorgiaError
from georgia.monitor.columns import iso_time
from georgia.progress import QUIET, Progress
from georgia.service.qualify import installation
from georgia.service.qualify.drills import Drills
from georgia.service.qualify.machine import Machine, describe_place
from georgia.service.qualify.model import ENGINES, TOLERANCE, Model
from georgia.service.qualify.records import Check, Finding, NotRunError, Part, Plan, Qualification
from georgia.service.qualify.settings import QualifyConfig

_NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def qualify(config: QualifyConfig, progress: Progress = QUIET) -> Qualification:
    """Make all checks of an installation; the running one is only read, faults are made on a scratch store.

    A check that cannot be made here is "not run" with its reason, and one that ends in an error has failed.
    """
    began, started = time.time(), time.monotonic()
    checks: list[Check] = []
    plans = [*_plan_installation(config), *_plan_operation(config)]
    with _drilling(config) as drills:
        plans += drills
        progress.start("qualify", len(plans))
        for plan in plans:
            checks.append(plan.run())
            progress.advance(note=plan.title)
    return Qualification(
        tuple(checks),
        describe_place(config),
        str(iso_time(began)),
        str(iso_time(time.time())),
        time.monotonic() - started,
    )


def _plan_installation(config: QualifyConfig) -> list[Plan]:
    model, machine = Model(config.model), Machine(config)
    limit = f"{config.min_free_gb:g} GB free or more on each disk"
    checks: list[tuple[str, str, Callable[[], Finding]]] = [
        ("Georgia", "the version that its packaging names", installation.check_program),
        ("Python", "3.11, 3.12 or 3.13, 64 bits", installation.check_python),
        ("Packages: lowest versions", "each is there and not older than allowed", installation.check_floors),
        (
            "Packages: tested versions",
            "those of requirements.lock",
            partial(installation.check_lock, config.lock),
        ),
        ("Files of the package", "as in the wheel's RECORD, no others", installation.check_files),
        ("Model: hashes", "the net is the file that its description names", model.check_hashes),
        ("Model: classes", "the same in description and file, in order", model.check_classes),
        ("Fonts", "letters of pages and figures are there", installation.check_fonts),
        ("Store: rights", "this account reads and writes, others do not write", machine.check_store_rights),
        ("Probe's folder", "there, and readable by this account", machine.check_watch),
        ("Port of the service", "free, or Georgia responds", machine.check_port),
        ("Disk: room", limit, machine.check_room),
        ("Time zone", "known here", machine.check_zone),
    ]
    return [
        Plan(f"IQ-{number:02}", Part.INSTALLATION, title, expected, make)
        for number, (title, expected, make) in enumerate(checks, start=1)
    ]


def _plan_operation(config: QualifyConfig) -> list[Plan]:
    model, machine = Model(config.model), Machine(config)
    checks: list[tuple[str, str, Callable[[], Finding]]] = [
        ("Processor and precision", "the precision asked for is in force", model.check_precision),
        *(
            (
                f"Model: stored predictions, {_NAMES[engine]}",
                f"labels the same, probabilities within {TOLERANCE:g}",
                partial(model.check_engine, engine),
            )
            for engine in ENGINES
        ),
        (
            "Model: engines agree",
            f"labels the same, probabilities within {TOLERANCE:g}",
            model.check_between_engines,
        ),
        ("Clock: steady", "within 5 ms of a clock that never jumps", machine.check_clock),
        ("Clock: synchronised", "a time server keeps it", machine.check_synchronised),
        ("Clock: against the store", "no time of the record is in the future", machine.check_store_times),
        ("Store: record", "whole", machine.check_record),
        (
            "Disk: write latency",
            f"4 KB are on the disk within {config.max_write_s:g} s",
            machine.check_latency,
        ),
    ]
    return [
        Plan(f"OQ-{number:02}", Part.OPERATION, title, expected, make)
        for number, (title, expected, make) in enumerate(checks, start=1)
    ]


@contextmanager
def _drilling(config: QualifyConfig) -> Iterator[list[Plan]]:
    """Hand out the drills; without them, one line that says so, as where no scratch folder can be made."""
    if not config.drills:
        yield [_leave_out("they were left out: drills = false")]
        return
    try:
        drills = Drills(config.scratch)
    except (OSError, GeorgiaError) as error:
        yield [_leave_out(f"no scratch folder can be made: {error}")]
        return
    try:
        yield drills.plan()
    finally:
        drills.close()


def _leave_out(reason: str) -> Plan:
    def leave() -> Finding:
        raise NotRunError(f"The drills were not run: {reason}.")

    return Plan("OQ-10", Part.OPERATION, "Fault drills", "each fault is said, recorded and survived", leave)
