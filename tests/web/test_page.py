"""The status page in a real browser: what an operator sees, on a desk and on a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
import trio
from exported import QUIET, serving
from processes import LOGGED, Simulator, exporter_url, simulator, started

from k2trio.observe.report import (
    AuditReport,
    BookReport,
    CoverageReport,
    EndpointReport,
    GapReport,
    LatencyReport,
    LevelReport,
    LineReport,
    LogReport,
    LossReport,
    MessagesReport,
    OutageReport,
    ShardReport,
    Status,
    StreamReport,
    StreamTrend,
    TakeoverReport,
    TrendsReport,
)

pytest.importorskip("selenium", reason="needs selenium")

from browser import Browser, browser, needs_chromium

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Generator
    from pathlib import Path

pytestmark = [needs_chromium, pytest.mark.slow]

DESK, PHONE = (1180, 1000), (375, 812)
SCHEMES = ["light", "dark"]
WIDTHS = [1280, 1061, 1000, 961, 768, 701, 390, 360]
READABLE = 4.5
"""Contrast of text to its ground (WCAG 2.2, 1.4.3)."""

CONTRAST = """(() => {
  const light = (colour) => {
    const parts = colour.match(/[\\d.]+/g).map(Number);
    const [r, g, b] = parts.map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const worst = [Infinity, ""];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility()) continue;
    const pair = [light(getComputedStyle(node).color), light(ground(node))];
    const [low, high] = pair.sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < worst[0]) { worst[0] = contrast; worst[1] = node.textContent; }
  }
  return worst;
})()
"""
"""The lowest contrast of any text on the page, and that text."""

NOTHING = "\u2013"
"""What a figure shows before the first report."""
SPILT = """(() => {
  const spilt = [];
  for (const node of document.querySelectorAll("dt, dd, th, td, h1, li, .badge")) {
    if (!node.checkVisibility() || node.closest("thead")?.offsetWidth === 1) continue;
    const around = node.closest(".figures > div, th, td") ?? node.parentElement;
    const box = around.getBoundingClientRect();
    const text = document.createRange();
    text.selectNodeContents(node);
    for (const part of text.getClientRects()) {
      if (part.right > box.right + 0.5 || part.left < box.left - 0.5) spilt.push(node.innerText);
    }
  }
  return spilt;
})()
"""
"""The texts that run over the card or the cell that they are in."""

HOSTILE = '<img src="x" onerror="document.title=1"><script>document.title=2</script>'
TROUBLED = msgspec.structs.replace(
    QUIET,
    state="down",
    problems=[f"line {HOSTILE} is not connected"],
    warnings=["the circuit breaker of a is open", "the circuit breaker of b is half-open"],
    lines=[LineReport("0", "waiting", False, HOSTILE, HOSTILE, 1, None, None, 12.5)],
    endpoints=[
        EndpointReport("data-stream.example-of-a-long-name.test:9443", "v", [], "open", 12.5, 299),
        EndpointReport("b", "v", ["0"], "half_open", None, 3),
        EndpointReport("c", "v", [], "closed", 0, 300),
    ],
    outages=[
        OutageReport("0", 1.5, None, 90061, "websocket_error", "reset", HOSTILE, "a", None, 3),
        OutageReport("0", 0.5, 1.5, 1, "connection_closed", "dropped", "1000", "a", "b", 1),
    ],
    streams=[
        StreamReport(
            "v",
            "btcusdt@trade",
            "BTCUSDT",
            True,
            12_345_678,
            1234.5,
            0.1,
            9,
            12_345_678,
            9,
            3,
            1,
            2,
        ),
        StreamReport(None, HOSTILE, None, True),
    ],
    books=[
        BookReport("BTCUSDT", "btcusdt@depth@100ms", "v", "unproven", f"{HOSTILE} is missing",
                   LevelReport("65000.10", "1"), LevelReport("65000.20", "1"), "0.10", 7, 12.5,
                   1000, AuditReport("ticker", False, 12.5)),
        BookReport("ETHUSDT", "ethusdt@depth@100ms", None, "empty", "nothing has come that it "
                   "could begin with", None, None, None, None, None, 0, None),
    ],
    log=LogReport(HOSTILE, "cold", [
        ShardReport(0, True, 3, 4711, 12.5, 0.0345),
        ShardReport(1, False, 2),
        ShardReport(2, True, 0),
    ], TakeoverReport(1.5, 2.25, 2)),
)  # fmt: skip
"""A bad moment, told with words that would be code if they were taken for it."""

LONG_S = 9 * 60 + 59
BUSY = msgspec.structs.replace(
    QUIET,
    uptime_s=23 * 3600 + 59 * 60,
    messages=MessagesReport(9_999_999, 123_456, 6, LONG_S),
    coverage=CoverageReport(0, 9_876_543, 8_888_888, 0, 0, 0, 0, 8_888_888),
    lines=[LineReport("0a", "streaming", True, "data-stream.binance.vision:443", "binance.com",
                      1024, 23 * 3600 + 59 * 60, LONG_S, None)],
    endpoints=[EndpointReport("data-stream.binance.vision:443", "binance.com", ["0a", "0b"],
                              "half_open", LONG_S, 299)],
    outages=[OutageReport("0a", 1.5, 9.5, LONG_S, "websocket_error", "dns_failure", "no such host",
                          "data-stream.binance.vision:443", "stream.binance.com:9443", 12)],
    losses=[
        LossReport("gap", "binance.com", "1000satsusdt@depth@100ms", "not_repaired", 1.5, 99.5,
                   123_456, 57_957_169_738, 57_967_169_738),
        LossReport("gap", "binance.com", "1000satsusdt@depth@100ms", "snapshot", 1.5, 1.5, 1, 5, 5),
        LossReport("outage", "binance.com", "!ticker_1h@arr", "", 1.5, 1.5, 2, unproven_s=LONG_S),
        LossReport("repair", "binance.com", "btcusdt@trade", "backfill", 1.5, 1.5, 999_999),
    ],
    latency=[
        LatencyReport("exchange", 1_234_567, -0.001234, 0.123456, 12.34),
        LatencyReport("network", 0, None, None, None),
        LatencyReport("decode", 1_234_567, 0.000012, 0.000345, 0.0067),
        LatencyReport("queue", 1_234_567, 0.0, 0.00006, LONG_S),
        LatencyReport("handler", 1_234_567, 0.00089, 0.012, 3.4),
    ],
    streams=[StreamReport("binance.com", "1000satsusdt@depth@100ms", "1000SATSUSDT", True,
                          987_654_321, 9_876.5, LONG_S, 1, 987_654_321, 9_876_543, 8_888_888, 9,
                          100_000, 1, 12, GapReport(57_957_169_738, 57_967_169_738, "not_repaired"),
                          8_888_888)],
    books=[BookReport("1000SATSUSDT", "1000satsusdt@depth@100ms", "binance.com", "live", None,
                      LevelReport("0.00012345", "98765432109.00000000"),
                      LevelReport("123456.78901234", "0.00001000"), "123456.78888889",
                      57_957_169_738, LONG_S, 5000, AuditReport("snapshot", True, LONG_S))],
    log=LogReport("market-data-collectors", "hot",
                  [ShardReport(1023, True, 9_876, 9_876_543, LONG_S, LONG_S)],
                  TakeoverReport(1.5, LONG_S, 1023)),
)  # fmt: skip
"""A long day with large figures."""


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Generator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def chromium(window: Browser) -> Browser:
    window.driver.get("about:blank")
    window.look_like(*DESK, "light")
    window.complaints()
    window.requested()
    return window


@pytest.fixture
def exchange() -> Generator[Simulator]:
    with simulator("--rate", "20") as found:
        yield found


@pytest.fixture
def program(exchange: Simulator, tmp_path: Path) -> Generator[subprocess.Popen[bytes]]:
    patient = {"MAX_RECONNECT_ATTEMPTS": "0", "RECOVERY_TIMEOUT": "1"}
    variables = exchange.variables() | LOGGED | patient | {"OUTPUT": str(tmp_path / "out.jsonl")}
    with started("run", **variables) as process:
        yield process


def number(text: str) -> float:
    return float(text.replace(",", "") or "nan")


def test_live_values_appear_and_change_and_nothing_is_fetched_from_elsewhere(
    chromium: Browser, program: subprocess.Popen[bytes]
) -> None:
    url = exporter_url(program)
    chromium.driver.get(url)
    chromium.wait("#verdict", lambda text: text == "All data is flowing")
    chromium.wait("#rate", lambda text: number(text) > 0)
    before = chromium.wait("#streams td:nth-child(5)", lambda text: number(text) > 0)
    chromium.wait("#streams td:nth-child(5)", lambda text: number(text) > number(before))
    chromium.wait("#lines tbody", lambda text: "streaming" in text)
    chromium.wait("#endpoints tbody", lambda text: text.count("closed") == 2)
    assert "None so far" in chromium.text("#outages tbody")
    assert chromium.complaints() == []
    asked = set(chromium.requested())
    assert f"{url}/events" in asked
    assert {address for address in asked if not address.startswith(f"{url}/")} == set()


def test_a_fault_shows_up_and_so_does_its_end(
    chromium: Browser, program: subprocess.Popen[bytes], exchange: Simulator
) -> None:
    chromium.driver.get(exporter_url(program))
    chromium.wait("#verdict", lambda text: text == "All data is flowing")
    exchange.break_now("outage", duration=4)
    chromium.wait("#verdict", lambda text: text == "Data is not flowing")
    assert "Line 0 is not connected" in chromium.wait("#reasons", bool)
    chromium.wait("#endpoints tbody", lambda text: "open" in text)
    chromium.wait("#outages tbody", lambda text: "not yet back" in text)
    chromium.wait("#outages tbody", lambda text: "back at" in text and "not yet" not in text)
    chromium.wait("#verdict", lambda text: text == "All data is flowing")
    chromium.wait("#repaired", lambda text: number(text) > 0)
    assert chromium.complaints() == []


def test_the_page_says_when_it_is_cut_off(
    chromium: Browser, program: subprocess.Popen[bytes]
) -> None:
    chromium.driver.get(exporter_url(program))
    chromium.wait("#verdict", lambda text: text == "All data is flowing")
    assert chromium.text("#lost") == ""
    program.kill()
    banner = chromium.wait("#lost", bool)
    assert banner.startswith("Disconnected from k2trio. Last update ")
    assert chromium.text("#verdict") == "State unknown"


async def test_the_page_reconnects_by_itself(chromium: Browser) -> None:
    first = serving()
    url = await first.__aenter__()
    port = int(url.rpartition(":")[2])
    await trio.to_thread.run_sync(chromium.driver.get, url)
    await trio.to_thread.run_sync(chromium.wait, "#verdict", "All data is flowing".__eq__)
    await first.__aexit__(None, None, None)
    await trio.to_thread.run_sync(chromium.wait, "#lost", bool)
    async with serving(port=port):
        await trio.to_thread.run_sync(chromium.wait, "#verdict", "All data is flowing".__eq__)
        assert await trio.to_thread.run_sync(chromium.text, "#lost") == ""


@pytest.mark.parametrize("width", WIDTHS)
async def test_no_figure_runs_over_its_card(chromium: Browser, width: int) -> None:
    def look() -> None:
        chromium.look_like(width, 900, "light")
        chromium.driver.get(url)
        chromium.wait("#uptime", lambda text: "h" in text)
        assert chromium.ask(SPILT) == []
        page = "document.documentElement"
        assert chromium.ask(f"{page}.scrollWidth <= {page}.clientWidth")

    async with serving(report=lambda: BUSY) as url:
        await trio.to_thread.run_sync(look)


@pytest.mark.parametrize("seconds", [102, 599, 42 * 60, 20 * 3600 + 100, 86_399, 365 * 86_400])
async def test_a_time_of_any_length_fits_its_card(chromium: Browser, seconds: int) -> None:
    lasting = msgspec.structs.replace(
        BUSY, uptime_s=seconds, messages=MessagesReport(1, 1, 5, seconds)
    )

    def look() -> None:
        for width in WIDTHS:
            chromium.look_like(width, 900, "light")
            chromium.driver.get(url)
            chromium.wait("#uptime", lambda text: text != NOTHING)
            assert chromium.ask(SPILT) == []

    async with serving(report=lambda: lasting) as url:
        await trio.to_thread.run_sync(look)


async def test_the_graphs_are_there_for_whoever_opens_the_page_in_an_incident(
    chromium: Browser,
) -> None:
    rates = [100.0] * 90 + [0.0] * 30
    stream = BUSY.streams[0]
    trends = TrendsReport(0, 5, 600, rates, [StreamTrend("binance.com", stream.stream, rates)])

    def look() -> None:
        chromium.driver.get(url)
        for graph in ("#pulse", "#streams .spark"):
            points = f"document.querySelector('{graph} .line').getAttribute('d')"
            chromium.wait(graph, lambda _, points=points: chromium.ask(points))
            assert chromium.ask(f"{points}.match(/[ML]/g).length") == len(rates)
            assert chromium.ask(f"{points}.endsWith('L120.0 31.0')"), "no rate, now, at the right"
        assert chromium.text("#span") == "last 10\u00a0min"

    async with serving(report=lambda: BUSY, trends=lambda: trends) as url:
        await trio.to_thread.run_sync(look)


async def test_a_book_that_a_snapshot_has_made_whole_is_no_cause_for_alarm(
    chromium: Browser,
) -> None:
    whole = msgspec.structs.replace(
        BUSY,
        coverage=CoverageReport(0, 0, 61, 1, 0, 0, 0, 0),
        streams=[msgspec.structs.replace(BUSY.streams[0], missing=61, lost=0, held=0)],
    )

    def look() -> None:
        chromium.driver.get(url)
        assert chromium.wait("#streams td:nth-child(7)", bool) == "0"
        assert "61 ids in snapshots" in chromium.text("#streams tbody th")
        assert chromium.text("#missing") == "0"
        alarms = "document.querySelectorAll('#streams .warn-text, .figures .warn').length"
        assert chromium.ask(alarms) == 0

    async with serving(report=lambda: whole) as url:
        await trio.to_thread.run_sync(look)


async def test_the_top_of_each_book_is_told_with_how_far_it_can_be_believed(
    chromium: Browser,
) -> None:
    def look() -> None:
        chromium.driver.get(url)
        rows = chromium.wait("#books tbody", lambda text: "BTCUSDT" in text)
        for words in ("65000.1", "65000.2", "unproven", f"{HOSTILE} is missing", "13\u00a0s ago",
                      "not as the ticker says", "empty", "not yet"):  # fmt: skip
            assert words in rows
        assert "65000.10" not in rows

    async with serving(report=lambda: TROUBLED) as url:
        await trio.to_thread.run_sync(look)


async def test_a_program_that_keeps_no_book_shows_none(chromium: Browser) -> None:
    def look() -> None:
        chromium.driver.get(url)
        chromium.wait("#version", bool)
        assert chromium.ask("document.getElementById('books-title').checkVisibility()") is False

    async with serving(report=lambda: QUIET) as url:
        await trio.to_thread.run_sync(look)


async def test_the_shards_of_the_log_are_told_and_whose_they_are(chromium: Browser) -> None:
    def look() -> None:
        chromium.driver.get(url)
        table = chromium.wait("#shards tbody", lambda text: "Shard 2" in text)
        assert [row.split("\t") for row in table.splitlines()] == [
            ["Shard 0", "here", "3", "4,711", "13\u00a0s", "35\u00a0ms"],
            ["Shard 1", "elsewhere", "2", NOTHING, NOTHING, NOTHING],
            ["Shard 2", "here", "0", "0", "0\u00a0µs", NOTHING],
        ]
        late = "[...document.querySelectorAll('#shards .warn-text')].map((cell) => cell.innerText)"
        assert chromium.ask(late) == ["13\u00a0s"]
        words = chromium.text("#takeover")
        assert words.startswith(f"Group {HOSTILE} · cold standby · shard 2 taken over at ")
        assert words.endswith(", within 2.3\u00a0s")

    async with serving(report=lambda: TROUBLED) as url:
        await trio.to_thread.run_sync(look)


async def test_a_program_without_shards_shows_no_log(chromium: Browser) -> None:
    def look() -> None:
        chromium.driver.get(url)
        chromium.wait("#version", bool)
        assert chromium.ask("document.getElementById('log-title').checkVisibility()") is False

    async with serving(report=lambda: QUIET) as url:
        await trio.to_thread.run_sync(look)


async def test_a_last_message_that_never_came_has_no_time(chromium: Browser) -> None:
    silent = msgspec.structs.replace(QUIET, messages=MessagesReport(0, 0, 49, None))

    def look() -> None:
        chromium.driver.get(url)
        assert chromium.wait("#silence", lambda text: text != NOTHING) == "none yet"

    async with serving(report=lambda: silent) as url:
        await trio.to_thread.run_sync(look)


@pytest.mark.parametrize(
    ("problems", "verdict"),
    [([], "Data is flowing, with warnings"), (["one"], "Data is flowing, with problems")],
)
async def test_what_is_wrong_while_data_flows_is_told_as_that(
    chromium: Browser, problems: list[str], verdict: str
) -> None:
    report = msgspec.structs.replace(QUIET, state="degraded", problems=problems, warnings=["two"])

    def look() -> None:
        chromium.driver.get(url)
        chromium.wait("#verdict", lambda text: text == verdict)

    async with serving(report=lambda: report) as url:
        await trio.to_thread.run_sync(look)


async def test_losses_and_repairs_are_told_in_words(chromium: Browser) -> None:
    def look() -> None:
        chromium.driver.get(url)
        table = chromium.wait("#losses tbody", lambda text: "repaired" in text)
        for words in (
            "123,456 ranges in 57957169738\u201357967169738",
            "not repaired",
            "in a snapshot",
            "no proof for 9\u00a0min 59\u00a0s",
            "999,999 messages over REST",
        ):
            assert words in table

    async with serving(report=lambda: BUSY) as url:
        await trio.to_thread.run_sync(look)


async def test_latencies_are_told_in_units_that_fit(chromium: Browser) -> None:
    def look() -> None:
        chromium.driver.get(url)
        table = chromium.wait("#latency tbody", lambda text: "Decode" in text)
        for words in (
            "\u22121.2\u00a0ms",
            "123\u00a0ms",
            "12\u00a0s",
            "12\u00a0µs",
            "345\u00a0µs",
            "6.7\u00a0ms",
            "0\u00a0µs",
            "9\u00a0min 59\u00a0s",
            "1.23M",
            NOTHING,
        ):
            assert words in table, table

    async with serving(report=lambda: BUSY) as url:
        await trio.to_thread.run_sync(look)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [DESK, PHONE])
@pytest.mark.parametrize("status", [QUIET, TROUBLED, BUSY], ids=["quiet", "troubled", "busy"])
async def test_all_of_it_is_readable_and_fits(
    chromium: Browser, scheme: str, size: tuple[int, int], status: Status
) -> None:
    def look() -> None:
        chromium.look_like(*size, scheme)
        chromium.driver.get(url)
        chromium.wait("#version", bool)
        page = "document.documentElement"
        assert chromium.ask(f"{page}.scrollWidth <= {page}.clientWidth")
        contrast, text = chromium.ask(CONTRAST)
        assert contrast >= READABLE, text
        dark = chromium.ask("getComputedStyle(document.body).backgroundColor") == "rgb(14, 17, 20)"
        assert dark == (scheme == "dark")
        assert chromium.complaints() == []

    async with serving(report=lambda: status) as url:
        await trio.to_thread.run_sync(look)


async def test_words_from_outside_stay_words(chromium: Browser) -> None:
    def look() -> None:
        chromium.driver.get(url)
        chromium.wait("#streams tbody", lambda text: HOSTILE in text)
        assert HOSTILE in chromium.text("#lines tbody")
        assert HOSTILE in chromium.text("#outages tbody")
        assert chromium.ask("document.images.length") == 0
        assert chromium.ask("document.scripts.length") == 1
        assert chromium.ask("document.title") == "Data is not flowing · k2trio"
        assert chromium.complaints() == []

    async with serving(report=lambda: TROUBLED) as url:
        await trio.to_thread.run_sync(look)


async def test_states_are_told_by_shape_and_word_not_by_colour_alone(chromium: Browser) -> None:
    def look() -> None:
        chromium.driver.get(url)
        chromium.wait("#endpoints tbody", bool)
        marks = "[...document.querySelectorAll('#endpoints .badge')]"
        shapes = chromium.ask(
            f"{marks}.map((mark) => getComputedStyle(mark, '::before'))"
            ".map((style) => [style.borderRadius, style.transform, style.backgroundColor].join())"
        )
        assert chromium.ask(f"{marks}.map((mark) => mark.textContent)") == [
            "open",
            "half-open",
            "closed",
        ]
        assert len({shape.partition("rgb")[0] for shape in shapes}) == 3
        sign = (
            "[...document.querySelectorAll('.sign g')]"
            ".filter((part) => getComputedStyle(part).display !== 'none')"
        )
        assert chromium.ask(f"{sign}.map((part) => part.getAttribute('class'))") == ["sign-down"]

    async with serving(report=lambda: TROUBLED) as url:
        await trio.to_thread.run_sync(look)
