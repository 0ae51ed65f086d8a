"""``k2trio demo``: a feed survives a bad day of a simulated exchange, and counts what it lost."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio
from pydantic import Field

from ...simulator import Running, serve
from ..exported import exported_feed
from ..options import Options
from ..run import EXIT_FAILED, EXIT_OK
from ..starting import usable_port
from ..terminal import put_line, put_wrapped
from .score import Score
from .screen import Screen, show_summary
from .script import STREAMS, VENUE, bad_day, explain, make_exchange, make_settings

if TYPE_CHECKING:
    from ...client.feed import Feed

MIN_SECONDS = 15
"""In a shorter day the silence that must be noticed is no longer than a hiccup of the machine."""


class DemoOptions(Options):
    """Watch the feed survive a bad day of a simulated exchange. Needs no network."""

    seconds: float = Field(60, ge=MIN_SECONDS, le=3600, description="Length of the day (s).")
    seed: int = Field(1, ge=0, description="Decides the market and the jitter of the retries.")
    plain: bool = Field(
        False, description="Lines instead of a live screen; always so where output is no terminal."
    )
    metrics_host: str = Field("127.0.0.1", description="Address of the metrics exporter.")
    metrics_port: int = Field(
        9090,
        ge=0,
        le=65535,
        description="Its port; 0 picks a free one, as does this one where it is busy.",
    )


async def demo(options: DemoOptions, *, plain: bool) -> int:
    """Run the day; exit code 1 if a fault went unnoticed or the numbers do not add up.

    :param plain: lines instead of a live screen.
    """
    async with trio.open_nursery() as nursery:
        config = make_exchange(options.seconds, options.seed)
        running = await nursery.start(serve, config)
        code = await _live_through(options, running, plain=plain)
        nursery.cancel_scope.cancel()
    return code


async def _live_through(options: DemoOptions, running: Running, *, plain: bool) -> int:
    settings = make_settings(
        options.seconds,
        running,
        metrics_host=options.metrics_host,
        metrics_port=usable_port(
            options.metrics_host,
            options.metrics_port,
            asked_for="metrics_port" in options.model_fields_set,
        ),
    )
    names = {urlsplit(url).netloc: name for name, url in running.websocket_urls.items()}
    steps = bad_day(options.seconds)
    screen = Screen(options.seconds, plain=plain)
    score = Score(steps, STREAMS, running.exchanges[VENUE].truth, names, screen.say)
    async with exported_feed(
        settings, observers=[score.observe], rng=random.Random(options.seed)
    ) as (feed, url, _):
        put_wrapped(f"a simulated exchange on this machine, and a bad day of {options.seconds:g} s")
        put_line(f"status page: {url}/")
        put_line(f"metrics: {url}/metrics")
        for name, base in running.websocket_urls.items():
            put_line(f"endpoint {name}: {base}")
        put_wrapped(explain(settings))
        put_line()
        running.faults.listen(score)
        running.faults.add([fault for step in steps for fault in step.faults])
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(screen.run, score, feed)
                with trio.move_on_after(options.seconds):
                    async for items in feed.batches():
                        score.deliver(items)
                nursery.cancel_scope.cancel()
        except* trio.Cancelled:
            put_line()
            put_line(f"stopped after {score.now:.1f} of {options.seconds:g} s; until then:")
            _tell_all(score, feed)
            raise
        _tell_all(score, feed)
    if not all(outcome.passed for outcome in score.outcomes):
        put_line("FAILED: a fault went unnoticed, or no data came after it")
        return EXIT_FAILED
    return EXIT_OK if all(account.adds_up for account in score.accounts()) else EXIT_FAILED


def _tell_all(score: Score, feed: Feed) -> None:
    score.deliver(feed.drain())
    show_summary(score)
