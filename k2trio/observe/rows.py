"""What a table of metrics is made of: a row declares a metric, a table registers its rows.

prometheus_client comes with an HTTP server, and is imported when the first metric is made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Generic, Self, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.registry import Collector

    from .scraped import ScrapedCounter, ScrapedGauge, ScrapedHistogram

M_co = TypeVar("M_co", bound="Collector", covariant=True)


@dataclass(frozen=True)
class Row(ABC, Generic[M_co]):
    """One metric, declared: the class of a table has the row, a table the metric made from it."""

    kind: ClassVar[str]

    name: str
    meaning: str
    labels: tuple[str, ...] = ()

    @abstractmethod
    def on(self, registry: CollectorRegistry) -> M_co:
        """Make the metric and register it."""

    @overload
    def __get__(self, table: None, owner: type[Table]) -> Self: ...
    @overload
    def __get__(self, table: Table, owner: type[Table]) -> M_co: ...
    def __get__(self, table: Table | None, owner: type[Table]) -> Self | M_co:
        if table is None:
            return self
        # A registered metric is in the table's own dictionary, which comes before this.
        raise AttributeError(f"{self.name} is not registered")


@dataclass(frozen=True)
class CounterRow(Row["Counter"]):
    """A counter.

    :ivar shown: values of its label that are shown from the start, so that the first event of a
        kind is an increase.
    """

    kind = "counter"

    shown: tuple[str, ...] = ()

    def on(self, registry: CollectorRegistry) -> Counter:
        from prometheus_client import Counter

        counter = Counter(self.name, self.meaning, self.labels, registry=registry)
        for value in self.shown:
            counter.labels(value)
        return counter


@dataclass(frozen=True)
class GaugeRow(Row["Gauge"]):
    """A gauge."""

    kind = "gauge"

    def on(self, registry: CollectorRegistry) -> Gauge:
        from prometheus_client import Gauge

        return Gauge(self.name, self.meaning, self.labels, registry=registry)


@dataclass(frozen=True)
class HistogramRow(Row["Histogram"]):
    """A histogram."""

    kind = "histogram"

    buckets: tuple[float, ...] = field(kw_only=True)

    def on(self, registry: CollectorRegistry) -> Histogram:
        from prometheus_client import Histogram

        return Histogram(
            self.name, self.meaning, self.labels, registry=registry, buckets=self.buckets
        )


@dataclass(frozen=True)
class ScrapedHistogramRow(Row["ScrapedHistogram"]):
    """A histogram that something else keeps; it is asked for the counts at each scrape."""

    kind = "histogram"

    buckets: tuple[float, ...] = field(kw_only=True)

    def on(self, registry: CollectorRegistry) -> ScrapedHistogram:
        from .scraped import ScrapedHistogram

        histogram = ScrapedHistogram(self.name, self.meaning, self.labels, self.buckets)
        registry.register(histogram)
        return histogram


@dataclass(frozen=True)
class ScrapedCounterRow(Row["ScrapedCounter"]):
    """A counter that something else keeps; it is asked for the totals at each scrape."""

    kind = "counter"

    def on(self, registry: CollectorRegistry) -> ScrapedCounter:
        from .scraped import ScrapedCounter

        counter = ScrapedCounter(self.name, self.meaning, self.labels)
        registry.register(counter)
        return counter


@dataclass(frozen=True)
class ScrapedGaugeRow(Row["ScrapedGauge"]):
    """A gauge that something else keeps; it is asked for the values at each scrape."""

    kind = "gauge"

    def on(self, registry: CollectorRegistry) -> ScrapedGauge:
        from .scraped import ScrapedGauge

        gauge = ScrapedGauge(self.name, self.meaning, self.labels)
        registry.register(gauge)
        return gauge


class Table:
    """Metrics in a registry, one for each row that the class declares, in that order."""

    def __init__(self, registry: CollectorRegistry) -> None:
        for attribute, row in self._declared():
            setattr(self, attribute, row.on(registry))

    @classmethod
    def rows(cls) -> list[Row[Collector]]:
        """The rows, in order."""
        return [row for _, row in cls._declared()]

    @classmethod
    def _declared(cls) -> Iterator[tuple[str, Row[Collector]]]:
        members: Mapping[str, object] = vars(cls)
        for attribute, member in members.items():
            if isinstance(member, Row):
                yield attribute, member
