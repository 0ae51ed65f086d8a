"""A log, read back as the feed was whose items were written to it."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import recording as rec
import trio
from confluent_kafka import TopicPartition
from logged import Log, by_stream, read, received, take
from processes import PATIENCE_S, environment
from recordings import START_S, session, with_remarks

import k2trio
from k2trio.kafka import client, following, merging
from k2trio.kafka.client import LogClient
from k2trio.kafka_urls import parse_kafka_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from k2trio.continuity.items import Item

pytestmark = pytest.mark.slow

ITEMS = with_remarks(session())
BTC, ETH = "btcusdt@trade", "ethusdt@trade"


def at(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(START_S + seconds, dt.UTC)


def of(stream: str, items: list[Item] = ITEMS) -> list[Item]:
    return [item for item in items if item.stream == stream]


@pytest.mark.parametrize("form", ["", "?value=line"])
async def test_items_come_out_as_they_were_written(kafka: str, form: str) -> None:
    log = Log(kafka, form=form)
    log.write(ITEMS)
    assert {type(item) for item in ITEMS} >= {
        k2trio.Event, k2trio.Gap, k2trio.Outage, k2trio.VenueChanged
    }  # fmt: skip
    found = await read(log.url)
    assert by_stream(found) == by_stream(ITEMS)  # frames and stamps too
    assert received(found) == sorted(received(ITEMS))  # whatever topics they lie in


async def test_one_topic_of_both_forms_is_read_whichever_the_url_names(kafka: str) -> None:
    log = Log(kafka, "all")
    lines = Log(kafka, "all", "?value=line")
    lines._recorder._url = parse_kafka_url(log.url)
    log.write(ITEMS[:200])
    lines._topics = log._topics
    lines.write(ITEMS[200:])
    assert by_stream(await read(log.url)) == by_stream(ITEMS)
    assert by_stream(await read(f"{log.url}?value=line")) == by_stream(ITEMS)


async def test_batches_are_the_same(kafka: str) -> None:
    log = Log(kafka)
    log.write(ITEMS)
    async with k2trio.open_log(log.url) as opened:
        first = await anext(opened)
        batches = [batch async for batch in opened.batches()]
    assert [first, *(item for batch in batches for item in batch)] == await read(log.url)


async def test_some_streams_and_a_part_of_the_time(kafka: str) -> None:
    log = Log(kafka)
    log.write(ITEMS)
    assert await read(log.url, streams=[ETH]) == of(ETH)
    later = [i for i in ITEMS if isinstance(i, k2trio.Event) and i.received >= START_S + 1]
    for start in (at(1), "2026-01-01T01:00:01+01:00"):
        found = await read(log.url, start=start)
        assert by_stream(i for i in found if isinstance(i, k2trio.Event)) == by_stream(later)
        assert len(found) == len(later) + 4  # remarks were told in that time
    assert await read(log.url, start=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)) == []


async def test_topics_of_other_kinds_are_not_read(kafka: str) -> None:
    log = Log(kafka, partitions=1)
    log.write(ITEMS)
    log.write_other(log.topic_of(of("btcusdt@bookTicker")[0]), b"theirs", {}, 0)
    assert await read(log.url, streams=[BTC]) == of(BTC)
    with pytest.raises(k2trio.Unreadable):
        await read(log.url)


async def test_what_a_transaction_took_back_is_not_seen(kafka: str) -> None:
    log = Log(kafka)
    half = len(ITEMS) // 2
    log.write(ITEMS[:half])
    log.begin(ITEMS)
    log.abort()
    log.write(ITEMS[half:])
    log.begin(ITEMS)
    log.abort()
    assert by_stream(await read(log.url)) == by_stream(ITEMS)


async def test_an_open_transaction_holds_up_only_what_is_behind_it(kafka: str) -> None:
    log = Log(kafka, "all", partitions=2)
    other = Log(kafka, "all")
    other._recorder, other._topics = log._recorder, log._topics
    trades = rec.trades(1, 30)
    quotes: list[Item] = [rec.quote(number, number) for number in range(1, 11)]
    log.write(trades[:10], partition=0)
    log.begin(trades[10:20], partition=0)
    other.write(trades[20:], partition=0, seen_in=())
    other.write(quotes, partition=1, seen_in=[1])
    seen = by_stream(await read(log.url))
    assert seen == by_stream([*trades[:10], *quotes])
    async with k2trio.open_log(log.url, follow=True, streams=[rec.TRADES]) as opened:
        assert await take(opened, 10) == trades[:10]
        with trio.move_on_after(0.5):
            pytest.fail(f"{await anext(opened)} was not committed")
        log.commit()
        assert await take(opened, 20) == trades[10:]


def skewed(count: int) -> list[Item]:
    """Of one stream nearly all, of another a few, over the same time."""
    many = [rec.trade(number, number / 100) for number in range(1, count)]
    few = [rec.quote(number, number * count / 1000) for number in range(1, 10)]
    return sorted([*many, *few], key=lambda item: item.received)


async def test_what_is_far_ahead_of_others_waits_and_memory_is_bounded(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than ten thousand records, in small bites."""
    log = Log(kafka, "all", partitions=3)
    items = skewed(12_000)
    slow = [item for item in items if item.stream == rec.QUOTES]
    fast = [item for item in items if item.stream == rec.TRADES]
    other = [rec.diff(number, number, number / 50) for number in range(1, 6000)]
    log.write(fast, partition=0)
    log.write(other, partition=1)
    log.write(slow, partition=2)
    monkeypatch.setattr(merging, "AHEAD_BYTES", 3 * (16 << 10))
    monkeypatch.setattr(merging, "LEAST_BYTES", 1)
    monkeypatch.setattr(client, "FETCH_BYTES", 8 << 10)
    monkeypatch.setattr(client, "POLLED", 50)
    paused: list[int] = []
    most = 0

    def pause(self: LogClient, stretches: Any, plain: Any = LogClient.pause) -> None:
        named = list(stretches)
        paused.extend(stretch.partition for stretch in named)
        plain(self, named)

    def add(self: merging.Lane, item: Item, size: int, plain: Any = merging.Lane.add) -> None:
        nonlocal most
        plain(self, item, size)
        most = max(most, self.size)

    monkeypatch.setattr(LogClient, "pause", pause)
    monkeypatch.setattr(merging.Lane, "add", add)
    found = await read(log.url)
    assert by_stream(found) == by_stream([*items, *other])
    assert received(found) == sorted(received(found))
    assert len(paused) > 10
    assert most < (16 << 10) + 50 * 200  # one bite more than there is room


