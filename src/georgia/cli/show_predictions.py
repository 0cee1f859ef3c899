"""Show predictions as they come: a table on the screen, or one JSON object."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from georgia.cli import console

if TYPE_CHECKING:
    from georgia.labels import Labels
    from georgia.predict.prediction import Outcome
    from georgia.records import Failure


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
def show_answers(labels: Labels, engine: str, as_json: bool) -> Iterator[Callable[[Outcome], None]]:
    """Give what shows one answer: as a row of the table, or in the JSON object."""
    with _show_json(labels, engine) if as_json else _show_table(labels) as show:
        yield show


@contextmanager
def _show_json(labels: Labels, engine: str) -> Iterator[Callable[[Outcome], None]]:
    """Collect one JSON object in a file and print it at the end: a run that fails prints nothing."""
    from georgia.predict.tables import JsonWriter

    with tempfile.TemporaryFile("w+", encoding="utf-8") as stream:
        writer = JsonWriter(stream, labels, engine)
        yield writer.add
        writer.close()
        stream.seek(0)
        console.show_stream(stream)


@contextmanager
def _show_table(labels: Labels) -> Iterator[Callable[[Outcome], None]]:
    from georgia.records import Failure

    columns = ["file", "label", "probability", *(f"P({name})" for name in labels.names)]
    with console.open_table(columns, more="All of them: --out answers.csv.") as add_row:

        def show(answer: Outcome) -> None:
            if not isinstance(answer, Failure):
                by_class = [f"{answer.probabilities[name]:.4f}" for name in labels.names]
                add_row([str(answer.file), answer.label, f"{answer.probability:.4f}", *by_class])

        yield show
