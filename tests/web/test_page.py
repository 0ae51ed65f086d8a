"""The status page in a real browser: what an operator sees, on a desk and on a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
import trio
from exported import QUIET, serving
from processes import LOGGED, Simulator, exporter_url, simulator, started

from k2trio.observe.report import EndpointReport, LineReport, OutageReport, Status, StreamReport

pytest.importorskip("selenium", reason="needs selenium")

from browser import Browser, browser, needs_chromium

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Generator
    from pathlib import Path

pytestmark = needs_chromium

DESK, PHONE = (1180, 1000), (375, 812)
SCHEMES = ["light", "dark"]
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
)
"""A bad moment, told with words that would be code if they were taken for it."""


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
    trail = "document.querySelector('#pulse .line').getAttribute('d').length"
    assert chromium.ask(trail) > 0
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


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [DESK, PHONE])
@pytest.mark.parametrize("status", [QUIET, TROUBLED], ids=["quiet", "troubled"])
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
