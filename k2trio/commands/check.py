"""``k2trio check``: is the configuration sound, and which endpoints work from here?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio
from rich.table import Table

from ..errors import ConnectionFailed
from ..market.decoder import Decoder
from ..policy.breaker import CircuitBreaker
from ..policy.failover import Endpoint
from ..wire.connection import open_connection
from ..wire.dialer import DialTimes, TcpDialer
from ..wire.tls import make_ssl_context
from .run import EXIT_FAILED, EXIT_OK
from .terminal import put_line, put_rich

if TYPE_CHECKING:
    from ..settings import Settings

FIRST_MESSAGE_TIMEOUT_S = 10.0
"""How long to wait for the first message; quiet streams may have none for longer."""


@dataclass
class Finding:
    """What was found at one endpoint; times in seconds, None for steps not reached."""

    endpoint: Endpoint
    times: DialTimes | None = None
    upgrade_s: float | None = None
    first_message_s: float | None = None
    problem: str = ""

    @property
    def works(self) -> bool:
        """Whether the endpoint took the connection and, if it spoke, spoke sense."""
        return self.upgrade_s is not None and not self.problem


async def check(settings: Settings) -> int:
    """Dial every endpoint, print a table; exit code 1 if none works."""
    endpoints = [
        Endpoint.from_url(url, index, CircuitBreaker)
        for index, url in enumerate(settings.endpoint_urls)
    ]
    dialer = TcpDialer(make_ssl_context(settings))
    findings = [Finding(endpoint) for endpoint in endpoints]
    async with trio.open_nursery() as nursery:
        for finding in findings:
            nursery.start_soon(_examine, finding, settings, dialer)
    put_line(f"streams: {', '.join(settings.stream_names)}")
    put_rich(_table(findings))
    return EXIT_OK if any(finding.works for finding in findings) else EXIT_FAILED


async def _examine(finding: Finding, settings: Settings, dialer: TcpDialer) -> None:
    dialled_at = trio.current_time()

    async def dial(endpoint: Endpoint) -> trio.abc.Stream:
        nonlocal dialled_at
        stream, finding.times = await dialer.dial_timed(endpoint)
        dialled_at = trio.current_time()
        return stream

    try:
        async with open_connection(
            finding.endpoint, settings.stream_names, settings, dial
        ) as connection:
            upgraded_at = trio.current_time()
            finding.upgrade_s = upgraded_at - dialled_at
            with trio.move_on_after(FIRST_MESSAGE_TIMEOUT_S) as patience:
                decoder = Decoder(finding.endpoint.venue)
                while finding.first_message_s is None:
                    batch = await connection.next_batch()
                    events, _ = decoder.decode(batch.payloads, batch.received)
                    if events:
                        finding.first_message_s = trio.current_time() - upgraded_at
            if patience.cancelled_caught:
                finding.problem = f"no message within {FIRST_MESSAGE_TIMEOUT_S:g} s"
    except ConnectionFailed as failure:
        finding.problem = f"{failure.error_type}: {failure}"


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("endpoint", "venue"):
        table.add_column(heading)
    for heading in ("DNS ms", "TCP ms", "TLS ms", "upgrade ms", "first message ms"):
        table.add_column(heading, justify="right")
    table.add_column("result", overflow="fold")
    for finding in findings:
        times = finding.times
        steps = (
            None if times is None else times.dns_s,
            None if times is None else times.tcp_s,
            None if times is None else times.tls_s,
            finding.upgrade_s,
            finding.first_message_s,
        )
        cells = ["-" if step is None else f"{step * 1000:.1f}" for step in steps]
        result = finding.problem or "works"
        table.add_row(finding.endpoint.url, finding.endpoint.venue, *cells, result)
    return table