async def test_nothing_is_read_far_ahead_of_whoever_takes_it(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(kafka, "all", partitions=1)
    items = rec.trades(1, 30_000)
    log.write(items)
    taken = 0

    def line_of(message: Any, plain: Any = following.line_of) -> Any:
        nonlocal taken
        taken += 1
        return plain(message)

    monkeypatch.setattr(following, "line_of", line_of)
    async with k2trio.open_log(log.url) as opened:
        assert await anext(opened) == items[0]
        await trio.sleep(1)  # as long as it likes
        assert 1 < taken < 6 * client.POLLED
        assert await take(opened, len(items) - 1) == items[1:]


async def test_the_example_of_the_documents_runs(
    kafka: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "howto" / "kafka.md").read_text()
    (example,) = re.findall(r"```python\n(.+?)\ntrio\.run\(main\)\n```", text, re.DOTALL)
    log = Log(kafka)
    trades = rec.trades(1, 3)
    log.write([*trades, rec.gap(4, 5), rec.quote(1, 1)])
    names: dict[str, Any] = {}
    exec(compile(example, "kafka.md", "exec"), names)  # noqa: S102 - our own text
    names["URL"] = log.url
    await names["main"]()
    assert capsys.readouterr().out.splitlines() == [
        *(f"{one.received} {one.data.price}" for one in trades),
        "missing 4 5 not_repaired",
    ]


# -- following ------------------------------------------------------------------------------------


async def test_following_goes_on_with_what_comes(kafka: str) -> None:
    log = Log(kafka, "all", partitions=1)
    trades = rec.trades(1, 60)
    log.write(trades[:20])
    async with (
        k2trio.open_log(log.url, follow=True) as opened,
        k2trio.open_log(log.url, follow=True, start="end") as late,
    ):
        assert await take(opened, 20) == trades[:20]
        for first in (20, 40):
            log.write(trades[first : first + 20])
            began = time.monotonic()
            assert await take(opened, 20) == trades[first : first + 20]
            assert time.monotonic() - began < 2
        assert await take(late, 40) == trades[20:]


async def test_following_finds_topics_that_are_new(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "REFRESH_S", 0.2)
    log = Log(kafka)
    log.write(of(BTC))
    async with (
        k2trio.open_log(log.url, follow=True, start="end") as opened,
        trio.open_nursery() as n,
    ):
        n.start_soon(trio.to_thread.run_sync, log.write, of("btcusdt@bookTicker"))
        wanted = of("btcusdt@bookTicker")
        assert await take(opened, len(wanted)) == wanted


async def test_cancelling_is_prompt_and_lets_go_of_the_brokers(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[LogClient] = []
    plain = LogClient.close
    monkeypatch.setattr(LogClient, "close", lambda self: (closed.append(self), plain(self))[1])
    log = Log(kafka)
    log.write(ITEMS[:10])
    with trio.CancelScope() as scope:
        async with k2trio.open_log(log.url, follow=True) as opened:
            scope.deadline = trio.current_time() + 0.5
            async for _ in opened:
                pass
    assert scope.cancelled_caught
    assert trio.current_time() - scope.deadline < 1
    assert len(closed) == 1
    with pytest.raises(k2trio.FeedClosed):
        await anext(opened)


async def test_cancelling_is_prompt_while_no_broker_answers() -> None:
    with trio.move_on_after(0.3) as scope:
        async with k2trio.open_log("kafka://127.0.0.1:1/market"):
            pytest.fail("there is no broker")
    assert trio.current_time() - scope.deadline < 2 * client.REQUEST_S


# -- troubles -------------------------------------------------------------------------------------

HEADERS: dict[str, bytes | None] = {
    "venue": rec.VENUE.encode(),
    "stream": rec.TRADES.encode(),
    "received_ns": b"1795680000000000000",
    "origin": b"live",
}
LINE = b'{"venue":"binance.com","stream":"btcusdt@trade","received":1,"origin":"live","data":{}}'
GAP = b'{"venue":"binance.com","stream":"btcusdt@trade","gap":{"first":1,"last":2,"reason":"jump"}}'


@pytest.mark.parametrize(
    ("value", "headers", "told"),
    [
        (b"theirs", {}, "no header 'venue'"),
        (b"{}", HEADERS | {"stream": b"all@theirs"}, "not a stream"),
        (b"{}", HEADERS | {"stream": None}, "None"),
        (b"{}", HEADERS | {"venue": b"\xff"}, "decode"),
        (None, HEADERS, "no value"),
        (b"{}", HEADERS | {"received_ns": b"soon"}, "no time"),
        (b"{}", HEADERS | {"received_ns": None}, "no time"),
        (b"{}", HEADERS | {"origin": b"elsewhere"}, "elsewhere"),
        (b"{},{}", HEADERS, "trailing characters"),
        (b"{}", HEADERS, "not what it carries"),
        (LINE + b"\n" + LINE, HEADERS, "not one line"),
        (LINE.replace(b"btc", b"eth"), HEADERS, "of another"),
        (GAP, HEADERS, "no message"),
        (GAP, HEADERS | {"item": b"outage"}, "no outage"),
        (b"{}", HEADERS | {"item": b"gap"}, "no line of ours"),
    ],
)
async def test_a_record_of_somebody_else_is_told_after_what_was_before(
    kafka: str, value: bytes | None, headers: dict[str, bytes | None], told: str
) -> None:
    log = Log(kafka, "all", partitions=2)
    trades = rec.trades(1, 3)
    log.write(trades, partition=1)
    log.write_other(log.topic_of(trades[0]), value, headers, 1)
    log.write(rec.trades(4, 5), partition=1)
    async with k2trio.open_log(log.url) as opened:
        assert await take(opened, 3) == trades
        for _ in range(2):
            with pytest.raises(k2trio.Unreadable, match=told) as caught:
                await anext(opened)
    # Behind the three there is the mark of their transaction.
    assert f"topic {log.stem}.all, partition 1, offset 4: " in str(caught.value)


async def test_what_was_deleted_before_it_was_read_is_told(kafka: str) -> None:
    log = Log(kafka, "all", partitions=1)
    log.write(rec.trades(1, 10))
    reader = LogClient(parse_kafka_url(log.url), {})
    try:
        (stretch,) = reader.stretches(reader.partitions())
        place = TopicPartition(stretch.topic, 0, 5)
        log._admin.delete_records([place])[place].result(PATIENCE_S)
        reader.read([stretch])
        with pytest.raises(k2trio.Unreadable, match=r"all\[0\]: its next records were deleted"):
            until(lambda: bool(reader.poll()))
    finally:
        reader.close()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end


async def test_a_broker_that_is_not_there_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "ANSWER_TIMEOUT_S", 1.0)
    began = time.monotonic()
    with pytest.raises(k2trio.BrokerUnavailable) as caught:
        await read("kafka://127.0.0.1:1/market")
    assert time.monotonic() - began < 5
    said = str(caught.value)
    assert "127.0.0.1:1" in said
    assert "Connection refused" in said
    assert "are they up, and reachable" in said
    assert "\n" not in said


async def test_topics_that_are_not_there_are_told(kafka: str) -> None:
    with pytest.raises(k2trio.ConfigError, match=r"has no topic nobody-has\.\{kind\}"):
        await read(f"kafka://{kafka}/nobody-has.{{kind}}")
    log = Log(kafka)
    log.write(of(BTC))
    with pytest.raises(k2trio.ConfigError, match="for kline that"):
        await read(log.url, streams=["btcusdt@kline_1m"])


async def test_misuse_is_told(kafka: str) -> None:
    url = f"kafka://{kafka}/market"
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("kafka://nowhere", {}, "names no topic"),
        (url, {"start": "end"}, "follow=True"),
        (url, {"start": "tomorrow"}, "no time"),
        (url, {"streams": BTC}, "list"),
        (url, {"streams": ["btcusdt"]}, "stream"),
        (url, {"properties": {"group.id": "mine"}}, "not free"),
        (url, {"properties": "nowhere.properties"}, "cannot be read"),
        (url, {"properties": {"no.such.property": "1"}}, "No such configuration property"),
    ]
    for named, options, word in wrong:
        with pytest.raises(k2trio.ConfigError, match=word):
            await read(named, **options)


async def test_no_secret_is_told(kafka: str) -> None:
    secret = {"security.protocol": "hunter2"}
    with pytest.raises(k2trio.ConfigError, match=r"cannot be: Invalid value") as caught:
        await read(f"kafka://{kafka}/market", properties=secret)
    assert "hunter2" not in str(caught.value)
    reader = LogClient(parse_kafka_url(f"kafka://{kafka}/market"), {"sasl.password": "hunter2"})
    assert repr(reader) == f"<LogClient kafka://{kafka}/market>"
    reader.close()


def test_without_the_extra_it_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['confluent_kafka'] = None; import k2trio, trio\n"
        "async def main():\n"
        "    async with k2trio.open_log('kafka://127.0.0.1:1/x'): pass\n"
        "try: trio.run(main)\n"
        "except k2trio.ConfigError as error: print(error)"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", script],
        env=environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.stdout == (
        "open_log needs the package confluent-kafka: python -m pip install 'k2trio[kafka]'\n"
    ), done.stderr
