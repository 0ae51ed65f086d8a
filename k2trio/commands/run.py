"""The program around a feed: signals, the exporter beside it, the sink behind it, exit codes."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec
import trio

from ..client.opening import open_feed
from ..errors import ConfigError, K2Error, SinkError, leaves
from ..loopback import is_loopback
from ..market.streams import symbols_of
from ..observe import logs
from ..observe.history import History
from ..observe.metrics import Metrics
from ..sinks.jsonl import JsonLines
from ..web import exporter
from ..web.app import make_app
from ..web.status import Reporter

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from ..client.feed import Feed
    from ..observe.transitions import Observer
    from ..settings import Settings

LAST_WRITE_S = 0.5
"""How long the last lines may take at shutdown; the sink itself adds its own bound to that."""

EXIT_OK = 0
EXIT_FAILED = 1
"""The work failed: the feed gave up, the output broke, no endpoint answered."""
EXIT_USAGE = 2
"""It could not start: a setting, a flag, a busy port."""


def run_until_signalled(main: Callable[[], Awaitable[int]]) -> int:
    """Run ``main`` and return its exit code, or that of the way it ended.

    The first SIGINT or SIGTERM shuts down in order (0), the second ends the process at once.
    Errors of ours become one line each on standard error; any other exception is a bug and comes
    out as it is.
    """
    try:
        return trio.run(_supervise, main)
    except K2Error as error:
        return _complain([error])
    except BaseExceptionGroup as group:
        errors = leaves(group)
        if all(isinstance(error, K2Error) for error in errors):
            return _complain(errors)
        raise


def _complain(errors: Sequence[BaseException]) -> int:
    """One line per error on standard error; returns the exit code that they make."""
    for error in errors:
        sys.stderr.write(f"k2trio: {error}\n")
    return EXIT_USAGE if isinstance(errors[0], ConfigError) else EXIT_FAILED


async def _supervise(main: Callable[[], Awaitable[int]]) -> int:
    code = EXIT_OK
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            work = trio.CancelScope()
            nursery.start_soon(_obey, signals, work)
            with work:
                code = await main()
            nursery.cancel_scope.cancel()
    return code


async def _obey(signals: AsyncIterator[int], work: trio.CancelScope) -> None:
    async for number in signals:
        if work.cancel_called:
            # Somebody means it: end as the signal does by default, without another word.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        logs.get_logger().info("stopping", signal=signal.Signals(number).name)
        work.cancel()


@asynccontextmanager
async def exported_feed(
    settings: Settings,
    *,
    observers: Sequence[Observer] = (),
    rng: random.Random | None = None,
) -> AsyncGenerator[tuple[Feed, str]]:
    """A feed with its exporter as a sibling task, and the exporter's URL.

    :param rng: source of jitter.
    :raises ConfigError: if the exporter's port is taken.
    """
    release = version("k2trio")
    metrics = Metrics(symbols_of(settings.stream_names), version=release)
    history = History()
    with exporter.open_socket(settings.metrics_host, settings.metrics_port) as listener:
        async with (
            trio.open_nursery() as nursery,
            open_feed(
                settings=settings, metrics=metrics, observers=[history.observe, *observers], rng=rng
            ) as feed,
        ):
            app = make_app(
                metrics.registry,
                lambda: feed.status().problems,
                Reporter(feed, history, version=release).report,
                version=release,
                local_only=is_loopback(settings.metrics_host),
            )
            url = await nursery.start(exporter.serve_app, app, listener)
            yield feed, url
            nursery.cancel_scope.cancel()


async def run(settings: Settings) -> int:
    """``k2trio run``: stream into the sink until told to stop."""
    log = logs.get_logger()
    with JsonLines(settings.output, settings.output_rotate_bytes) as sink:
        if sink.cut_bytes:
            log.warning("torn_line_cut", output=str(settings.output), bytes=sink.cut_bytes)
        async with exported_feed(settings, observers=[logs.TransitionLog(log)]) as (feed, url):
            log.info("exporting", page=url, metrics=f"{url}/metrics", ready=f"{url}/readyz")
            try:
                async for batch in feed.batches():
                    await sink.write(batch)
            finally:
                await _finish(feed, sink, settings.coverage)
    return EXIT_OK


async def _finish(feed: Feed, sink: JsonLines, coverage: Path | None) -> None:
    """Write what was received but not yet written, within a bound, whatever ended the run."""
    if rest := feed.drain():
        with trio.move_on_after(LAST_WRITE_S, shield=True) as patience:
            await sink.write(rest)
            feed.acknowledge()
        if patience.cancelled_caught:
            raise SinkError(f"{len(rest)} messages were not written; the reader was too slow")
    rows = feed.coverage()
    logs.get_logger().info(
        "coverage",
        streams=len(rows),
        live=sum(row.live for row in rows),
        repaired=sum(row.repaired for row in rows),
        missing=sum(row.missing for row in rows),
        outages=sum(row.outages for row in rows),
    )
    if coverage is not None:
        _write_coverage(coverage, feed)


def _write_coverage(path: Path, feed: Feed) -> None:
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(feed.coverage())) + b"\n")
    except OSError as error:
        raise SinkError(f"cannot write the coverage file {path}: {error.strerror}") from error
