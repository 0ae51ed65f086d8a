"""A feed with its exporter beside it: metrics, health, and the status page."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import trio

from .. import __version__
from ..client.opening import open_feed
from ..loopback import is_loopback
from ..market.streams import symbols_of
from ..observe.history import History
from ..observe.metrics import Metrics
from ..web import exporter
from ..web.app import make_app
from ..web.status import Reporter

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from ..client.feed import Feed
    from ..continuity.positions import Position
    from ..observe.transitions import Observer
    from ..settings import Settings


class Exported(NamedTuple):
    """A feed, the URL of its exporter, and what reports there what the feed is doing."""

    feed: Feed
    url: str
    reporter: Reporter


@asynccontextmanager
async def exported_feed(
    settings: Settings,
    *,
    observers: Sequence[Observer] = (),
    rng: random.Random | None = None,
    sync: Callable[[], None] | None = None,
    positions: Iterable[Position] = (),
    streams: Sequence[str] | None = None,
) -> AsyncGenerator[Exported]:
    """A feed with its exporter as a sibling task.

    What is logged of it is for its observers to say.

    :param rng: source of jitter.
    :param sync: see :func:`open_feed`, as for ``positions``.
    :param streams: what it begins with, if not with all of the settings'.
    :raises ConfigError: if the exporter's port is taken.
    """
    metrics = Metrics(symbols_of(settings.stream_names), version=__version__)
    history = History()
    with exporter.open_socket(settings.metrics_host, settings.metrics_port) as listener:
        async with (
            trio.open_nursery() as nursery,
            open_feed(
                streams,
                settings=settings,
                metrics=metrics,
                observers=[history.observe, *observers],
                log=False,
                rng=rng,
                sync=sync,
                positions=positions,
                may_be_empty=streams is not None,
            ) as feed,
        ):
            reporter = Reporter(feed, history, version=__version__)
            nursery.start_soon(reporter.watch)
            app = make_app(
                metrics.registry,
                lambda: feed.status().problems,
                reporter.report,
                reporter.trends,
                version=__version__,
                local_only=is_loopback(settings.metrics_host),
            )
            url = await nursery.start(exporter.serve_app, app, listener)
            yield Exported(feed, url, reporter)
            nursery.cancel_scope.cancel()
