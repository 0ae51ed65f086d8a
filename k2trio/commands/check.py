"""``k2trio check``: would a run work from here? Tries all that one needs, and changes nothing.

What would keep a run from starting is exit code 2, as there; what would make it fail is 1.
"""

from __future__ import annotations

import functools
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING

import trio
from pydantic import Field

from ..errors import ConnectionFailed, K2Error, ProxyFailed
from ..market.decoder import Decoder
from ..market.streams import any_stream, by_route
from ..policy.breaker import CircuitBreaker
from ..policy.failover import Endpoint
from ..repair.hosts import BackfillError
from ..repair.listing import untraded
from ..repair.reach import RestHost, never_asked, rest_hosts
from ..settings import Settings
from ..targets import Form
from ..web import exporter
from ..wire.connection import open_connection
from ..wire.dialer import DialTimes, TcpDialer
from ..wire.tls import make_ssl_context
from ..wire.tunnel import usable_proxies
from . import effective
from .ledger import try_coverage
from .outputs import try_output
from .routes import TimedDial, milliseconds, new_table, show_routes
from .run import EXIT_FAILED, EXIT_OK, EXIT_USAGE, complain
from .starting import said_twice, try_state
from .terminal import put_line, put_rich

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection, Sequence

    from rich.table import Table

    from ..proxies import Proxies

FIRST_MESSAGE_TIMEOUT_S = 10.0
"""How long to wait for the first message; quiet streams may have none for longer."""


@dataclass
class Finding:
    """What was found at one endpoint; times in seconds, None for steps not reached.

    :ivar route: the exchange's name for the way that was tried, where it has several.
    :ivar streams: those that come on it.
    :ivar silent: those that brought nothing, where that may mean that they come on another one.
    :ivar failed_proxy: what the proxy on the way there did, if it did not lead to it.
    """

    endpoint: Endpoint
    route: str
    streams: Sequence[str]
    silent: Sequence[str] = ()
    times: DialTimes | None = None
    upgrade_s: float | None = None
    first_message_s: float | None = None
    problem: str = ""
    failed_proxy: str = ""

    @property
    def works(self) -> bool:
        """Whether the endpoint took the connection and, if it spoke, spoke sense."""
        return self.upgrade_s is not None and not self.problem

    @property
    def url(self) -> str:
        """What was tried."""
        return f"{self.endpoint.url} /{self.route}" if self.route else self.endpoint.url

    @property
    def verdict(self) -> str:
        """How it went."""
        if self.silent and not self.problem:
            return f"works; quiet, or of another route: {', '.join(self.silent)}"
        return self.problem or "works"


@dataclass
class Report:
    """What was tried, and what is wrong.

    :ivar rows: (what, result) of what is tried on this machine, or asked of the first venue.
    :ivar blocking: what would keep a run from starting.
    :ivar failing: what would make it fail.
    """

    rows: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    blocking: list[str] = field(default_factory=list[str])
    failing: list[str] = field(default_factory=list[str])

    @property
    def code(self) -> int:
        """The exit code."""
        return EXIT_USAGE if self.blocking else EXIT_FAILED if self.failing else EXIT_OK


class CheckSettings(Settings):
    """The settings of a run, and what only a check is asked for."""

    latency: float = Field(
        default=0,
        ge=0,
        le=3600,
        description="Measure the route to each endpoint, too, for so long (s); 0 = do not.",
    )


async def check(settings: CheckSettings, named: Collection[str]) -> int:
    """Try everything, print what was found, and each problem on standard error.

    :param named: the settings that the command line names.
    """
    report = Report()
    verify = make_ssl_context(settings)
    proxies = usable_proxies(settings, settings.endpoint_urls)
    put_line(f"streams: {', '.join(settings.stream_names)}")
    if detail := said_twice(settings):
        put_line(detail)
    put_line()
    put_rich(effective.table(settings, named))
    _try_this_machine(settings, report)
    wrong = await _ask_for_symbols(settings, verify, report)
    good = [name for name in settings.stream_names if any_stream(name).symbol not in wrong]
    product = settings.dialect.product
    findings = [
        Finding(Endpoint.from_url(url, index, CircuitBreaker, product), route, names)
        for index, url in enumerate(settings.endpoint_urls)
        for route, names in by_route(settings.stream_names, product).items()
    ]
    venues = [finding.endpoint.venue for finding in findings]
    hosts = rest_hosts(settings, venues)
    dialer = TcpDialer(verify, proxies=proxies)
    async with trio.open_nursery() as nursery:
        for finding in findings:
            nursery.start_soon(_examine, finding, good, settings, dialer)
        for host in hosts:
            nursery.start_soon(_ask, host, settings, verify)
    _tell_proxies(proxies, findings, hosts, report)
    _judge(settings, findings, hosts, report)
    for table in (_rows_table(report.rows), _endpoint_table(findings), _rest_table(hosts)):
        put_line()
        put_rich(table)
    if settings.latency:
        streams = good or settings.stream_names
        await show_routes(settings, streams, settings.latency, verify, proxies)
    complain([*report.blocking, *report.failing])
    return report.code


def _try_this_machine(settings: Settings, report: Report) -> None:
    """The files, and the port."""

    def attempt(what: str, verdict: str, action: Callable[[], object]) -> None:
        try:
            action()
        except K2Error as error:
            report.rows.append((what, str(error)))
            report.blocking.append(str(error))
        else:
            report.rows.append((what, verdict))

    for target in settings.targets:
        if target.form is not Form.STANDARD_OUTPUT:
            verdict = "not tried" if target.remote else "can be written"
            attempt(f"output {target}", verdict, functools.partial(try_output, target))
    for name, path, action in (
        ("state", settings.state, try_state),
        ("coverage", settings.coverage, try_coverage),
    ):
        if path is not None:
            attempt(f"{name} {path}", "can be written", functools.partial(action, path))
    host, port = settings.metrics_host, settings.metrics_port
    attempt(f"metrics port {port}", "can be had", lambda: exporter.open_socket(host, port).close())


