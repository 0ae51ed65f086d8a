"""What the upgrade asks for."""

from __future__ import annotations

from k2trio.wire.upgrade import MAX_TARGET_BYTES, stream_target


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
