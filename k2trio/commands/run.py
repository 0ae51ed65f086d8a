"""The program around a feed: signals, the exporter beside it, the sink behind it, exit codes."""

from __future__ import annotations

import os
import signal
import stat
import sys
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec
import trio

from .. import files
from ..client.opening import open_feed
from ..errors import ConfigError, K2Error, SinkError, leaves
from ..loopback import is_loopback
from ..market.streams import symbols_of
from ..observe import logs, stderr
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
LAST_PIECE = 1024
"""Messages that are made into lines at once then: a whole backlog would need its room twice."""
LAST_WORD_S = 0.1
"""How long the reader of standard error may hold up an end that is to be at once."""

EXIT_OK = 0
EXIT_FAILED = 1
"""The work failed: the feed gave up, the output broke, no endpoint answered."""
EXIT_USAGE = 2
"""It could not start: a setting, a flag, a busy port."""


def run_until_signalled(main: Callable[[], Awaitable[int]]) -> int:
    """Run ``main`` and return its exit code, or that of the way it ended.

    The first SIGINT, SIGTERM or SIGHUP shuts down in order (0), the second ends the process at
    once.
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
    for line in dict.fromkeys(f"k2trio: {error}\n" for error in errors):
        sys.stderr.write(line)
    return EXIT_USAGE if isinstance(errors[0], ConfigError) else EXIT_FAILED


async def _supervise(main: Callable[[], Awaitable[int]]) -> int:
    code = EXIT_OK
    ends = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        ends.remove(signal.SIGHUP)  # as nohup asks for
    with trio.open_signal_receiver(*ends) as signals:
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
            # Somebody means it: end as the signal does by default.
            logs.get_logger().warning("ending_at_once", signal=signal.Signals(number).name)
            stderr.drain(LAST_WORD_S)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            os._exit(128 + number)  # for process 1, as in a container, the default is to do nothing
        logs.get_logger().info("stopping", signal=signal.Signals(number).name)
        work.cancel()


@asynccontextmanager
async def exported_feed(
    settings: Settings,
    *,
    observers: Sequence[Observer] = (),
    rng: random.Random | None = None,
    sync: Callable[[], None] | None = None,
) -> AsyncGenerator[tuple[Feed, str]]:
    """A feed with its exporter as a sibling task, and the exporter's URL.

    :param rng: source of jitter.
    :param sync: see :func:`open_feed`.
    :raises ConfigError: if the exporter's port is taken.
    """
    release = version("k2trio")
    metrics = Metrics(symbols_of(settings.stream_names), version=release)
    history = History()
    with exporter.open_socket(settings.metrics_host, settings.metrics_port) as listener:
        async with (
            trio.open_nursery() as nursery,
            open_feed(
                settings=settings,
                metrics=metrics,
                observers=[history.observe, *observers],
                rng=rng,
                sync=sync,
            ) as feed,
        ):
            reporter = Reporter(feed, history, version=release)
            nursery.start_soon(reporter.watch)
            app = make_app(
                metrics.registry,
                lambda: feed.status().problems,
                reporter.report,
                reporter.trends,
                version=release,
                local_only=is_loopback(settings.metrics_host),
            )
            url = await nursery.start(exporter.serve_app, app, listener)
            yield feed, url
            nursery.cancel_scope.cancel()


async def run(settings: Settings) -> int:
    """``k2trio run``: stream into the sink until told to stop."""
    log = logs.get_logger()
    transitions = logs.TransitionLog(log)
    _refuse_shared_files(settings)
    with JsonLines(settings.output, settings.output_rotate_bytes, log.warning) as sink:
        async with (
            exported_feed(settings, observers=[transitions], sync=sink.sync) as (feed, url),
            transitions.summing_up(),
            _reopened_on_hangup(settings, sink),
        ):
            log.info("exporting", page=url, metrics=f"{url}/metrics", ready=f"{url}/readyz")
            await deliver(feed, sink, settings.coverage)
    return EXIT_OK


async def deliver(feed: Feed, sink: JsonLines, coverage: Path | None = None) -> None:
    """Write what the feed brings, until it ends or is cancelled, and then what is left.

    :param coverage: where to write the ledger at the end.
    """
    try:
        async for batch in feed.batches():
            await sink.write(batch)
    finally:
        await _finish(feed, sink, coverage)


def _refuse_shared_files(settings: Settings) -> None:
    """Files of ours must not be those that the caller has directed the program's text into."""
    kept = {"STATE": settings.state, "COVERAGE": settings.coverage}
    for stream, fd in (("output", 1), ("error", 2)):
        status = os.fstat(fd)
        if stream == "error":
            named = {"OUTPUT": settings.output, **kept}
        else:
            named = kept if settings.output is None else {}
        for name, path in named.items():
            if path is None or not stat.S_ISREG(status.st_mode) or not path.exists():
                continue
            if os.path.samestat(path.stat(), status):
                raise ConfigError(f"{name} {path} is what standard {stream} goes to; name another")


