"""Show predictions as they come: a table on the screen, or one JSON object."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from georgia.cli import console

if TYPE_CHECKING:
    from georgia.labels import Labels
    from georgia.model.engines import Computation
    from georgia.predict.prediction import Outcome
    from georgia.records import Failure

_CHUNK = 1 << 16


@dataclass
class FailedFiles:
    """The first files that could not be read, and how many there are."""

    first: list[Failure] = field(default_factory=list)
    count: int = 0

    def add(self, failure: Failure) -> None:
        """Count a file, and keep it if it is one of the first."""
        self.count += 1
        if self.count <= console.SHOWN_FAILURES:
            self.first.append(failure)


@contextmanager
def show_predictions(
    labels: Labels,
    computation: Computation,
    as_json: bool,
    failed: FailedFiles,
    details: Mapping[str, Any] | None = None,
) -> Iterator[Callable[[Outcome], None]]:
    """Yield the function that shows one prediction, in the table or the JSON object, or counts a failure.

    ``details`` goes into the JSON object, as it is at the end.
    """
    from georgia.records import Failure

    with _show_json(labels, computation, details) if as_json else _show_table(labels) as show:

        def show_or_count(outcome: Outcome) -> None:
            show(outcome)
            if isinstance(outcome, Failure):
                failed.add(outcome)

        yield show_or_count


@contextmanager
def _show_json(
    labels: Labels, computation: Computation, details: Mapping[str, Any] | None
) -> Iterator[Callable[[Outcome], None]]:
    """Collect one JSON object in a file and print it at the end: a run that fails prints nothing."""
    from georgia.predict.tables import JsonWriter

    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogatepass") as stream:
        writer = JsonWriter(stream, labels, computation, details)
        yield writer.add
        writer.close()
        stream.seek(0)
        while chunk := stream.read(_CHUNK):
            # As all JSON that is printed: plain ASCII is the same in every encoding of a console.
            print(re.sub(r"[^\x00-\x7f]", lambda match: json.dumps(match[0])[1:-1], chunk), end="")


@contextmanager
def _show_table(labels: Labels) -> Iterator[Callable[[Outcome], None]]:
    from georgia.records import Failure

    columns = ["file", "label", "probability", *(f"P({name})" for name in labels.names)]
    with console.open_table(columns, more="All of them: --out predictions.csv.") as add_row:

        def show(outcome: Outcome) -> None:
            if not isinstance(outcome, Failure):
                by_class = [f"{outcome.probabilities[name]:.4f}" for name in labels.names]
                add_row([str(outcome.file), outcome.label, f"{outcome.probability:.4f}", *by_class])

        yield show
