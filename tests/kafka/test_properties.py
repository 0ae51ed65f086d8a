"""Files of Kafka properties: what is taken, what is refused, and that no value is repeated."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from k2trio.errors import ConfigError
from k2trio.kafka.properties import OURS, check_properties, load_properties, without_values


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kafka.properties"


def test_lines_remarks_and_white_space(file: Path) -> None:
    file.write_text(
        "# TLS\n\nsecurity.protocol = SASL_SSL\r\n  sasl.password=p=a#ss word \n"
        "log_level=3\nlinger.ms=\n"
    )
    assert load_properties(file) == {
        "security.protocol": "SASL_SSL",
        "sasl.password": "p=a#ss word",
        "log_level": "3",
        "linger.ms": "",
    }


def test_no_file_is_no_properties() -> None:
    assert load_properties(None) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a.b=1\nhunter2\n", ":2 has no '='; write name=value"),
        ("=hunter2\n", ":1 names no property"),
        ("hunter2 secret=1\n", ":1 names no property"),
        ("Hunter2=1\n", ":1 names no property"),
        ("a.b=hunter2\n#\na.b=hunter3\n", ":3 sets a.b a second time"),
        ("acks=hunter2\n", ":1 sets acks, which is not free: .*; leave it out"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_its_value(
    file: Path, text: str, told: str
) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=told) as caught:
        load_properties(file)
    assert str(caught.value).startswith(str(file))
    assert "hunter" not in str(caught.value).lower()


@pytest.mark.parametrize("name", OURS)
def test_what_k2trio_sets_is_refused(file: Path, name: str) -> None:
    file.write_text(f"{name} = x\n")
    with pytest.raises(ConfigError, match=rf":1 sets {name}, which is not free: {OURS[name]}"):
        load_properties(file)
    with pytest.raises(ConfigError, match=rf"^properties sets {name}"):
        check_properties({name: "x"})


@pytest.mark.parametrize("given", ["sasl.password=hunter2", "a=hunter2/b", "a=hunter2" * 100])
def test_a_property_in_place_of_the_file_is_not_repeated(given: str) -> None:
    with pytest.raises(ConfigError, match="a property itself goes into that file") as caught:
        load_properties(Path(given))
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_properties(file)


def test_a_file_that_is_no_text(file: Path) -> None:
    file.write_bytes(b"sasl.password=\xff\n")
    with pytest.raises(ConfigError, match="no text in UTF-8") as caught:
        load_properties(file)
    assert caught.value.__cause__ is None


def test_values_are_taken_out_of_what_the_library_says() -> None:
    said = 'Invalid value "hunter2" for "ssl.ca.location", hunter, ssl'
    assert (
        without_values(said, {"a": "hunter2", "b": "ssl", "c": "", "d": "hunter"})
        == 'Invalid value "***" for "ssl.ca.location", ***, ssl'
    )