@asynccontextmanager
async def _reopened_on_hangup(settings: Settings, sink: JsonLines) -> AsyncGenerator[None]:
    """With a file as output, SIGHUP says that it was moved away, and does not end the program."""
    if settings.output is None:
        yield
        return
    with trio.open_signal_receiver(signal.SIGHUP) as hangups:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_reopen, hangups, sink)
            yield
            nursery.cancel_scope.cancel()


async def _reopen(hangups: AsyncIterator[int], sink: JsonLines) -> None:
    async for _ in hangups:
        sink.reopen()


async def _finish(feed: Feed, sink: JsonLines, coverage: Path | None) -> None:
    """Write what was received but not yet written, within a bound, whatever ended the run.

    :raises SinkError: if that was not possible.
    """
    errors: list[SinkError] = []
    try:
        feed.acknowledge(sink.whole)
        try:
            await _write_the_rest(feed, sink)
        finally:
            await sink.flush()
    except SinkError as error:
        errors.append(error)
    _tell_coverage(feed)
    try:
        if coverage is not None:
            _write_coverage(coverage, feed)
    except SinkError as error:
        errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else BaseExceptionGroup("at the end", errors)


async def _write_the_rest(feed: Feed, sink: JsonLines) -> None:
    """Write all that can be delivered, in pieces, and acknowledge what is whole."""
    rest = feed.drain()
    left = len(rest)
    with trio.move_on_after(LAST_WRITE_S, shield=True):
        for start in range(0, len(rest), LAST_PIECE):
            try:
                await sink.write(rest[start : start + LAST_PIECE])
            finally:
                feed.acknowledge(sink.whole)
                left -= sink.whole
    sink.check()
    if left:
        raise SinkError(f"{left} messages were not written; the reader was too slow")


def _tell_coverage(feed: Feed) -> None:
    log = logs.get_logger()
    for gap in feed.write_off():
        log.warning(
            "not_delivered",
            venue=gap.venue,
            stream=gap.stream,
            first=gap.first,
            last=gap.last,
            reason=gap.reason,
            next_start="begins before them" if feed.settings.state else "knows nothing of them",
        )
    rows = feed.coverage()
    log.info(
        "coverage",
        streams=len(rows),
        live=sum(row.live for row in rows),
        repaired=sum(row.repaired for row in rows),
        missing=sum(row.missing for row in rows),
        outages=sum(row.outages for row in rows),
    )


def _write_coverage(path: Path, feed: Feed) -> None:
    data = msgspec.json.format(msgspec.json.encode(feed.coverage())) + b"\n"
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            path.write_bytes(data)  # /dev/stdout and the like are written to, and not replaced
        else:
            files.replace(path, data, files.SHARED)
    except OSError as error:
        raise SinkError(f"cannot write the coverage file {path}: {files.why(error)}") from error
