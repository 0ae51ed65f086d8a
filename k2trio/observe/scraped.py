"""Metrics that something else keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


class ScrapedCounter(Collector):
    """What a gauge with a function is, for a counter with one label or none."""

    def __init__(self, name: str, meaning: str, labels: tuple[str, ...]) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = labels
        self._totals: Callable[[], Mapping[str, float]] = dict

    def set_function(self, totals: Callable[[], Mapping[str, float]]) -> None:
        """Have ``totals`` called at each scrape: label → total; the label may be any where the
        counter has none.
        """
        self._totals = totals

    def describe(self) -> Iterable[CounterMetricFamily]:
        """The counter without its totals: by its names the registry finds what is asked for."""
        return [self._family()]

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = self._family()
        for label, total in self._totals().items():
            family.add_metric([label] if self._labels else [], total)
        return [family]

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(self._name, self._meaning, labels=self._labels)


class ScrapedGauge(Collector):
    """A gauge with one label, of which something else knows what values there are."""

    def __init__(self, name: str, meaning: str, labels: tuple[str, ...]) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = labels
        self._values: Callable[[], Mapping[str, float]] = dict

    def set_function(self, values: Callable[[], Mapping[str, float]]) -> None:
        """Have ``values`` called at each scrape: label → value."""
        self._values = values

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The gauge without its values: by its name the registry finds what is asked for."""
        return [self._family()]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = self._family()
        for label, value in self._values().items():
            family.add_metric([label], value)
        return [family]

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(self._name, self._meaning, labels=self._labels)


class ScrapedHistogram(Collector):
    """A histogram with one label, for what comes too often to be observed one by one."""

    def __init__(
        self, name: str, meaning: str, labels: tuple[str, ...], buckets: Sequence[float]
    ) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = labels
        self._bounds = [*map(str, buckets), "+Inf"]
        self._counts: Callable[[], Mapping[str, tuple[Sequence[int], float]]] = dict

    def set_function(self, counts: Callable[[], Mapping[str, tuple[Sequence[int], float]]]) -> None:
        """Have ``counts`` called at each scrape: label → counts up to each bound, and the sum."""
        self._counts = counts

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """The histogram without its counts: by its names the registry finds what is asked for."""
        return [self._family()]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = self._family()
        for label, (counts, total) in self._counts().items():
            buckets = list(zip(self._bounds, map(float, counts), strict=True))
            family.add_metric([label], buckets, total)
        return [family]

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._meaning, labels=self._labels)
