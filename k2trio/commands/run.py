"""The program around a feed: signals, the exporter beside it, the sink behind it, exit codes."""

from __future__ import annotations

import faulthandler
import math
import os
import signal
import sys
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

import trio

from .. import __version__
from ..client.books import FeedBooks
from ..client.deliver import deliver, finish
from ..errors import ConfigError, K2Error, SinkError, leaves
from ..observe import logs, stderr
from ..sinks.line_sink import LineSink
from ..targets import Form
from ..wire.tunnel import usable_proxies
from .attending import attend
from .exported import exported_feed
from .ledger import CoverageFile
from .manager import Manager
from .outputs import open_outputs, remembered, watch_outputs
from .sampling import Sampler
from .shards import write_shards
from .starting import refuse_shared_files, refuse_untraded, said_twice, try_files
from .summary import sum_up, tell_start

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Sequence,
    )
    from pathlib import Path

    from ..client.feed import Feed
    from ..continuity.items import Item
    from ..observe.telling import TransitionLog
    from ..settings import Settings
    from ..sinks.target_sink import TargetSink

LAST_WORD_S = 0.1
"""How long the reader of standard error may hold up an end that is to be at once."""

EXIT_OK = 0
EXIT_FAILED = 1
"""The work failed: the feed gave up, the output broke, no endpoint answered."""
EXIT_USAGE = 2
"""It could not start: a setting, a flag, a busy port."""


def run_until_signalled(
    main: Callable[[], Awaitable[int]],
    *,
    signalled: int = EXIT_OK,
    run_trio: Callable[..., int] = trio.run,
) -> int:
    """Run ``main`` and return its exit code, or that of the way it ended.

    The first SIGINT, SIGTERM or SIGHUP shuts down in order, the second ends the process at once.
    Errors of ours become one line each on standard error; any other exception is a bug and comes
    out as it is.

    :param signalled: exit code of what was shut down in order.
    :param run_trio: runs an async function with its arguments, as :func:`trio.run` does.
    """
    try:
        return run_trio(_supervise, main, signalled)
    except K2Error as error:
        return _end_with([error])
    except BaseExceptionGroup as group:
        errors = leaves(group)
        if all(isinstance(error, K2Error) for error in errors):
            return _end_with(errors)
        raise


def _end_with(errors: Sequence[BaseException]) -> int:
    """Complain of errors; returns the exit code that they make."""
    complain([str(error) for error in errors])
    return EXIT_USAGE if isinstance(errors[0], ConfigError) else EXIT_FAILED


def complain(problems: Sequence[str]) -> None:
    """One line per problem on standard error, each once."""
    for line in dict.fromkeys(line for problem in problems for line in problem.splitlines()):
        sys.stderr.write(f"k2trio: {line}\n")


async def _supervise(main: Callable[[], Awaitable[int]], signalled: int) -> int:
    code = signalled
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


async def run(settings: Settings) -> int:
    """``k2trio run``: stream into the sink until told to stop.

    :raises ConfigError: for a file, a port, a proxy or a symbol with which that cannot work.
    """
    log = logs.get_logger()
    transitions = logs.transition_log(log)
    refuse_shared_files(settings)
    if problems := try_files(settings):
        raise ConfigError("\n".join(problems))
    if detail := said_twice(settings):
        log.warning("symbols_not_used", detail=detail)
    urls = settings.endpoint_urls
    for proxy in usable_proxies(settings, urls).of_all(urls):
        log.info("through_proxy", proxy=str(proxy), named_by=proxy.source)
    with Manager(os.environ) as manager:
        if manager.watchdog_s is not None:
            faulthandler.enable(2)  # it ends what hangs by SIGABRT: then the stacks are told
        if settings.shards:
            await write_shards(settings, transitions, manager)
        else:
            await _write_outputs(settings, transitions, manager)
    return EXIT_OK


