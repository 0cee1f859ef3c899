"""A spot check in a folder that is also in a monitor's store: one plan, and names that both hold.

What a person wrote into ``names.csv`` goes into the store, in order; what was named on the page counts in the
folder, too. Where both say something else of a window, nothing is written.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from georgia.errors import InputError
from georgia.monitor.queries import StoreReader
from georgia.monitor.spotchecks import StoredCheck, find_standing
from georgia.spotcheck.check import SpotcheckResult
from georgia.spotcheck.checked import CheckedFraction, measure_check
from georgia.spotcheck.curve import Span
from georgia.spotcheck.details import Request
from georgia.spotcheck.in_store import begin_check, extend_check, list_windows
from georgia.spotcheck.plan import Population, SpotcheckConfig, draw_windows
from georgia.spotcheck.sources import Source, choose_batch

if TYPE_CHECKING:
    from georgia.monitor.records import Batch
    from georgia.monitor.store import Store


@dataclass(frozen=True)
class JoinedCheck:
    """A check of the store that a folder follows; ``who`` names windows where ``names.csv`` has no ``by``."""

    store: Store
    batch: Batch
    check: StoredCheck
    config: SpotcheckConfig
    who: str

    @property
    def extends(self) -> bool:
        """Tell whether it goes on with another check."""
        return "extends" in self.check.body

    @property
    def after_frame(self) -> int:
        """Return the number of the last frame of the check that this one extends; 0 if it extends none."""
        extends = self.check.body.get("extends")
        return self.store.spotcheck(extends["check"]).through_frame if extends else 0

    def find_request(self, request: Request) -> Request:
        """Return what is wished of a check that the store keeps.

        Raises:
            InputError: a width is wished of a check that extends another one.
        """
        if self.extends and request.width is not None:
            raise InputError(
                "Cannot count names for a width",
                needs="a check that extends no other is needed",
                got=f"check {self.check.id}, which extends another",
                hint="Leave --width out; the page of georgia serve counts them roughly.",
            )
        return replace(request, record=self.record)

    def measure_all(self) -> tuple[SpotcheckResult, tuple[Span, ...]]:
        """Return what the names say with those of the checks that this one extends, and the curve."""
        found = self.measure()
        return found.result, found.curve

    def check_source(self, source: Source) -> None:
        """Reject a source whose windows are not those of the plan.

        Raises:
            InputError: another version of Georgia sampled them, or maps were removed since.
        """
        target = source.find_class(self.config.class_name)
        draws = draw_windows(Population.from_probabilities(source.probabilities[:, target]), self.config)
        sampled = [(source.windows[draw.window].file, source.windows[draw.window].box) for draw in draws]
        if sampled != [(window.file, window.box) for window in list_windows(self.check)]:
            raise InputError(
                f"Cannot follow spot check {self.check.id} in a folder",
                needs="the windows that its plan names are needed",
                got="others: maps were removed since, or another version of Georgia sampled them",
                hint="Go on with it on the page of georgia serve; its names and its result are in the store.",
            )

    def record(self, cells: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Write names of ``names.csv`` that the store lacks into it; return all that count, in order.

        ``cells`` are (name, by whom) of all sampled windows, ``""`` where the table has no name.

        Raises:
            InputError: a row says another name than the store; none is written then.
        """
        standing = find_standing(self.store.spotcheck_names(self.check.id))
        for at, row in enumerate(standing):
            if cells[at][0] not in ("", row.name):
                raise InputError(
                    f"Cannot use row {at + 1} of names.csv",
                    needs="the name in the store, or none, is needed",
                    got=f"{cells[at][0]!r}, and {row.name!r} by {row.who} in the store",
                    hint="Clear the row, or take the name back on the page.",
                )
        for position, (name, by) in enumerate(cells[len(standing) :], start=len(standing) + 1):
            if not name:
                break
            self.store.name_window(self.check.id, position, name, by or self.who)
        return [(row.name, row.who) for row in find_standing(self.store.spotcheck_names(self.check.id))]

    def measure(self) -> CheckedFraction:
        """Return what the check says now."""
        check, batch = self.store.spotcheck(self.check.id), self.store.batch(self.batch.id)
        return measure_check(self.store, check, batch.n_frames > check.body["through"]["ordinal"])


def join_check(
    store: Store, wanted: str, config: SpotcheckConfig, who: str, typed: Sequence[str] = ()
) -> JoinedCheck:
    """Return the newest check of a batch, or plan one; its settings are those of its plan.

    ``wanted`` is the batch's name or number, "" the newest. ``typed`` names settings that somebody gave: they
    must be those of the plan.

    Raises:
        InputError: there is no such batch, a setting is another one, or the batch cannot be checked.
    """
    batch = choose_batch(store.batches(limit=100_000), wanted)
    found = store.spotchecks(batch.id)
    check = found[0] if found else begin_check(store, batch, config, who)
    settings = check.body["settings"]
    plan = {name: settings[name] for name in ("n", "even", "confidence", "seed")}
    planned = replace(config, class_name=check.target, **plan)
    differs = [name for name in typed if found and getattr(planned, name) != getattr(config, name)]
    if differs:
        raise InputError(
            f"Cannot go on with spot check {check.id} of batch {batch.name!r}",
            needs=f"its own settings are needed: {differs[0]} {getattr(planned, differs[0])}",
            got=getattr(config, differs[0]),
            hint="Leave them out. Another check of the batch is begun on the page, with a reason.",
        )
    return JoinedCheck(store, batch, check, planned, who)


def begin_extension(store: Store, wanted: str, n: int | None, seed: int | None, who: str) -> StoredCheck:
    """Plan the extension of a batch's newest check by the frames that came since; return the new check.

    ``wanted`` is the batch's name or number, "" the newest; ``n`` None: as densely as before.

    Raises:
        InputError: there is no such batch, no check of it, or no frame came since.
    """
    batch = choose_batch(store.batches(limit=100_000), wanted)
    own = secrets.randbelow(2**32) if seed is None else seed  # that nobody can foresee
    return extend_check(store, batch, SpotcheckConfig(seed=own), who, n)


def read_checked(db: str, wanted: str) -> tuple[CheckedFraction, Batch]:
    """Return what the check of a batch says that counts; the store is only read.

    Raises:
        InputError: there is no such store or batch, or nobody has named a window of it.
    """
    reader = StoreReader.open(db)
    try:
        batch = choose_batch(reader.batches(limit=100_000), wanted)
        for check in reader.spotchecks(batch.id):
            found = measure_check(reader, check, batch.n_frames > check.body["through"]["ordinal"])
            if found.names:
                return found, batch
    finally:
        reader.close()
    raise InputError(
        f"Cannot show the spot check of batch {batch.name!r}",
        needs="one window or more that a person named is needed",
        got="none",
        hint="Name windows on the page of georgia serve, or give --out.",
    )


def list_images(out: Path, n: int) -> list[Path]:
    """Return the images of the first ``n`` windows in a folder of a check, in their order."""
    from georgia.spotcheck.check import WINDOWS_FOLDER

    return sorted((out / WINDOWS_FOLDER).glob("*.png"))[:n]
