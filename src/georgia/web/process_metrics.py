"""Metrics of process data: the newest values of the running batch, and how old they are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

from prometheus_client.core import GaugeMetricFamily, Metric

from georgia.errors import InputError
from georgia.monitor.queries import StoreReader
from georgia.process.queries import ProcessVariable, list_variables

_LABELS = ["source", "variable", "unit"]


def describe_process(store: StoreReader, batch_id: int | None) -> Iterator[Metric]:
    """Yield value and age of each variable of a batch; a value that is not the present one is left out."""
    value = GaugeMetricFamily(
        "georgia_process_value", "Newest value of a variable; none while that is too old.", labels=_LABELS
    )
    age = GaugeMetricFamily(
        "georgia_process_age_seconds", "Age of a variable's newest value by its own time.", labels=_LABELS
    )
    found: list[ProcessVariable] = []
    now = time.time()
    with suppress(InputError):  # rows that were altered: georgia verify names them
        found = (
            list_variables(store, store.batch(batch_id), now, has_counts=False)
            if batch_id is not None
            else []
        )
    for variable in found:
        if variable.last_time_s is None or variable.last_value is None:
            continue
        labels = [variable.source, variable.name, variable.unit]
        age.add_metric(labels, max(0.0, now - variable.last_time_s))
        if variable.is_current(now):
            value.add_metric(labels, variable.last_value)
    yield from (value, age)
