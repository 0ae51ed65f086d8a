"""Opening a feed: its parts are made and wired here, and here alone."""

from __future__ import annotations

import functools
import random
import time
from contextlib import asynccontextmanager, closing, nullcontext
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

import trio

from ..compiled import why_not
from ..continuity.arbiter import Arbiter
from ..continuity.state import locked
from ..errors import ConfigError, SinkError, leaves
from ..loading import load_settings
from ..market.streams import parse_stream, symbols_of
from ..observe.latency import Meter
from ..observe.metrics import Metrics
from ..observe.telling import TransitionLog, tell_logging
from ..observe.transitions import BreakerChanged, NotCompiled
from ..policy.breaker import CircuitBreaker, Signal, State
from ..policy.failover import Endpoint, Endpoints
from ..repair.gaps import Repairs
from ..repair.quiet import QuietBooks
from ..repair.rest import Backfill
from ..repair.staleness import StalenessCheck
from ..sharing.dials import Dials
from ..sharing.sharing import Sharing, open_sharing
from ..wire.dialer import TcpDialer
from ..wire.tls import make_ssl_context
from ..wire.tunnel import usable_proxies
from .delivery import Delivery
from .feed import Feed
from .loops import require_trio
from .outbox import Outbox
from .parts import Parts
from .resume import Resume
from .runtime import Runtime
from .shards import Shards
from .showing import show, show_budgets
from .suspend import suspended_s

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager

    import httpx2

    from ..continuity.items import Gap, Outage
    from ..continuity.positions import Position
    from ..continuity.track import Track
    from ..market.payloads import Event
    from ..observe.transitions import Observer, Transition
    from ..settings import Settings
    from ..sharing.stores import Store
    from ..streams import StreamName
    from ..wire.dialer import Dialer
    from .consumer import P

UNKNOWN_PROBE_TIMEOUT_S = 60.0
"""Stands in for ``health_check_timeout`` in a probe's deadline where that is switched off."""


class FeedOptions(TypedDict, total=False):
    """The keywords of :func:`open_feed`, which tells what they are for."""

    dial: Dialer | None
    metrics: Metrics | None
    observers: Sequence[Observer]
    log: bool
    rng: random.Random | None
    wall_clock: Callable[[], float]
    suspended: Callable[[], float]
    backfill_transport: httpx2.AsyncBaseTransport | None
    sync: Callable[[], None] | None
    ledger: Store | None
    positions: Iterable[Position]
    may_be_empty: bool


