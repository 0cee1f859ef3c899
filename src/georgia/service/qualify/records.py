"""One check with what was expected and found, and all of them with who, where and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from georgia.errors import GeorgiaError, mask_credentials


class Outcome(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"


class Part(StrEnum):
    """Installation qualification: is it what was shipped? Operation: does it do what it must?"""

    INSTALLATION = "installation"
    OPERATION = "operation"


@dataclass(frozen=True)
class Check:
    """One line: ``expected`` and ``found`` in words; ``reason`` says why it was not run, or what to do."""

    number: str
    part: Part
    title: str
    expected: str
    found: str
    outcome: Outcome
    reason: str = ""

    def to_json_dict(self) -> dict[str, str]:
        """Return the public form."""
        return {name: str(value) for name, value in asdict(self).items()}


class NotRunError(Exception):
    """A check cannot be made here; the text says why."""


@dataclass(frozen=True)
class Finding:
    """What a check found, and whether it is as expected."""

    is_expected: bool
    found: str
    reason: str = ""


@dataclass(frozen=True)
class Plan:
    """A check before it is made; ``make`` returns what it finds, or says that it cannot be made."""

    number: str
    part: Part
    title: str
    expected: str
    make: Callable[[], Finding]

    def run(self) -> Check:
        """Make the check; whatever goes wrong in it is a check that failed, and says so."""
        head = (self.number, self.part, self.title, self.expected)
        try:
            finding = self.make()
        except NotRunError as error:
            return Check(*head, "–", Outcome.NOT_RUN, mask_credentials(str(error)))
        except (GeorgiaError, OSError) as error:
            return Check(*head, mask_credentials(str(error)), Outcome.FAILED)
        except Exception as error:
            said = mask_credentials(f"{type(error).__name__}: {error}")
            return Check(*head, said, Outcome.FAILED, "The check itself ended in this error.")
        outcome = Outcome.PASSED if finding.is_expected else Outcome.FAILED
        return Check(*head, mask_credentials(finding.found), outcome, mask_credentials(finding.reason))


@dataclass(frozen=True)
class Qualification:
    """All checks of one run; ``place`` says what was checked: machine, account, folder, model, store."""

    checks: tuple[Check, ...]
    place: dict[str, str]
    began_at: str
    ended_at: str
    seconds: float

    def count(self, outcome: Outcome) -> int:
        """Return how many checks came out so."""
        return sum(check.outcome == outcome for check in self.checks)

    @property
    def outcome(self) -> Outcome:
        """Return failed if one failed, not run if one was not run, else passed."""
        worst = (Outcome.FAILED, Outcome.NOT_RUN)
        return next((outcome for outcome in worst if self.count(outcome)), Outcome.PASSED)

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "outcome": str(self.outcome),
            "passed": self.count(Outcome.PASSED),
            "failed": self.count(Outcome.FAILED),
            "not_run": self.count(Outcome.NOT_RUN),
            "began_at": self.began_at,
            "ended_at": self.ended_at,
            "seconds": round(self.seconds, 1),
            "place": self.place,
            "checks": [check.to_json_dict() for check in self.checks],
        }
