"""The sink of a shard against Apache Kafka itself: once, in order, whatever the brokers do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from sinks import STREAM, VENUE, Written, trades
from topics import fill, held, new_topic, unique

from k2trio.continuity.items import Gap, Outage
from k2trio.errors import ConfigError, SinkError
from k2trio.kafka import sink as sink_module
from k2trio.kafka import transactions as transactions_module
from k2trio.kafka.ownership import Fenced, Unavailable
from k2trio.kafka.properties import load_properties

if TYPE_CHECKING:
    from pathlib import Path

    from kafkanode import Credentials, KafkaNode

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0


async def in_thread(action: object) -> None:
    assert callable(action)
    await trio.to_thread.run_sync(action)


async def test_what_is_flushed_is_there_and_the_next_one_goes_on_behind_it(kafka: str) -> None:
    log = Written(kafka)
    async with log.writing() as sink:
        await sink.write(trades(1, 500))
        assert sink.whole == 500
        await sink.flush()
        assert log.account() == (500, 500, [])
    with log.sink() as again:
        (position,) = (await again.positions()).values()
        assert (position.venue, position.stream, position.position) == (VENUE, STREAM, 500)


async def test_what_the_log_has_already_is_not_written_again(kafka: str) -> None:
    log = Written(kafka)
    for first, last in ((1, 300), (200, 400), (350, 360), (401, 402)):
        async with log.writing() as sink:
            await sink.write(trades(first, last))
            assert sink.whole == last - first + 1
            await sink.flush()
    assert log.account() == (402, 402, [])


async def test_it_commits_by_itself_within_the_interval(kafka: str) -> None:
    log = Written(kafka)
    async with log.writing(interval_s=0.05) as sink:
        await sink.write(trades(1, 10))
        with trio.fail_after(PATIENCE_S):
            while sink.standing(trio.current_time()).uncommitted:
                await sink._change()
        assert log.account() == (10, 10, [])


async def test_sync_returns_when_all_of_it_is_committed(kafka: str) -> None:
    log = Written(kafka)
    async with log.writing(interval_s=0.5) as sink:
        await sink.write(trades(1, 2000))
        await in_thread(sink.sync)
        assert log.account() == (2000, 2000, [])


async def test_gaps_and_outages_are_records_in_their_place(kafka: str) -> None:
    log = Written(kafka)
    gap, outage = Gap(VENUE, STREAM, 3, 5, "jump"), Outage(VENUE, STREAM, 1.0, 2.0)
    async with log.writing() as sink:
        await sink.write([*trades(1, 2), gap, outage, *trades(6, 7)])
        await sink.flush()
    assert log.account() == (6, 7, [])
    values = [value for _, value in held(kafka, log.topic)]
    assert values[2] == b'{"venue":"v","stream":"btcusdt@trade","gap":{"first":3,"last":5,' + (
        b'"reason":"jump","since":null,"until":null}}'
    )


async def test_values_may_be_lines(kafka: str) -> None:
    log = Written(kafka, "?value=line")
    async with log.writing() as sink:
        await sink.write(trades(1, 1))
        await sink.flush()
    ((key, value),) = held(kafka, log.topic)
    assert key == b"BTCUSDT"
    assert value is not None
    assert re.fullmatch(
        rb'\{"venue":"v","stream":"btcusdt@trade","received":\d+\.\d+,"origin":"live",'
        rb'"data":\{"e":"trade","s":"BTCUSDT","t":1\}\}',
        value,
    )


async def test_whoever_opens_a_shard_fences_the_one_before(kafka: str) -> None:
    log = Written(kafka)
    with log.sink() as old:
        await old.positions()
        await old.write(trades(1, 10))
        await old.flush()
        await old.write(trades(11, 20))  # not committed yet
        async with log.writing() as new:
            with pytest.raises(Fenced, match="written by another process now"):
                await old.flush()
            with pytest.raises(Fenced):
                await old.write(trades(21, 22))
            await new.write(trades(11, 15))
            await new.flush()
    assert log.account() == (15, 15, [])


async def test_a_zombie_in_the_middle_of_a_transaction_is_told_who_writes(kafka: str) -> None:
    """More than the library sends at once: the error is heard while records are produced."""
    log = Written(kafka)
    old = log.transactions()
    old.make_positions_topic()
    await in_thread(old.open)
    await in_thread(lambda: old.attempt(trades(1, 5)))
    await in_thread(log.transactions().open)
    batch = trades(6, 60_000)
    with pytest.raises(Unavailable):  # heard in the midst of producing
        await in_thread(lambda: old.attempt(batch))
    with pytest.raises(Fenced, match="written by another process now"):
        await in_thread(lambda: old.attempt(batch))
    assert log.account() == (5, 5, [])


async def test_what_was_abandoned_is_not_overtaken_by_what_waited_for_room(kafka: str) -> None:
    log = Written(kafka)
    for _ in range(10):  # whoever is woken first
        async with log.writing(interval_s=60, buffer_bytes=1) as sink:
            await sink.write(trades(1, 10))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sink.write, trades(11, 20))
                await trio.testing.wait_all_tasks_blocked()
                left = sink.abandon()
            assert [event.data.trade_id for event in left] == list(range(1, 11))
            assert sink.whole == 0
            await sink.flush()
    assert log.account() == (0, None, [])


async def test_a_writer_that_waits_for_room_hears_that_the_end_was_too_slow(
    own_kafka: KafkaNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "FLUSH_TIMEOUT_S", 1.0)
    log = Written(own_kafka.address)
    with log.sink(buffer_bytes=1) as sink:
        await sink.positions()
        await sink.write(trades(1, 10))
        await in_thread(own_kafka.stop)
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(SinkError, match="10 messages are not in Kafka"):
                    await sink.write(trades(11, 20))

            nursery.start_soon(wait)
            with trio.fail_after(10), pytest.raises(SinkError):
                await sink.flush()
        await sink.aclose()


async def test_a_transaction_that_was_left_is_not_seen(kafka: str) -> None:
    log = Written(kafka)
    old = log.transactions()
    old.make_positions_topic()
    await in_thread(old.open)
    await in_thread(lambda: old.attempt(trades(1, 5)))
    producer = old._producer
    assert producer is not None
    await in_thread(lambda: old._produce(producer, trades(6, 9)))
    producer.flush(PATIENCE_S)  # the broker has them, in a transaction without an end
    standing = await trio.to_thread.run_sync(log.transactions().open)
    assert standing.positions[VENUE, STREAM].position == 5
    assert log.account() == (5, 5, [])


async def test_a_commit_of_which_nothing_was_heard_is_known_by_what_the_log_says(
    kafka: str,
) -> None:
    """The producer is gone, and its last transaction may or may not be there."""
    log = Written(kafka)
    writer = log.transactions()
    writer.make_positions_topic()
    await in_thread(writer.open)
    batch = trades(1, 5)
    for whole in (True, False):
        producer = writer._producer
        assert producer is not None
        before = writer._owner
        await in_thread(lambda: writer._produce(producer, batch))  # noqa: B023 - awaited here
        if whole:
            await in_thread(lambda: producer.commit_transaction(PATIENCE_S))  # noqa: B023
        writer.close()
        await in_thread(lambda: writer.attempt(batch))  # noqa: B023
        assert writer._owner.transactions == before.transactions + 1
        batch = trades(batch[-1].data.trade_id + 1, batch[-1].data.trade_id + 5)
    assert log.account() == (10, 10, [])


async def test_a_group_with_another_number_of_shards_is_refused(kafka: str) -> None:
    log = Written(kafka)
    await in_thread(log.transactions(shards=3).make_positions_topic)
    with pytest.raises(ConfigError, match="was made for 3 shards, and these are 1; go on with"):
        await log.sink().positions()


async def test_a_positions_topic_of_somebody_else_is_refused(kafka: str) -> None:
    log = Written(kafka)
    await in_thread(log.transactions().make_positions_topic)
    fill(kafka, f"{log.group}.positions", [(b"key", b"something else")])
    with pytest.raises(SinkError, match=r"none of k2trio's .* name another GROUP"):
        await log.sink().positions()


async def test_a_broker_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k2trio.kafka.cluster.ANSWER_TIMEOUT_S", 1.0)
    with pytest.raises(SinkError, match=r"no broker of 127\.0\.0\.1:1 answered within 1 s"):
        await Written("127.0.0.1:1").sink().positions()


async def test_it_goes_on_when_the_broker_was_restarted(own_kafka: KafkaNode) -> None:
    log = Written(own_kafka.address)
    async with log.writing(interval_s=0.05) as sink:
        for first in range(1, 4001, 100):
            await sink.write(trades(first, first + 99))
            if first in (1001, 2501):
                # Once in order, and once as power cuts do it.
                await in_thread(own_kafka.stop if first == 1001 else own_kafka.kill)
                await in_thread(own_kafka.start)
        await in_thread(sink.sync)
    assert log.account() == (4000, 4000, [])
    assert [event for event, _ in log.told][-1] == "log_writes_again"


async def test_a_broker_that_sleeps_longer_than_a_transaction_lasts_loses_nothing(
    own_kafka: KafkaNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It aborts what it finds open then, and takes the producer for a zombie; nobody else writes,
    so it is not one.
    """
    monkeypatch.setattr(transactions_module, "TRANSACTION_TIMEOUT_S", 2.0)
    log = Written(own_kafka.address)
    writer = log.transactions()
    writer.make_positions_topic()
    await in_thread(writer.open)
    batch = trades(1, 5)
    producer = writer._producer
    assert producer is not None
    await in_thread(lambda: writer._produce(producer, batch))
    producer.flush(PATIENCE_S)
    await trio.sleep(6)  # the coordinator's own time
    failures = 0
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                await in_thread(lambda: writer.attempt(batch))
            except Unavailable:
                failures += 1
                await trio.sleep(0.1)
            else:
                break
    assert failures, "the broker took it as if nothing had been"
    assert log.account() == (5, 5, [])


