"""Outputs as people name them: understood, refused with a cure, and told apart from other files."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest

from k2trio.errors import ConfigError
from k2trio.kafka_urls import parse_kafka_url
from k2trio.loading import load_settings
from k2trio.rotation import Mark, Names, Rotation, parse_period
from k2trio.targets import Form, parse_target

UNDERSTOOD = [
    ("-", Form.STANDARD_OUTPUT, None),
    ("out.jsonl", Form.LINES, "out.jsonl"),
    ("/var/data/out", Form.LINES, "/var/data/out"),
    ("out.jsonl.zst", Form.ZSTD, "out.jsonl.zst"),
    ("parquet:set", Form.DATASET, "set"),
    ("parquet:/data/set/", Form.DATASET, "/data/set"),
    ("parquet:/", Form.DATASET, "/"),
    ("parquet:s3://my-bucket", Form.DATASET, None),
    ("parquet:s3://my-bucket/deep/prefix/", Form.DATASET, None),
]


@pytest.mark.parametrize(("text", "form", "path"), UNDERSTOOD, ids=[row[0] for row in UNDERSTOOD])
def test_a_target_is_what_its_text_says(text: str, form: Form, path: str | None) -> None:
    target = parse_target(text)
    assert target.form is form
    assert target.path == (None if path is None else Path(path))
    assert parse_target(str(target)) == target
    assert target.remote == ("s3:" in text)
    assert (target.file is not None) == (form in (Form.LINES, Form.ZSTD))


REFUSED = [
    ("parquet:", "names no folder; write parquet:FOLDER"),
    ("parquet:s3://", "is no bucket; write parquet:s3://BUCKET/PREFIX"),
    ("parquet:s3://UPPER/x", "is no bucket"),
    ("parquet:gs://bucket", "is no bucket"),
    ("s3://bucket/x", "did you mean parquet:s3://bucket/x?"),
    ("https://example.com/x", "is no file; name a file"),
    ("out.parquet", "did you mean parquet:out?"),
    ("out.zst", "did you mean out.jsonl.zst?"),
    ("out.json.zst", "did you mean out.jsonl.zst?"),
    ("out.jsonl.zstd", "did you mean out.jsonl.zst?"),
]


@pytest.mark.parametrize(("text", "cure"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_no_target_is_refused_with_a_cure(text: str, cure: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(output=text)
    assert str(refused.value).startswith(f"K2_BINANCE_OUTPUT: {text!r} ")
    assert cure in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "parquet:s3://key:hunter2@bucket",
        "parquet:s3://key:hun/ter2@bucket/x",
        "s3://key:hunter2@bucket/x",
        "https://u:hunter2@host",
        "HTTPS://hunter2@host/x",
        "https://u:hunter2,x@host",
        "parquet:s3://u:hunter2,x@host",
        "KAFKA://u:hunter2@b:9092/t",
    ],
)
def test_what_may_be_a_password_in_a_url_is_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(output=text)
    told = "".join(traceback.format_exception(refused.value))
    assert "hunter2" not in told
    assert "ter2" not in told


def test_a_prefix_in_a_bucket_may_hold_what_parts_a_password_off_elsewhere() -> None:
    assert load_settings(output="parquet:s3://bucket/a:b@c", journal="j").targets[0].remote
    with pytest.raises(ConfigError, match=r"did you mean parquet:s3://bucket/a@b\?"):
        load_settings(output="s3://bucket/a@b")


@pytest.mark.parametrize(
    "given",
    [
        "a.jsonl, parquet:set",
        '["a.jsonl", "parquet:set"]',
        ["a.jsonl", "parquet:set/"],
        ["a.jsonl,parquet:set"],
        [Path("a.jsonl"), "parquet:set"],
    ],
    ids=str,
)
def test_several_are_given_as_other_lists_are(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(output=given).output == ("a.jsonl", "parquet:set")
    if isinstance(given, str):
        monkeypatch.setenv("K2_BINANCE_OUTPUT", given)
        assert load_settings().output == ("a.jsonl", "parquet:set")


def test_a_path_of_code_may_have_a_comma_in_it_and_in_json_too() -> None:
    assert load_settings(output=Path("a,b.jsonl")).output == ("a,b.jsonl",)
    assert load_settings(output='["a,b.jsonl"]').output == ("a,b.jsonl",)


TOGETHER: list[tuple[dict[str, Any], str]] = [
    ({"output": ["-", "-"]}, "OUTPUT names standard output twice"),
    ({"output": ["parquet:set"], "book_levels": 5}, "parquet:set takes messages, and BOOK_LEVELS"),
    ({"output": ["a", "./a"]}, "OUTPUT names a twice"),
    ({"output": ["parquet:set", "parquet:set/"]}, "OUTPUT names set twice"),
    ({"output": ["b", "a"], "state": "a"}, "OUTPUT and STATE are both a"),
    ({"output": "parquet:s3://bucket"}, "needs a folder of this machine for its journal: set J"),
    (
        {"output": ["parquet:s3://one", "parquet:s3://two"], "journal": "j"},
        "need a JOURNAL each; run two programs",
    ),
    ({"output": ["o", "o.7"], "output_rotate_bytes": 1}, "OUTPUT o.7 is a name that OUTPUT may"),
    (
        {"output": "o.jsonl.zst", "coverage": "o.2.jsonl.zst", "output_rotate_bytes": 1},
        "COVERAGE o.2.jsonl.zst is a name that OUTPUT may rotate to",
    ),
    (
        {"output": "o", "state": "o.20261126T130000Z", "output_rotate": "1h"},
        "STATE o.20261126T130000Z is a name that OUTPUT may rotate to",
    ),
]


@pytest.mark.parametrize(("values", "complaint"), TOGETHER, ids=[row[1] for row in TOGETHER])
def test_outputs_that_do_not_go_together_are_refused(
    values: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(**values)
    assert complaint in str(refused.value)


def test_outputs_that_only_look_alike_go_together() -> None:
    output = ["a.jsonl", "a.jsonl.zst", "a.x", "b.1", "parquet:a", "parquet:s3://bucket"]
    settings = load_settings(output=output, output_rotate_bytes=1, output_keep=2, journal="j")
    assert [str(target) for target in settings.targets] == output
    assert settings.rotation == Rotation(max_bytes=1, keep=2)


# -- periods and names ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("1m", 60), ("15m", 900), ("900s", 900), ("1h", 3600), ("1d", 86_400)]
)
def test_a_period_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert parse_period(text) == seconds
    assert load_settings(output_rotate=text).rotation.period_s == seconds


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("1", "is no time; write one as 15m, 1h or 1d"),
        ("1 hour", "is no time"),
        ("h", "is no time"),
        ("0h", "does not divide a day"),
        ("30s", "does not divide a day; choose one as 1m"),
        ("7h", "does not divide a day"),
        ("2d", "does not divide a day"),
    ],
)
def test_what_is_no_period_is_refused_with_a_cure(text: str, cure: str) -> None:
    with pytest.raises(ConfigError, match=r"^K2_BINANCE_OUTPUT_ROTATE: ") as refused:
        load_settings(output_rotate=text)
    assert cure in str(refused.value)


@pytest.mark.parametrize(
    ("path", "timed", "mark", "name"),
    [
        ("out.jsonl", False, Mark("", 1), "out.jsonl.1"),
        ("out.jsonl", True, Mark("20261126T130000Z", 1), "out.jsonl.20261126T130000Z"),
        ("out.jsonl", True, Mark("20261126T130000Z", 2), "out.jsonl.20261126T130000Z.2"),
        ("out.jsonl.zst", False, Mark("", 12), "out.12.jsonl.zst"),
        ("out.jsonl.zst", True, Mark("20261126T130000Z", 3), "out.20261126T130000Z.3.jsonl.zst"),
    ],
)
def test_a_finished_file_is_recognised_by_its_name(
    path: str, timed: bool, mark: Mark, name: str
) -> None:
    names = Names(Path("/x") / path, timed=timed)
    assert names.path_of(mark) == Path("/x") / name
    assert names.mark_of(name) == mark
    for other in (path, f"{name}.bak", f"a{name}", name.replace("out", "in"), f"{name}\n"):
        assert names.mark_of(other) is None


@pytest.mark.parametrize("name", ["o.01", "o.0", "o.-1", "o.1x", "o.1.1", "o.20261126", "o.x.1"])
def test_what_only_looks_like_one_is_nobodys(name: str) -> None:
    numbered = name == "o.20261126"
    assert (Names(Path("o"), timed=False).mark_of(name) is not None) == numbered
    assert Names(Path("o"), timed=True).mark_of(name) is None


BROKERS = [
    ("kafka://b1:9092/trades", ("b1:9092",), "trades", "payload"),
    (
        "kafka://b1:9092,b2:9093/m.{kind}.{venue}",
        ("b1:9092", "b2:9093"),
        "m.{kind}.{venue}",
        "payload",
    ),
    ("kafka://[::1]:9092/a?value=line", ("[::1]:9092",), "a", "line"),
]


@pytest.mark.parametrize(("text", "servers", "topic", "value"), BROKERS)
def test_kafka_urls_name_brokers_and_topics(
    text: str, servers: tuple[str, ...], topic: str, value: str
) -> None:
    (target,) = load_settings(output=text).targets
    assert target.form is Form.KAFKA
    assert target.remote
    url = parse_kafka_url(target.where)
    assert (url.servers, url.topic, url.value) == (servers, topic, value)
    assert str(url) == text


def test_commas_part_brokers_and_outputs() -> None:
    text = "a.jsonl,kafka://b1:9092,b2:9092,b3:9092/topic,b.jsonl"
    names = [str(target) for target in load_settings(output=text).targets]
    assert names == ["a.jsonl", "kafka://b1:9092,b2:9092,b3:9092/topic", "b.jsonl"]


def test_topics_are_filled_in_and_found_again() -> None:
    url = parse_kafka_url("kafka://b:1/market.{kind}.{venue}")
    topic = url.topic_of("trade", "binance.com")
    assert topic == "market.trade.binance.com"
    found = url.pattern.match(topic)
    assert found is not None
    assert found.groupdict() == {"kind": "trade", "venue": "binance.com"}
    assert url.topic_of("trade", "[::1]") == "market.trade.___1_"


@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("kafka://b1:9092", "names no topic"),
        ("kafka://b1/x", "'b1' is no broker; write HOST:PORT"),
        ("kafka://b1:99999/x", "'b1:99999' is no broker"),
        ("kafka://b1:1/x y", "is no name of a topic"),
        ("kafka://b1:1/{symbol}", "is no name of a topic"),
        ("kafka://b1:1/x?value=json", "write ?value=payload or ?value=line"),
    ],
)
def test_what_is_no_kafka_url_is_refused_with_a_cure(url: str, cure: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(output=url)
    assert cure in str(refused.value)


def test_a_password_in_a_kafka_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(output="kafka://user:secret@b1:9092/x")
    assert "KAFKA_PROPERTIES" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_shards_want_kafka_and_nothing_else() -> None:
    for output in ("-", "kafka://b:1/x,out.jsonl"):
        with pytest.raises(ConfigError, match="SHARDS parts the streams among processes"):
            load_settings(output=output, shards=4)
    assert load_settings(output="kafka://b:1/x", shards=4).shards == 4
    with pytest.raises(ConfigError, match="a run writes to one Kafka"):
        load_settings(output="kafka://b:1/x,kafka://b:1/y")
