"""Settings of an audit."""

from __future__ import annotations

from dataclasses import dataclass

from georgia.errors import InputError, format_message


@dataclass(frozen=True)
class AuditConfig:
    """What to look at, what may pass, and what the user knows about groups.

    ``deep`` lets a net look at the images too. ``allow`` names checks whose findings may pass the gate.
    Groups are joined from copies, the source's own, and what is asked for here: ``group_regex`` on the name
    below the data folder (what its brackets match, or the whole match, is the group), ``time_gap_s`` seconds
    (images that follow one another no later than that), ``folder_level`` (1: all files of one folder, 2:
    of the folder above it …). ``n_permutations`` and ``alpha`` are of the tests against chance.
    """

    deep: bool = False
    allow: tuple[str, ...] = ()
    group_regex: str = ""
    time_gap_s: float = 0.0
    folder_level: int = 0
    near_copies: bool = True
    n_permutations: int = 199
    alpha: float = 0.01
    seed: int = 42

    def __post_init__(self) -> None:
        faults = [
            f"{name} must be {rule}; got {value!r}"
            for name, rule, value, is_good in (
                ("time_gap_s", "0 or more", self.time_gap_s, self.time_gap_s >= 0),
                ("folder_level", "0 or more", self.folder_level, self.folder_level >= 0),
                ("alpha", "above 0 and below 1", self.alpha, 0 < self.alpha < 1),
                (
                    "n_permutations",
                    "1 / alpha or more, as no p-value comes out smaller than 1 / (n_permutations + 1)",
                    self.n_permutations,
                    not 0 < self.alpha < 1 or (self.n_permutations + 1) * self.alpha >= 1 - 1e-9,
                ),
                ("seed", "0 or more", self.seed, self.seed >= 0),
            )
            if not is_good
        ]
        if self.group_regex:
            faults += _check_regex(self.group_regex)
        if faults:
            raise InputError(" · ".join(faults))


def _check_regex(pattern: str) -> list[str]:
    import re

    try:
        re.compile(pattern)
    except re.error as error:
        return [format_message("group_regex", "it must be a regular expression", f"{pattern!r} ({error})")]
    return []