async def test_a_writer_that_begins_anew_waits_for_a_broker_that_is_away(
    own_kafka: KafkaNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k2trio.kafka.positions_topic.READ_TIMEOUT_S", 1.0)
    log = Written(own_kafka.address)
    writer = log.transactions()
    writer.make_positions_topic()
    await in_thread(writer.open)
    writer.close()
    await in_thread(own_kafka.stop)
    with pytest.raises(Unavailable, match=r"cannot read .*\.positions at .* within 1 s"):
        await in_thread(lambda: writer.attempt(trades(1, 5)))
    await in_thread(own_kafka.start)
    monkeypatch.undo()
    await in_thread(lambda: writer.attempt(trades(1, 5)))
    assert log.account() == (5, 5, [])


async def test_memory_is_bounded_while_the_broker_is_away(own_kafka: KafkaNode) -> None:
    log = Written(own_kafka.address)
    room = 1 << 20
    async with log.writing(buffer_bytes=room) as sink:
        await sink.write(trades(1, 10))
        await in_thread(sink.sync)
        await in_thread(own_kafka.stop)
        number = 11
        with trio.move_on_after(3) as blocked:
            while True:
                await sink.write(trades(number, number + 99))
                number += 100
        assert blocked.cancelled_caught, "it took all of it"
        assert sink._bytes < 2 * room
        assert "Kafka does not take" in (sink.problem or "")
        assert sink.standing(trio.current_time()).lag_s > 1
        await in_thread(own_kafka.start)
        await in_thread(sink.sync)
        assert sink.problem is None
    assert log.account() == (number - 1, number - 1, [])


async def test_the_end_is_bounded_and_says_what_is_not_there(
    own_kafka: KafkaNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "FLUSH_TIMEOUT_S", 1.0)
    log = Written(own_kafka.address)
    with log.sink() as sink:
        await sink.positions()
        await sink.write(trades(1, 10))
        await in_thread(own_kafka.stop)
        with trio.fail_after(10), pytest.raises(SinkError, match="10 messages are not in Kafka"):
            await sink.flush()
        with pytest.raises(SinkError):
            await sink.write(trades(11, 12))


async def test_tls_and_a_login_come_from_the_file_of_properties(
    secured_kafka: tuple[KafkaNode, Credentials], ca_file: Path, tmp_path: Path
) -> None:
    node, login = secured_kafka
    file = tmp_path / "kafka.properties"
    file.write_text(
        f"security.protocol=SASL_SSL\nssl.ca.location={ca_file}\nsasl.mechanism=SCRAM-SHA-512\n"
        f"sasl.username={login.user}\nsasl.password={login.password}\n"
    )
    log = Written(node.secured_address, properties=load_properties(file), read_at=node.address)
    async with log.writing() as sink:
        await sink.write(trades(1, 10))
        await sink.flush()
    assert log.account() == (10, 10, [])


async def test_topics_that_are_there_are_written_as_they_are(kafka: str) -> None:
    log = Written(kafka)
    topic = new_topic(kafka, unique("mine"), partitions=2)
    log._url = type(log._url)(log._url.servers, topic)
    log.topic = topic
    async with log.writing() as sink:
        await sink.write(trades(1, 10))
        await sink.flush()
    assert log.account() == (10, 10, [])