async def _write_outputs(settings: Settings, transitions: TransitionLog, manager: Manager) -> None:
    """Stream into the outputs until told to stop."""
    log = logs.get_logger()
    with open_outputs(settings, log.warning) as sink:
        async with _beside(settings, sink, manager) as nursery:
            await refuse_untraded(settings, log.warning)
            positions = await remembered(sink, settings, log.info)
            nursery.start_soon(sink.tend)
            async with (
                exported_feed(
                    settings,
                    observers=[transitions],
                    sync=sink.sync,
                    positions=positions,
                ) as exported,
                transitions.summing_up(),
            ):
                feed, url, reporter = exported
                reporter.output_problem = lambda: sink.problem
                watch_outputs(feed.metrics, sink)
                log.info("exporting", page=url, metrics=f"{url}/metrics", ready=f"{url}/readyz")
                nursery.start_soon(attend, manager, feed, reporter)
                if _has_files(settings):
                    tell_start(feed, __version__)
                    nursery.start_soon(sum_up, feed)
                sampler = None
                if settings.book_levels and isinstance(sink, LineSink):
                    reporter.books = books = FeedBooks(feed)
                    sampler = _sampler(settings, sink, books)
                await deliver_and_account(feed, sink, settings.coverage, sampler)


def _sampler(settings: Settings, sink: LineSink, books: FeedBooks) -> Sampler:
    log, levels, interval_s = logs.get_logger(), settings.book_levels, settings.book_interval
    log.info("sampling_books", books=len(books.books), levels=levels, interval_s=interval_s)
    return Sampler(sink, books, levels, interval_s, log.warning)


async def deliver_and_account(
    feed: Feed, sink: TargetSink, coverage: Path | None = None, sampler: Sampler | None = None
) -> None:
    """Deliver until the feed ends or this is cancelled, and tell in the end what is covered.

    :param coverage: where to write the ledger, now and then and at the end.
    :param sampler: writes to the sink, samples in place of what books are made of.
    """
    tell = logs.get_logger().warning
    ledger = None
    if coverage is not None:
        ledger = CoverageFile(coverage, feed.coverage, sink.sync, tell)
    errors: list[SinkError] = []
    try:
        if sampler is None and ledger is None:
            await deliver(feed, sink)
        else:
            await _deliver_in_time(feed, sink, ledger, sampler)
    except SinkError as error:
        errors.append(error)
    finally:
        _tell_coverage(feed)
        try:
            if ledger is not None:
                await ledger.write_at_last()
        except SinkError as error:
            errors.append(error)
        if errors:
            raise errors[0] if len(errors) == 1 else BaseExceptionGroup("at the end", errors)


async def _deliver_in_time(
    feed: Feed, sink: TargetSink, ledger: CoverageFile | None, sampler: Sampler | None
) -> None:
    """Deliver, and leave off for what is to be done at its time."""
    batch: list[Item] = []
    try:
        while True:
            # Here everything that was handed out is written.
            wake_at = math.inf
            if ledger is not None:
                due = trio.current_time() >= ledger.due_at
                if due and feed.caught_up:
                    await ledger.keep()
                    due = False
                wake_at = math.inf if due else ledger.due_at
            if sampler is not None:
                wake_at = min(wake_at, sampler.look_at)
            batch = []
            with trio.move_on_at(wake_at):
                batch = await feed.next_batch()
            if sampler is not None:
                sampler.take(batch)
                await sampler.write(batch)
                await sampler.write_samples()
            elif batch:
                await sink.write(batch)
    finally:
        await finish(feed, sink if sampler is None else sampler, batch)


@asynccontextmanager
async def _beside(
    settings: Settings, sink: TargetSink, manager: Manager
) -> AsyncGenerator[trio.Nursery]:
    """A nursery for what runs beside the feed and its sink.

    With a file as output, SIGHUP says that it was moved away, and does not end the program.
    """
    moved = trio.open_signal_receiver(signal.SIGHUP) if _has_files(settings) else nullcontext()
    with moved as hangups:
        async with trio.open_nursery() as nursery:
            if hangups is not None:
                nursery.start_soon(_reopen, hangups, sink, manager)
            yield nursery
            nursery.cancel_scope.cancel()


def _has_files(settings: Settings) -> bool:
    return any(target.form is not Form.STANDARD_OUTPUT for target in settings.targets)


async def _reopen(hangups: AsyncIterator[int], sink: TargetSink, manager: Manager) -> None:
    async for _ in hangups:
        with manager.reloading():
            sink.reopen()


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
