"""The temperature of the solution at a moment, from process data, with all that it may have been."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, suggest
from georgia.process.moments.result import TemperatureAt
from georgia.process.queries import name_variables

if TYPE_CHECKING:
    from georgia.process.queries import ProcessSeries, ProcessVariable

Floats = npt.NDArray[np.float64]
_UNIT = re.compile(r"(?:°|º|deg\s?)?[CF]|K", re.IGNORECASE)
# Between two values that are further apart than so many usual steps nothing is known, unless they differ by
# no more than the channel's own steps: then it held its value.
MAX_STEPS, _HELD_STEPS = 3.0, 1.5
# The direction is that over so many intervals of the moment to either side.
_LEAST_AROUND_S = 60.0


def is_temperature(variable: ProcessVariable) -> bool:
    """Tell by its unit whether a variable is a temperature."""
    return _UNIT.fullmatch(variable.unit.strip()) is not None


def choose_temperature(variables: Sequence[ProcessVariable], wanted: str = "") -> ProcessVariable | str:
    """Return the variable that is the solution's temperature, or why there is none.

    Raises:
        InputError: ``wanted`` names none of the batch's variables, or several.
    """
    if wanted:
        meant = [variable for variable in variables if _is_called(variable, wanted)]
        if len(meant) == 1:
            return meant[0]
        if meant:
            raise InputError(
                "Cannot find the temperature",
                needs="one of the batch's variables is needed",
                got=f"{wanted!r}, which are {len(meant)}",
                hint=f"Name the source too: {', '.join(repr(f'{v.source}: {v.title}') for v in meant)}.",
            )
        names = [variable.name for variable in variables]
        if not names:
            return "the store holds no process data of the batch"
        raise InputError(
            "Cannot find the temperature",
            needs="one of the batch's variables is needed",
            got=repr(wanted),
            hint=suggest(wanted, names).strip() or f"There are: {', '.join(names[:12])}.",
        )
    found = [
        variable for variable in variables if is_temperature(variable) and variable.last_time_s is not None
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        return "no variable of the batch has the unit of a temperature"
    several = ", ".join(variable.name for variable in found[:6])
    return f"several variables are temperatures ({several}): name that of the solution"


def _is_called(variable: ProcessVariable, wanted: str) -> bool:
    own = (variable.name, variable.title)
    return wanted in own or wanted in [f"{variable.source}: {name}" for name in own]


def label_temperatures(variables: Sequence[ProcessVariable]) -> dict[int, str]:
    """Return by its id how each variable that is a temperature is called: no two are called the same.

    ``choose_temperature`` takes these names.
    """
    return name_variables([variable for variable in variables if is_temperature(variable)])


@dataclass(frozen=True)
class TemperatureTrend:
    """A temperature over time: times in s since 1970, rising, and values (N,)."""

    title: str
    unit: str
    times_s: Floats
    values: Floats

    @classmethod
    def of(cls, series: ProcessSeries) -> TemperatureTrend:
        """Return the values of a series without its gaps."""
        pairs = [
            (at, value) for at, value in zip(series.time_s, series.value, strict=True) if value is not None
        ]
        times, values = np.array(pairs, np.float64).reshape(-1, 2).T
        return cls(series.variable.title, series.variable.unit, times, values)

    @property
    def step_s(self) -> float:
        """Return the usual time from one value to the next, s."""
        return float(np.median(np.diff(self.times_s))) if len(self.times_s) > 1 else 0.0

    @property
    def resolution(self) -> float:
        """Return by how much a value usually differs from the one before, if it does."""
        steps = np.abs(np.diff(self.values))
        steps = steps[steps > 0]
        return float(np.median(steps)) if len(steps) else 0.0

    def at(self, time_s: float) -> float | None:
        """Return the temperature at a time, between the values beside it; None where nothing tells."""
        times, values = self.times_s, self.values
        if not len(times):
            return None
        after = int(np.searchsorted(times, time_s, side="left"))
        if after < len(times) and times[after] == time_s:
            return float(values[after])
        most_s = MAX_STEPS * max(self.step_s, 1.0)
        if after in (0, len(times)):
            near = 0 if after == 0 else -1
            return float(values[near]) if abs(time_s - times[near]) <= most_s else None
        is_held = abs(values[after] - values[after - 1]) <= _HELD_STEPS * self.resolution
        if times[after] - times[after - 1] > most_s and not is_held:
            return None
        return float(np.interp(time_s, times[after - 1 : after + 1], values[after - 1 : after + 1]))

    def around(self, time_s: float, low_s: float, high_s: float) -> TemperatureAt | None:
        """Return the temperature at a moment and its range within the interval, widened by a step of it.

        None where it is missing at the moment or at an end of the interval. The sensor's own error is not in.
        """
        ends = [self.at(each) for each in (low_s, time_s, high_s)]
        if any(each is None for each in ends):
            return None
        inside = self.values[(self.times_s >= low_s) & (self.times_s <= high_s)]
        known = [*(each for each in ends if each is not None), *inside.tolist()]
        band = self.resolution
        middle = ends[1] if ends[1] is not None else float("nan")
        return TemperatureAt(
            middle, min(known) - band, max(known) + band, self.unit, self.slope(low_s, high_s)
        )

    def slope(self, low_s: float, high_s: float) -> float | None:
        """Return by how much it changes a minute around an interval; None where that is not known."""
        reach = max(high_s - low_s, _LEAST_AROUND_S, 2 * self.step_s)
        first, last = (max(self.times_s[0], low_s - reach), min(self.times_s[-1], high_s + reach))
        start, end = self.at(first), self.at(last)
        if start is None or end is None or last <= first:
            return None
        if abs(end - start) <= self.resolution:
            return 0.0
        return float(60.0 * (end - start) / (last - first))