async def _ask_for_symbols(
    settings: Settings, verify: ssl.SSLContext, report: Report
) -> Collection[str]:
    """Returns the symbols that the first venue does not list, or not trade."""
    try:
        wrong = await untraded(settings, verify=verify)
    except BackfillError as error:
        report.rows.append(("symbols", f"not checked: {error}"))
        return ()
    report.rows.append(("symbols", "; ".join(wrong.values()) or "known and traded"))
    report.blocking += wrong.values()
    return wrong


async def _ask(host: RestHost, settings: Settings, verify: ssl.SSLContext) -> None:
    await host.ask(settings, verify=verify)


async def _examine(
    finding: Finding, streams: Sequence[str], settings: Settings, dialer: TcpDialer
) -> None:
    """Dial an endpoint, and wait for a message if there are streams that can bring one."""
    dial = TimedDial(dialer)
    named = [name for name in finding.streams if name in streams]
    asked_for, where = named or finding.streams, finding.endpoint
    try:
        async with open_connection(where, asked_for, settings, dial, finding.route) as connection:
            upgraded_at = trio.current_time()
            finding.upgrade_s = upgraded_at - dial.done_at
            if not named:
                return
            awaited = set(named)
            with trio.move_on_after(FIRST_MESSAGE_TIMEOUT_S):
                decoder = Decoder(where.venue, unit=settings.unit)
                while finding.first_message_s is None or (awaited and finding.route):
                    batch = await connection.next_batch()
                    events, _ = decoder.decode(batch.payloads, batch.received)
                    awaited.difference_update(event.stream for event in events)
                    if events and finding.first_message_s is None:
                        finding.first_message_s = trio.current_time() - upgraded_at
            finding.silent = sorted(awaited) if finding.route else ()
            if finding.first_message_s is None:
                finding.problem = f"no message within {FIRST_MESSAGE_TIMEOUT_S:g} s"
    except ConnectionFailed as failure:
        finding.problem = f"{failure.error_type}: {failure}"
        if isinstance(failure, ProxyFailed):
            finding.failed_proxy = str(failure)
    finally:
        finding.times = dial.times


def _tell_proxies(
    proxies: Proxies, findings: Sequence[Finding], hosts: Sequence[RestHost], report: Report
) -> None:
    """Each proxy that is in use, and whether it leads to what is behind it."""
    tried = sorted(findings, key=lambda finding: bool(finding.failed_proxy))
    failures = {finding.endpoint.url: finding.failed_proxy for finding in tried}
    failures |= {host.url: host.failed_proxy for host in hosts}
    for proxy in proxies.of_all(failures):
        through = [why for url, why in failures.items() if proxies.of(url) == proxy]
        failed = list(filter(None, through))
        verdict = (
            "lets through" if not failed else f"{len(through) - len(failed)} of {len(through)}"
        )
        if failed:
            verdict = f"lets {verdict} through: {failed[0]}"
        report.rows.append((f"proxy {proxy}", f"of {proxy.source}, {verdict}"))


def _judge(
    settings: Settings, findings: Sequence[Finding], hosts: Sequence[RestHost], report: Report
) -> None:
    """One endpoint is enough for each route, and a host that answers at each venue that works."""
    working = [finding for finding in findings if finding.works]
    served = {finding.route for finding in working}
    report.failing += [
        finding.failed_proxy or f"{finding.url}: {finding.problem}"
        for finding in findings
        if finding.route not in served
    ]
    needed = dict.fromkeys(finding.endpoint.venue for finding in working or findings)
    for venue in needed:
        asked = [host for host in hosts if host.venue == venue]
        if asked and all(host.problem for host in asked):
            report.failing += [f"{host.problem}; gaps cannot be repaired" for host in asked]
    venues = [finding.endpoint.venue for finding in findings]
    report.failing += [
        f"{url} of REST_URLS is never asked: no endpoint is of its venue; leave it out, or name "
        f"a host of {' or '.join(dict.fromkeys(venues))}"
        for url in never_asked(settings, venues)
    ]


def _rows_table(rows: Sequence[tuple[str, str]]) -> Table:
    table = new_table("here", "result")
    for row in rows:
        table.add_row(*row)
    return table


def _endpoint_table(findings: Sequence[Finding]) -> Table:
    steps = ["DNS ms", "TCP ms", "TLS ms", "upgrade ms", "first message ms"]
    if proxied := any(finding.times and finding.times.proxy_s for finding in findings):
        steps.insert(2, "proxy ms")
    table = new_table("endpoint", "venue", *steps, "result")
    for finding in findings:
        times = finding.times
        dial = [None] * 4 if times is None else list(astuple(times))
        if not proxied:
            del dial[2]
        table.add_row(
            finding.url,
            finding.endpoint.venue,
            *milliseconds(*dial, finding.upgrade_s, finding.first_message_s),
            finding.verdict,
        )
    return table


def _rest_table(hosts: Sequence[RestHost]) -> Table:
    table = new_table("REST host", "venue", "answer ms", "result")
    for host in hosts:
        table.add_row(host.url, host.venue, *milliseconds(host.took_s), host.problem or "answers")
    return table
