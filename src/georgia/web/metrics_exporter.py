"""Metrics for Prometheus: the state of the probe and the work of the service."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from georgia.errors import InputError
from georgia.monitor.health import DEAD_STATES, HealthState
from georgia.monitor.result import State
from georgia.web.process_metrics import describe_process
from georgia.web.service import Service


class MetricsExporter:
    """All metrics of one service."""

    def __init__(self, service: Service) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Probe(service))
        self.predictions = Counter(
            "georgia_predictions_total",
            "Images that POST /api/predict classified, by label.",
            ["label"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "georgia_prediction_seconds",
            "Time to classify one image, decoding included.",
            registry=self.registry,
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )

    def text(self) -> bytes:
        """Return the exposition text, version 0.0.4."""
        return generate_latest(self.registry)


class _Probe(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the probe as they are now."""
        status = self._service.describe_status()
        state = GaugeMetricFamily("georgia_state", "1 for the state that the probe is in.", labels=["state"])
        for name in State:
            state.add_metric([name], float(status["state"] == name))
        yield state
        yield GaugeMetricFamily("georgia_alarm", "1 while an alarm is active.", value=float(status["alarm"]))
        n_open = float(len(status["open_alarms"]))
        yield GaugeMetricFamily(
            "georgia_open_alarms", "Alarms that are active or not acknowledged.", value=n_open
        )
        yield from describe_health(status["health"])
        last, batch = status["last"], status["batch"]
        n_frames = float(batch["n_frames"]) if batch else 0.0
        yield GaugeMetricFamily("georgia_batch_frames", "Frames of the running batch.", value=n_frames)
        fraction = GaugeMetricFamily(
            "georgia_fraction",
            "Fraction of analysed windows, 0-1; bound: value, low, high of the 95 % confidence interval.",
            labels=["class", "bound"],
        )
        for name, item in (last["classes"] if last else {}).items():
            for bound, key in (("value", "fraction"), ("low", "low"), ("high", "high")):
                fraction.add_metric([name, bound], item[key])
        yield fraction
        yield from _describe_charts({**last["chart"], "fraction": last["fraction"]} if last else {})
        yield self._describe_checked(batch["id"] if batch else None)
        yield from describe_process(self._service.store, batch["id"] if batch else None)
        frames = self._service.store.frames(limit=1) if last else []
        age = time.time() - frames[0].judged_at_s if frames else float("nan")
        yield GaugeMetricFamily(
            "georgia_last_frame_age_seconds", "Seconds since the last frame was analysed.", value=age
        )

    def _describe_checked(self, batch_id: int | None) -> Metric:
        """Return what people found of the batch; no sample where nobody has named a window of it."""
        metric = GaugeMetricFamily(
            "georgia_fraction_checked",
            "Fraction of the batch by its spot check, 0-1; bound: value, low, high of its interval; "
            "part: 1 where the batch has gone on since.",
            labels=["class", "bound", "part"],
        )
        service = self._service
        found = None
        with suppress(InputError):  # rows that were altered: georgia verify names them
            found = service.checks.counting(service.store.batch(batch_id)) if batch_id is not None else None
        if found is not None and found.result.interval is not None:
            interval, name = found.result.interval, found.result.target
            for bound, value in (
                ("value", interval.fraction),
                ("low", interval.low),
                ("high", interval.high),
            ):
                metric.add_metric([name, bound, str(int(found.is_part))], float(value))
        return metric

    def describe(self) -> Iterator[Metric]:
        """Announce no metrics: they are read when they are asked for."""
        return iter(())


def _describe_charts(chart: Mapping[str, Any]) -> Iterator[Metric]:
    value = GaugeMetricFamily(
        "georgia_chart",
        "What a chart shows after the last frame: 0-1; of cusum in sigma; of light and detail in units of "
        "their limit, signed.",
        labels=["chart"],
    )
    limit = GaugeMetricFamily(
        "georgia_chart_limit",
        "The limit of a chart, in the same unit; none before it is known.",
        labels=["chart"],
    )
    leading = GaugeMetricFamily(
        "georgia_chart_leading", "1 for the chart whose limit counts now.", labels=["chart"]
    )
    for name, (shown, bound) in _CHARTS.items():
        for family, key in ((value, shown), (limit, bound)):
            number = _number_of(chart, key)
            if number is not None:
                family.add_metric([name], number)
        leading.add_metric([name], float(chart.get("leading") == name))
    yield from (value, limit, leading)
    over = chart.get("over")
    text = "Distance of the leading chart from its centre; 1 lies on the limit."
    yield GaugeMetricFamily("georgia_over", text, value=float("nan") if over is None else over)


# Each chart by its name, with the keys of its value and of its limit; a number is a limit that never moves.
_CHARTS: dict[str, tuple[str, str | float]] = {
    "ewma": ("ewma", "ewma_limit"),
    "cusum": ("cusum", "cusum_limit"),
    "p": ("fraction", "p_limit"),
    "limit": ("ewma", "limit"),
    "rejected": ("rejected", "rejected_limit"),
    "light": ("light_drift", 1.0),
    "detail": ("detail_drift", 1.0),
}


def _number_of(chart: Mapping[str, Any], key: str | float) -> float | None:
    value = chart.get(key) if isinstance(key, str) else key
    return None if value is None else float(value)


def describe_health(health: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield what a monitor's health, in its public form, means in metrics."""
    state = GaugeMetricFamily("georgia_health", "1 for the state of the monitor itself.", labels=["state"])
    for name in HealthState:
        state.add_metric([name], float(health["state"] == name))
    yield state
    up = float(health["state"] not in (*DEAD_STATES, HealthState.UNKNOWN))
    yield GaugeMetricFamily("georgia_monitor_up", "1 while the monitor's loop works.", value=up)
    for metric, key, text in (
        ("georgia_backlog_frames", "backlog", "Frames that were found and are not in the store."),
        ("georgia_unreadable_frames", "n_unreadable", "Files that are no frames since the monitor's start."),
        ("georgia_missed_frames", "n_missed", "At least so many frames were written over unread."),
    ):
        yield GaugeMetricFamily(metric, text, value=float(health[key]))
    threads = health["threads"]
    text = "Threads that the net runs with; NaN while that is measured, or not known."
    yield GaugeMetricFamily("georgia_threads", text, value=float("nan") if threads is None else threads)
    age = health["last_loop_age_s"]
    text = "Seconds since the monitor's loop last moved."
    yield GaugeMetricFamily("georgia_loop_age_seconds", text, value=float("nan") if age is None else age)
