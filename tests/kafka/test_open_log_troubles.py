"""A log is read back while its broker restarts, hangs or dies, and from one that wants a login."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import recording as rec
import trio
from logged import Log, in_thread, read, take
from processes import k2trio as run_program

import k2trio
from k2trio.kafka import client, following
from k2trio.kafka.client import LogClient
from k2trio.kafka_urls import parse_kafka_url

if TYPE_CHECKING:
    from pathlib import Path

    from kafkanode import Credentials, KafkaNode

pytestmark = pytest.mark.slow


async def test_a_broker_may_go_and_come_back_but_not_stay_away(
    own_kafka: KafkaNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "REFRESH_S", 0.5)
    log = Log(own_kafka.address, "all", partitions=2)
    trades = rec.trades(1, 40)
    log.write(trades[:20])
    async with k2trio.open_log(log.url, follow=True) as opened:
        assert await take(opened, 20) == trades[:20]
        await in_thread(own_kafka.restart)
        await in_thread(log.write, trades[20:])
        assert await take(opened, 20) == trades[20:]

        monkeypatch.setattr(following, "SILENCE_TIMEOUT_S", 2.0)
        await trio.sleep(2 * client.REQUEST_S)  # whoever asks now does so by that time-out
        await in_thread(own_kafka.kill)
        began = trio.current_time()
        with pytest.raises(k2trio.BrokerUnavailable, match=own_kafka.address):
            await anext(opened)
        assert trio.current_time() - began < 20


async def test_a_broker_that_was_restarted_is_asked_anew(own_kafka: KafkaNode) -> None:
    log = Log(own_kafka.address, "all", partitions=2)
    log.write(rec.trades(1, 20))
    asking = LogClient(parse_kafka_url(log.url), {})
    try:
        before = asking.stretches(asking.partitions())
        await in_thread(own_kafka.restart)
        assert await in_thread(asking.stretches, asking.partitions()) == before
        assert sum(stretch.end for stretch in before) == 21
    finally:
        asking.close()


async def test_a_broker_that_hangs_in_the_midst_of_what_is_there_is_told(
    own_kafka: KafkaNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SILENCE_TIMEOUT_S", 2.0)
    log = Log(own_kafka.address, "all", partitions=1)
    trades = rec.trades(1, 40_000)
    log.write(trades)
    async with k2trio.open_log(log.url) as opened:
        found = [*await take(opened, 10)]
        own_kafka.pause()

        async def read_on() -> None:
            async for item in opened:
                found.append(item)  # noqa: PERF401 - it ends in an error

        with trio.fail_after(30), pytest.raises(k2trio.BrokerUnavailable, match="read what is th"):
            await read_on()
    assert found == trades[: len(found)]  # what had been fetched
    own_kafka.resume()
    assert await read(log.url) == trades


async def test_tls_and_a_login_come_from_a_file_and_no_secret_is_told(
    secured_kafka: tuple[KafkaNode, Credentials],
    ca_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node, credentials = secured_kafka
    log = Log(node.address, read_at=node.secured_address)
    trades = rec.trades(1, 20)
    log.write(trades)
    path = tmp_path / "kafka.properties"
    lines = [
        "# who we are",
        "security.protocol = SASL_SSL",
        "sasl.mechanism=SCRAM-SHA-512",
        f"sasl.username={credentials.user}",
        f"ssl.ca.location={ca_file}",
        "",
    ]
    path.write_text("\n".join([*lines, f"sasl.password={credentials.password}"]))
    assert await read(log.url, properties=path) == trades
    done = await in_thread(
        run_program, "verify", "--json", "--kafka-properties", str(path), log.url
    )
    assert done.returncode == 0, done.stderr
    assert [row["messages"] for row in json.loads(done.stdout)["streams"]] == [20]

    monkeypatch.setattr(client, "ANSWER_TIMEOUT_S", 5.0)
    path.write_text("\n".join([*lines, "sasl.password=hunter2"]))
    with pytest.raises(k2trio.BrokerUnavailable, match="Authentication failed") as caught:
        await read(log.url, properties=path)
    assert node.secured_address in str(caught.value)
    assert "hunter2" not in repr(caught.value)
    with pytest.raises(k2trio.BrokerUnavailable):  # TLS, of which it knows nothing
        await read(log.url)
    done = await in_thread(run_program, "verify", "--kafka-properties", str(path), log.url)
    assert done.returncode == 2
    assert "hunter2" not in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1
