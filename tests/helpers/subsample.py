"""Long lists of cases: some of them quickly, all of them with the slow tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def every(step: int, cases: Iterable[Any], start: int = 0) -> list[Any]:
    """Return all cases, of which the quick tests run each ``step``-th."""
    return [
        pytest.param(case, id=str(case), marks=[] if number % step == start else [pytest.mark.slow])
        for number, case in enumerate(cases)
    ]
