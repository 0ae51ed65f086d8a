"""How programs end in which a feed is open: by Ctrl-C, by themselves, in order or not."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from bridge.exchange import Exchange
from processes import PATIENCE_S, SHUTDOWN_S, simulator

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.slow

PRELUDE = """
    import asyncio, sys, threading, time
    import k2trio, trio

    STREAMS = ["btcusdt@trade"]

    async def main():
        async with k2trio.aio.open_feed(STREAMS) as feed:
            async for event in feed:
                print("reads", flush=True)

    def read():
        with k2trio.sync.open_feed(STREAMS) as feed:
            for event in feed:
                print("reads", flush=True)

    def interrupted():
        assert not trio.lowlevel.in_trio_run()
        print("interrupted", [thread.name for thread in threading.enumerate()
                              if thread.name == "k2trio feed"], flush=True)
"""


@pytest.fixture(scope="module")
def exchange() -> Generator[Exchange]:
    with simulator("--rate", "200") as running:
        yield Exchange(running)


@contextmanager
def program(exchange: Exchange, text: str) -> Generator[subprocess.Popen[str]]:
    """A program that any warning ends, and that has said that it reads."""
    with subprocess.Popen(  # noqa: S603 - our own text
        [sys.executable, "-X", "dev", "-W", "error", "-c",
         textwrap.dedent(PRELUDE) + textwrap.dedent(text)],
        env=exchange.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first == "reads\n", (process.stderr and process.stderr.read(), first)
            time.sleep(0.2)
            yield process
        finally:
            process.kill()


def end_of(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, the last line of standard output, and standard error; within the bound."""
    at = time.monotonic()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - at < SHUTDOWN_S
    # asyncio, when it develops, remarks on steps that are slow: on a busy machine many are.
    said = [line for line in err.splitlines(keepends=True) if not line.startswith("Executing <")]
    return process.returncode, (out.splitlines() or [""])[-1], "".join(said)


@pytest.mark.parametrize(
    "text",
    [
        """
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            interrupted()
        """,
        """
        import uvloop
        try:
            uvloop.run(main())
        except KeyboardInterrupt:
            interrupted()
        """,
        """
        loop = asyncio.new_event_loop()
        task = loop.create_task(main())
        try:
            loop.run_until_complete(task)
        except KeyboardInterrupt:
            assert not task.done()
            task.cancel()
            try:
                loop.run_until_complete(task)
            except asyncio.CancelledError:
                interrupted()
        loop.close()
        """,
        """
        try:
            read()
        except KeyboardInterrupt:
            interrupted()
        """,
        """
        with k2trio.sync.open_feed(STREAMS) as feed:
            feed.get()
            print("reads", flush=True)
            try:
                time.sleep(30)
            except KeyboardInterrupt:
                assert feed.get(timeout=5)
        interrupted()
        """,
    ],
    ids=["asyncio.run", "uvloop.run", "run_until_complete", "sync", "sync, and it goes on"],
)
def test_ctrl_c_ends_feed_and_program_in_order(exchange: Exchange, text: str) -> None:
    if "uvloop" in text:
        pytest.importorskip("uvloop")
    before = exchange.endings()
    with program(exchange, text) as process:
        process.send_signal(signal.SIGINT)
        assert end_of(process) == (0, "interrupted []", "")
    exchange.assert_all_closed(before)


@pytest.mark.parametrize(
    "wait", ["feed.get_batch()", "feed.get(timeout=60)", "next(iter(feed))", "time.sleep(60)"]
)
def test_ctrl_c_interrupts_whatever_a_thread_waits_for(exchange: Exchange, wait: str) -> None:
    """And what had been taken out of the feed for it is there afterwards."""
    text = f"""
    with k2trio.sync.open_feed(STREAMS) as feed:
        feed.get_batch()
        feed.unsubscribe(*STREAMS)
        feed.drain()
        print("reads", flush=True)
        try:
            {wait}
        except KeyboardInterrupt:
            feed.subscribe(*STREAMS)
            batch = feed.get_batch(timeout=10) + feed.get_batch(timeout=10)
            first = batch[0].data.trade_id
            assert [event.data.trade_id for event in batch] == list(
                range(first, first + len(batch)))
            interrupted()
    """
    with program(exchange, text) as process:
        process.send_signal(signal.SIGINT)
        code, last, err = end_of(process)
    assert (code, last.partition(" ")[0], err) == (0, "interrupted", "")


def test_a_program_that_handles_nothing_ends_with_the_usual_traceback(exchange: Exchange) -> None:
    with program(exchange, "asyncio.run(main())") as process:
        process.send_signal(signal.SIGINT)
        code, _, err = end_of(process)
    assert code == -signal.SIGINT
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert "abandoned" not in err
    assert "pending" not in err


@pytest.mark.parametrize(
    ("text", "code", "last_error"),
    [
        (
            """
            with k2trio.sync.open_feed(STREAMS) as feed:
                for event in feed:
                    print("reads", flush=True)
                    sys.exit(3)
            """,
            3,
            [],
        ),
        (
            """
            with k2trio.sync.open_feed(STREAMS) as feed:
                for event in feed:
                    print("reads", flush=True)
                    raise LookupError("mine")
            """,
            1,
            ["LookupError: mine"],
        ),
        (
            """
            opening = k2trio.sync.open_feed(STREAMS)
            feed = opening.__enter__()
            feed.get()
            print("reads", flush=True)
            """,
            0,
            [],
        ),
        (
            """
            def read_to_the_end():
                try:
                    read()
                except k2trio.FeedClosed:  # if it is still there to hear of the end
                    pass
            threading.Thread(target=read_to_the_end, daemon=True).start()
            time.sleep(2)
            """,
            0,
            [],
        ),
        (
            """
            async def leave():
                async with k2trio.aio.open_feed(STREAMS) as feed:
                    async for event in feed:
                        print("reads", flush=True)
                        sys.exit(3)
            asyncio.run(leave())
            """,
            3,
            [],
        ),
        (
            """
            opening = k2trio.aio.open_feed(STREAMS)
            loop = asyncio.new_event_loop()
            feed = loop.run_until_complete(opening.__aenter__())
            loop.run_until_complete(anext(feed))
            print("reads", flush=True)
            loop.close()
            """,
            0,
            [],
        ),
        (
            """
            opening = k2trio.aio.open_feed(STREAMS)
            async def forget():
                feed = await opening.__aenter__()
                await anext(feed)
                print("reads", flush=True)
            asyncio.run(forget())
            """,
            0,
            [],
        ),
    ],
    ids=[
        "sys.exit in the block",
        "an exception in the block",
        "left open at the exit",
        "read by a daemon",
        "sys.exit under asyncio",
        "left open in a closed loop",
        "left open in asyncio.run",
    ],
)
def test_a_program_ends_its_feed_and_does_not_hang(
    exchange: Exchange, text: str, code: int, last_error: list[str]
) -> None:
    before = exchange.endings()
    with program(exchange, text) as process:
        ended, _, err = end_of(process)
    assert (ended, err.splitlines()[-1:]) == (code, last_error), err
    exchange.assert_all_closed(before)