@overload
def open_feed(
    streams: Sequence[StreamName[P]],
    settings: Settings | None = None,
    **options: Unpack[FeedOptions],
) -> AbstractAsyncContextManager[Feed[P]]: ...
@overload
def open_feed(
    streams: Sequence[str] | None = None,
    settings: Settings | None = None,
    **options: Unpack[FeedOptions],
) -> AbstractAsyncContextManager[Feed]: ...
@asynccontextmanager
async def open_feed(
    streams: Sequence[str] | None = None,
    settings: Settings | None = None,
    *,
    dial: Dialer | None = None,
    metrics: Metrics | None = None,
    observers: Sequence[Observer] = (),
    log: bool = True,
    rng: random.Random | None = None,
    wall_clock: Callable[[], float] = time.time,
    suspended: Callable[[], float] = suspended_s,
    backfill_transport: httpx2.AsyncBaseTransport | None = None,
    sync: Callable[[], None] | None = None,
    ledger: Store | None = None,
    positions: Iterable[Position] = (),
    may_be_empty: bool = False,
) -> AsyncGenerator[Feed[Any]]:
    """Open a feed of market data; leaving the block closes every connection, within a bound.

    Iterate the feed for :class:`Event` and :class:`Gap` values in the venue's own order per stream.
    Of streams that are named by :mod:`k2trio.streams`, the types of the events are known.
    When the feed gives up, iteration raises :class:`GaveUp` after the last event.

    :param streams: exact stream names, e.g. ``["btcusdt@trade"]``; by default the settings'.
    :param settings: by default read from ``K2_BINANCE_*`` variables.
    :param dial: opens the byte stream to an endpoint; by default DNS, TCP and TLS, and a proxy's
        way in between.
    :param metrics: by default in a registry of its own.
    :param observers: called synchronously with every transition.
    :param log: write the transitions to ``logging.getLogger("k2trio")``, each at its level: with
        logging as Python sets it up, warnings and worse come out on standard error. Handlers are
        called in the task that reads; one that blocks holds up the feed.
    :param rng: source of jitter.
    :param wall_clock: Unix time, for the stamps that people read.
    :param suspended: seconds that this machine has spent suspended.
    :param backfill_transport: stands in for the REST network.
    :param sync: called before each write of the state file, in a thread: returns when what the
        consumer did with everything that it acknowledged is durable. Without it, what a cut of
        power takes from the consumer is not delivered again.
    :param ledger: what feeds of this program share their budgets by, instead of ``SHARED_BUDGET``.
    :param positions: where streams are to go on, as an earlier run left them: what came since is
        repaired, or declared. Of these and of what ``STATE`` says the earlier counts. Of several
        venues of a stream the last one says where it was.
    :param may_be_empty: whether ``streams`` may be none, at the start and later: without any the
        feed has no connection, and :meth:`Feed.subscribe` opens one.
    :raises ConfigError: for settings or stream names that cannot work, and for a state file that
        another program uses.
    :raises UsageError: outside of Trio; it names the entry for asyncio, and that for no loop.
    """
    require_trio()
    settings = load_settings() if settings is None else settings
    if isinstance(streams, str):
        raise ConfigError(f"streams are named in a list: write [{streams!r}]")
    chosen = settings.stream_names if streams is None else streams
    product = settings.dialect.product
    names = [parse_stream(name, product).name for name in chosen]
    if not names and not may_be_empty:
        raise ConfigError("no streams to open; name some, e.g. ['btcusdt@trade']")
    ssl_context = make_ssl_context(settings)
    told = closing(TransitionLog(tell_logging)) if log else nullcontext()
    with locked(settings.state), told as transition_log:
        feed = build(
            names,
            settings,
            Metrics(symbols_of(names)) if metrics is None else metrics,
            observers,
            transition_log,
            ssl_context=ssl_context,
            dial=_tcp_dialer(settings, ssl_context) if dial is None else dial,
            rng=random.Random() if rng is None else rng,
            wall_clock=wall_clock,
            suspended=suspended,
            backfill_transport=backfill_transport,
            sync=sync,
            ledger=ledger,
            positions=positions,
            may_be_empty=may_be_empty,
        )
        async with _running(feed):
            yield feed


def _tcp_dialer(settings: Settings, ssl_context: ssl.SSLContext) -> TcpDialer:
    proxies = usable_proxies(settings, settings.endpoint_urls)
    return TcpDialer(ssl_context, busy_poll=settings.busy_poll, proxies=proxies)


@asynccontextmanager
async def _running(feed: Feed) -> AsyncGenerator[None]:
    """Run the feed beside the block, and save its state at the end."""
    body_error: BaseException | None = None
    errors: list[BaseException] = []
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed.run)
            try:
                yield
            except BaseException as error:
                body_error = error
                raise
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as raised:
        errors += raised.exceptions
    feed.close()
    try:
        await feed.save_at_last()
    except SinkError as error:
        errors.append(error)
    if errors:
        group = BaseExceptionGroup("the feed ended", errors)
        # The caller's own exception comes out as it went in; anything more keeps its group.
        if body_error is not None and leaves(group) == [body_error]:
            raise body_error
        raise group


