"""Nobody gets the exporter to fail, or to say what its schema does not."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import LOGGED, exporter_url, simulator, started
from schemathesis import openapi

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import schemathesis

pytestmark = pytest.mark.slow

ENDLESS = "/events"
"""Its answer does not end, so it is left to the tests of streams."""
EXAMPLES = 20
RAW_EXAMPLES = 150
PATIENCE_S = 20.0
GLANCE_S = 0.5
"""How long an odd request is waited for: some are never answered, as they never end."""
UNHURRIED = settings(
    deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)


@pytest.fixture
def exporter(tmp_path: Path) -> Generator[str]:
    """A running program's exporter, with data, outages and an open breaker to tell of."""
    with simulator("--rate", "20") as exchange:
        variables = exchange.variables() | LOGGED | {"OUTPUT": str(tmp_path / "out.jsonl")}
        with started("run", **variables) as process:
            url = exporter_url(process)
            yield url
            assert httpx2.get(f"{url}/healthz", trust_env=False).text == "ok\n"


def test_every_answer_is_what_the_schema_says(exporter: str) -> None:
    schema = openapi.from_url(f"{exporter}/openapi.json").exclude(path=ENDLESS)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == 9, "all paths but the stream of events and the schema itself"
    for operation in operations:
        check(operation)


def check(operation: schemathesis.APIOperation) -> None:
    """Call one path with what the strategy thinks of; any violation of the schema raises."""

    @settings(UNHURRIED, max_examples=EXAMPLES)
    @given(operation.as_strategy())
    def call(case: schemathesis.Case) -> None:
        case.call_and_validate(timeout=PATIENCE_S)

    call()


TOKENS = st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "PRI", "get", "TRACE", "X"])
TARGETS = st.one_of(
    st.sampled_from(
        ["/", "/status", "/metrics", "/metrics?name[]=%ff", "/readyz?", "/page.js/..", "*", "//",
         "http://elsewhere.example/status", "/%00", "/status#x", "/page.css%2f"]
    ),
    st.binary(max_size=60).map(lambda tail: "/" + tail.decode("latin-1")),
)  # fmt: skip
HEADER_NAMES = st.sampled_from(
    ["Host", "Accept", "Accept-Encoding", "Content-Length", "Transfer-Encoding", "Connection",
     "Upgrade", "Expect", "Range", "Cookie", "Origin", "Sec-WebSocket-Key", "X-Forwarded-Host"]
)  # fmt: skip
HEADER_VALUES = st.one_of(
    st.sampled_from(["localhost", "chunked", "9999999999", "-1", "upgrade", "websocket", "h2c",
                     "100-continue", "application/openmetrics-text;version=9.x", "bytes=0-"]),
    st.binary(max_size=60).map(lambda value: value.decode("latin-1")),
)  # fmt: skip


@settings(UNHURRIED, max_examples=RAW_EXAMPLES)
@given(
    method=TOKENS,
    target=TARGETS,
    headers=st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=5),
    body=st.binary(),
)
def test_no_request_makes_it_fail(
    exporter: str, method: str, target: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    request = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body
    answer = answer_to(exporter, request)
    if answer.startswith(b"HTTP/1.1 "):
        status = int(answer.split(maxsplit=2)[1])
        assert status < 500 or status in (501, 503)  # an unknown encoding (RFC 9112, section 6.1)


def answer_to(url: str, request: bytes) -> bytes:
    """Send the bytes, and say that they are all; returns what comes within a moment."""
    answer = b""
    with socket.create_connection(address(url), timeout=PATIENCE_S) as connection:
        connection.settimeout(GLANCE_S)
        with contextlib.suppress(OSError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65536):
                answer += more
    return answer


def address(url: str) -> tuple[str, int]:
    where = urlsplit(url)
    assert where.hostname is not None
    assert where.port is not None
    return where.hostname, where.port
