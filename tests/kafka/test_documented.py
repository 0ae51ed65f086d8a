"""The pages about Kafka tell what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import DOCS
from processes import k2trio

from k2trio.continuity.items import Gap, Outage, VenueChanged
from k2trio.engine.parting import shard_of
from k2trio.kafka.properties import OURS, load_properties
from k2trio.kafka.records import ITEM_NAMES, Recorder
from k2trio.kafka_urls import parse_kafka_url
from k2trio.market.decoder import Decoder
from k2trio.settings import Settings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
HOW_TO, *OTHERS = (
    (DOCS / name).read_text()
    for name in ("howto/kafka.md", "reference/kafka.md", "explanation/takeover.md")
)
TEXT = "\n".join([HOW_TO.partition("## Start it")[2].partition("## Reading it back")[0], *OTHERS])
TRADE = b'{"e":"trade","E":1700000000123,"s":"BTCUSDT","t":1,"p":"1","q":"1","T":1,"m":true}'


def section(title: str) -> str:
    return TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_every_header_of_a_record_is_told_and_no_other() -> None:
    recorder = Recorder(parse_kafka_url("kafka://b:1/market.{kind}.{venue}"))
    events, _ = Decoder("v").decode([b'{"stream":"btcusdt@trade","data":%b}' % TRADE], 1.5)
    gap = Gap("v", "btcusdt@trade", 1, 2, "not_repaired", 1.0, 2.0)
    headers = {name for item in (*events, gap) for name, _ in recorder.record(item)[3]}
    told = re.findall(r"^\| header (`.+?) \|", TEXT, re.MULTILINE)
    assert {name for row in told for name in re.findall(r"`(\w+)`", row)} == headers
    (row,) = re.findall(r"^\| header `item` \| (.+) \|$", TEXT, re.MULTILINE)
    assert set(ITEM_NAMES) == {Gap, Outage, VenueChanged}
    assert {name.decode() for name in ITEM_NAMES.values()} <= set(re.findall(r"`(\w+)`", row))


def test_the_example_of_properties_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```properties\n(.+?)```", TEXT, re.DOTALL)
    path = tmp_path / "kafka.properties"
    path.write_text(example)
    found = load_properties(path)
    assert found["sasl.username"] == "collector"
    for name in ("acks", "enable.idempotence", "transactional.id", "group.id"):
        assert name in OURS
        assert f"`{name}`" in section("TLS, SASL and other properties")


def test_settings_that_are_named_exist_with_the_defaults_that_are_told() -> None:
    known = {name.upper() for name in Settings.model_fields}
    assert set(re.findall(r"`([A-Z]+(?:_[A-Z]+)*)`", TEXT)) - {"SIGTERM", "SIGSTOP"} <= known
    default = {name: field.default for name, field in Settings.model_fields.items()}
    assert f"`KAFKA_SESSION_TIMEOUT` {default['kafka_session_timeout']} s" in TEXT
    assert f"`KAFKA_COMMIT_INTERVAL` ({default['kafka_commit_interval']} s)" in TEXT
    options = {f"--{name.replace('_', '-')}" for name in Settings.model_fields}
    assert set(re.findall(r"(?<=\s)--[a-z-]+", TEXT)) <= options | {"--output"}


def test_log_events_that_are_named_are_told_by_somebody() -> None:
    code = "".join(path.read_text() for path in (ROOT / "k2trio").rglob("*.py"))
    events = {"shards_given", "shard_taken_over", "shard_lost", "log_does_not_write",
              "log_writes_again", "not_committed"}  # fmt: skip
    for event in events:
        assert f'"{event}"' in code
        assert f"`{event}`" in TEXT


@pytest.mark.parametrize(("stream", "shard"), [("btcusdt@trade", 3), ("ethusdt@depth@100ms", 4)])
def test_the_shard_of_a_stream_never_changes(stream: str, shard: int) -> None:
    assert shard_of(stream, 8) == shard


def test_a_start_without_brokers_ends_with_the_exit_code_that_is_told() -> None:
    end = k2trio(
        "run", WEBSOCKET_URL="ws://127.0.0.1:1/stream", FAILOVER_URLS="", METRICS_PORT="0",
        OUTPUT="kafka://127.0.0.1:1/t", SHARDS="2", LOG_LEVEL="error",
    )  # fmt: skip
    assert end.returncode == 2
    assert "no broker of 127.0.0.1:1 answered" in end.stderr.splitlines()[-1]
    assert re.search(r"^\| 2 \| could not start: no broker answers", TEXT, re.MULTILINE)
