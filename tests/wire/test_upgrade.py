"""What the upgrade asks for."""

from __future__ import annotations

import pytest

from k2trio.wire.upgrade import (
    MAX_TARGET_BYTES,
    SHORT_TARGET_BYTES,
    is_refusal_of_length,
    stream_target,
)


def test_streams_go_into_the_url_while_they_fit() -> None:
    assert stream_target("/stream", ["a@trade", "b@depth5@100ms", "!ticker_1h@arr"]) == (
        "/stream?streams=a@trade/b@depth5@100ms/!ticker_1h@arr",
        (),
    )
    names = [f"symbol{number}@trade" for number in range(1000)]
    assert stream_target("/stream", names) == ("/stream", names)
    assert stream_target("/stream", []) == ("/stream", [])
    assert len(stream_target("/stream", names[:200])[0]) <= MAX_TARGET_BYTES


def test_names_are_percent_encoded_and_a_plus_is_no_space() -> None:
    target, _ = stream_target("/stream", ["币安@trade", "btcusdt@kline_1d@+08:00"])
    assert target == "/stream?streams=%E5%B8%81%E5%AE%89@trade/btcusdt@kline_1d@%2B08:00"


def test_where_long_urls_are_refused_few_streams_still_go_into_the_url() -> None:
    names = [f"symbol{number}@trade" for number in range(60)]
    assert stream_target("/stream", names[:5], long=False) == stream_target("/stream", names[:5])
    assert stream_target("/stream", names, long=False) == ("/stream", names)


@pytest.mark.parametrize("status", [400, 404, 413, 414, 431])
def test_a_refusal_may_be_for_the_length_of_the_url_only_if_it_is_long(status: int) -> None:
    assert is_refusal_of_length(status, "x" * (SHORT_TARGET_BYTES + 1))
    assert not is_refusal_of_length(status, "x" * SHORT_TARGET_BYTES)


@pytest.mark.parametrize("status", [401, 403, 418, 429, 451, 500, 503])
def test_other_refusals_have_other_reasons(status: int) -> None:
    assert not is_refusal_of_length(status, "x" * 4000)