def build(
    streams: Sequence[str],
    settings: Settings,
    metrics: Metrics,
    observers: Sequence[Observer],
    log: TransitionLog | None,
    *,
    ssl_context: ssl.SSLContext,
    dial: Dialer,
    rng: random.Random,
    wall_clock: Callable[[], float],
    suspended: Callable[[], float],
    backfill_transport: httpx2.AsyncBaseTransport | None,
    sync: Callable[[], None] | None,
    ledger: Store | None,
    positions: Iterable[Position],
    may_be_empty: bool,
) -> Feed:
    """Make the parts of a feed and tie them together; nothing runs yet."""
    # Looked up once: it is asked for the time with every batch.
    latency = Meter(trio.lowlevel.current_clock().current_time)
    listeners = [metrics.observe, latency.observe, *observers]

    def emit(transition: Transition) -> None:
        for observe in listeners:
            observe(transition)

    def lose(event: Event) -> Gap | Outage:
        metrics.dropped(1)
        repairs.notice()  # a book may want a snapshot now
        return arbiter.track(event.venue, event.stream).lose(event)

    def redundant(track: Track) -> bool:
        return shards.redundant(track)

    arbiter = Arbiter(
        settings.max_held_messages,
        settings.max_decoded_bytes,
        redundant,
        snapshots=settings.depth_snapshot_levels > 0,
        unit=settings.unit,
    )
    outbox = Outbox(
        settings.max_buffered_messages,
        settings.max_decoded_bytes,
        lose if settings.overflow == "drop" else None,
    )
    resume = Resume(arbiter, settings, emit, sync, positions)
    delivery = Delivery(
        arbiter,
        outbox,
        metrics,
        latency,
        lambda: repairs.notice(),
        emit,
        settings.unit,
        resume.begun,
        compares=settings.redundancy > 1,
    )
    endpoints = _endpoints(settings, emit)
    sharing = open_sharing(settings, emit) if ledger is None else Sharing(ledger, emit)
    dials = Dials(endpoints, sharing)
    rest = Backfill(
        [endpoint.venue for endpoint in endpoints.all],
        settings,
        verify=ssl_context,
        transport=backfill_transport,
        wall_clock=wall_clock,
        sharing=sharing,
    )
    staleness = StalenessCheck(arbiter, rest, settings, emit)
    runtime = Runtime(
        settings,
        delivery.take,
        lambda: outbox.full,
        delivery.room,
        arbiter.interrupt,
        arbiter.settled,
        staleness.verify,
        emit,
        dials.take,
        dials.freeze,
        dial,
        rng,
        wall_clock,
        suspended,
    )
    shards = Shards(streams, endpoints, runtime, arbiter.leave, may_be_empty=may_be_empty)
    repairs = Repairs(arbiter, rest, settings, delivery.publish, metrics, shards.redundant)
    # The clock itself, not trio.current_time: they may be scraped when Trio has ended.
    now = trio.lowlevel.current_clock().current_time
    show(metrics, settings, arbiter, outbox, endpoints, shards, now)
    show_budgets(metrics, endpoints, rest, sharing, now)
    metrics.watch_latency(latency.histograms)
    metrics.watch_unknown(lambda: len(staleness.unknown))
    metrics.watch_repairs(lambda: rest.waiting, lambda: repairs.broken_books(now()))
    tasks: list[Callable[[], Awaitable[None]]] = [
        repairs.run,
        functools.partial(staleness.watch, lambda: shards.sessions),
        resume.save_regularly,
    ]
    if settings.depth_snapshot_levels:
        quiet = QuietBooks(arbiter, rest, repairs.notice)
        tasks.append(functools.partial(quiet.watch, lambda: shards.sessions))
    if log is not None:
        listeners.append(log)
        tasks.append(log.sum_up)
    if sharing is not None:
        tasks.append(sharing.run)
    if why_not:
        emit(NotCompiled(why_not))
    parts = Parts(
        arbiter,
        outbox,
        delivery,
        endpoints,
        sharing,
        shards,
        resume,
        rest,
        repairs,
        staleness,
        latency,
        tasks,
        emit,
    )
    return Feed(settings, metrics, parts)


def _endpoints(settings: Settings, emit: Observer) -> Endpoints:
    """The failover list, each endpoint with its breaker."""

    def changed(breaker: CircuitBreaker, old: State, cause: Signal) -> None:
        new = breaker.state.name.lower()
        emit(BreakerChanged(breaker.name, old.name.lower(), new, cause.value))

    def make_breaker(name: str) -> CircuitBreaker:
        # Proof of life may come late in a quiet market: a first message just before the silence
        # would be asked about, and then as much silence until it is.
        quiet = 2 * settings.health_check_timeout or UNKNOWN_PROBE_TIMEOUT_S
        return CircuitBreaker(
            name,
            failure_threshold=settings.failure_threshold,
            success_threshold=settings.success_threshold,
            recovery_timeout=settings.recovery_timeout,
            probe_timeout=settings.handshake_timeout + quiet + settings.stable_after,
            enabled=settings.enable_circuit_breaker,
            on_change=changed,
        )

    return Endpoints(
        [
            Endpoint.from_url(url, index, make_breaker, settings.dialect.product)
            for index, url in enumerate(settings.endpoint_urls)
        ],
        settings.recovery_timeout,
    )
