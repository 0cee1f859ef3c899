"""Metrics for Prometheus: the state of the probe and the work of the service."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from georgia.monitor.result import State
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
        frames = self._service.store.frames(limit=1) if last else []
        age = time.time() - frames[0].judged_at_s if frames else float("nan")
        yield GaugeMetricFamily(
            "georgia_last_frame_age_seconds", "Seconds since the last frame was analysed.", value=age
        )

    def describe(self) -> Iterator[Metric]:
        """Announce no metrics: they are read when they are asked for."""
        return iter(())
