"""Metrics of several probes: those of each, with one more label, ``probe``."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NoResponseError
from contextlib import suppress

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.datastructures import Headers

from georgia.errors import GeorgiaError
from georgia.web.metrics_exporter import describe_health
from georgia.web.probe_site import ProbeSite

_log = logging.getLogger(__name__)

# A store that hangs must not keep a scraper from the others. Source: Prometheus waits 10 s by default.
_PATIENCE_S = 3.0


class ProbesMetrics:
    """Asks each probe's metrics in a thread of its own."""

    def __init__(self, sites: Mapping[str, ProbeSite]) -> None:
        self._sites = sites
        self._threads = {name: ThreadPoolExecutor(1, f"georgia-metrics-{name}") for name in sites}

    def text(self, headers: Headers) -> bytes:
        """Return the exposition text, version 0.0.4, for who asks."""
        registry = CollectorRegistry()
        registry.register(_Merged(list(self.collect(headers))))
        return generate_latest(registry)

    def close(self) -> None:
        """End the threads; one that hangs is left behind."""
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)

    def collect(self, headers: Headers) -> Iterator[Metric]:
        """Yield each metric once, with the samples of all probes."""
        open_to = {name: site for name, site in self._sites.items() if site.may_read(headers)}
        asked = {name: self._threads[name].submit(self._ask, site) for name, site in open_to.items()}
        merged: dict[str, Metric] = {}
        read = GaugeMetricFamily(
            "georgia_record_read", "1 where the probe's record could be read for this page.", labels=["probe"]
        )
        for name, site in self._sites.items():
            found: list[Metric] | None = None
            with suppress(NoResponseError, KeyError):
                found = asked[name].result(_PATIENCE_S)
            read.add_metric([name], float(found is not None))
            _merge(merged, name, describe_health(site.health().to_json_dict()) if found is None else found)
        yield read
        yield from merged.values()

    @staticmethod
    def _ask(site: ProbeSite) -> list[Metric] | None:
        if site.exporter is None:
            return None
        try:
            return list(site.exporter.registry.collect())
        except GeorgiaError as error:
            _log.debug("metrics of %r could not be read: %s", site.name, error)
        except Exception:
            _log.exception("metrics of %r could not be read", site.name)
        return None


def _merge(merged: dict[str, Metric], probe: str, metrics: Iterable[Metric]) -> None:
    for metric in metrics:
        known = merged.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
        for sample in metric.samples:
            known.add_sample(sample.name, {"probe": probe, **sample.labels}, sample.value, sample.timestamp)


class _Merged(Collector):
    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they were read."""
        return iter(self._metrics)

    def describe(self) -> Iterator[Metric]:
        """Announce no metrics: they are read when they are asked for."""
        return iter(())
