"""Progress of a step, without printing: the caller passes a listener in."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a step calls while it works; only the command line shows it as bars and lines."""

    def start(self, stage: str, total: int | None) -> None:
        """Begin a stage of ``total`` things (None: unknown); a stage ends when the next begins."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Report that ``count`` more things are done; ``note`` is shown beside the bar."""

    def say(self, line: str) -> None:
        """Give one line that the user should keep on screen."""


class Quiet:
    """A listener that does nothing: the default of every step."""

    def start(self, stage: str, total: int | None) -> None:
        """Ignore the stage."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Ignore the count."""

    def say(self, line: str) -> None:
        """Ignore the line."""


QUIET = Quiet()
