"""Settings: every knob from the environment and from code, bounded, explained, secrets kept."""

from __future__ import annotations

import itertools
import json
import math
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from k2trio.errors import ConfigError
from k2trio.loading import check_environment, load_settings
from k2trio.loopback import is_loopback
from k2trio.settings import ENV_PREFIX, Settings

DEFAULTS: dict[str, Any] = {
    "product": None,
    "websocket_url": "wss://stream.binance.com:9443/stream",
    "failover_urls": (
        "wss://stream.binance.com:443/stream",
        "wss://data-stream.binance.vision/stream",
        "wss://stream.binance.us:9443/stream",
    ),
    "symbols": ("BTCUSDT", "ETHUSDT"),
    "streams": (),
    "reconnect_delay": 5,
    "max_reconnect_delay": 60,
    "reconnect_jitter": 0.2,
    "max_reconnect_attempts": 10,
    "health_check_interval": 30,
    "health_check_timeout": 60,
    "enable_circuit_breaker": True,
    "failure_threshold": 3,
    "success_threshold": 2,
    "recovery_timeout": 30,
    "redundancy": 1,
    "rest_urls": (),
    "rotate_after": 82_800,
    "metrics_host": "127.0.0.1",
    "metrics_port": 9090,
    "log_level": "info",
    "log_format": "console",
    "ca_file": None,
    # Promised elsewhere in the rules of behaviour:
    "stable_after": 5,
    "transport_timeout": 45,
    "max_decoded_bytes": 128 << 20,
    "busy_poll": 0,
    "arbitration_hold": 0.2,
    "repair_hold": 10,
    "depth_snapshot_levels": 1000,
    "book_audit_interval": 300,
    "book_levels": 0,
    "book_interval": 1,
    "kafka_commit_interval": 0.1,
    "group": "k2trio",
    "shards": 0,
    "standby": "cold",
    "max_message_bytes": 1 << 20,
    "allow_insecure": False,
    "proxy": None,
}
"""The documented defaults: changing one of these changes what users rely on."""

# Per field: what an environment holds, and what it means.
GIVEN: dict[str, tuple[str, Any]] = {
    "websocket_url": ("wss://example.com:1/stream/", "wss://example.com:1/stream"),
    "failover_urls": (
        "wss://a.com/stream, wss://b.com/x/stream",
        ("wss://a.com/stream", "wss://b.com/x/stream"),
    ),
    "product": ("spot", "spot"),
    "time_unit": ("us", "us"),
    "symbols": ("btcusdt, BNBUSDT", ("BTCUSDT", "BNBUSDT")),
    "streams": ("btcusdt@trade,ETHUSDT@depth@100ms", ("btcusdt@trade", "ethusdt@depth@100ms")),
    "reconnect_delay": ("1.5", 1.5),
    "max_reconnect_delay": ("90", 90),
    "reconnect_jitter": ("0", 0),
    "max_reconnect_attempts": ("0", 0),
    "stable_after": ("2", 2),
    "handshake_timeout": ("3", 3),
    "close_timeout": ("1", 1),
    "health_check_interval": ("10", 10),
    "health_check_timeout": ("0", 0),
    "transport_timeout": ("20", 20),
    "enable_circuit_breaker": ("false", False),
    "failure_threshold": ("1", 1),
    "success_threshold": ("1", 1),
    "recovery_timeout": ("7", 7),
    "redundancy": ("2", 2),
    "rest_urls": ("https://a.com,https://b.com/", ("https://a.com", "https://b.com")),
    "rest_weight_limit": ("100", 100),
    "shared_budget": ("/run/k2trio/budget", Path("/run/k2trio/budget")),
    "repair_hold": ("0", 0),
    "depth_snapshot_levels": ("0", 0),
    "book_audit_interval": ("60", 60),
    "book_levels": ("20", 20),
    "book_interval": ("0.25", 0.25),
    "repair_concurrency": ("2", 2),
    "overflow": ("drop", "drop"),
    "state": ("state.json", Path("state.json")),
    "state_interval": ("2", 2),
    "resume_limit": ("5", 5),
    "coverage": ("coverage.json", Path("coverage.json")),
    "rotate_after": ("3600", 3600),
    "rotation_overlap": ("5", 5),
    "arbitration_hold": ("0.5", 0.5),
    "max_held_messages": ("10", 10),
    "list_subscriptions_interval": ("60", 60),
    "max_message_bytes": ("2048", 2048),
    "max_buffered_bytes": ("65536", 65536),
    "max_buffered_messages": ("100", 100),
    "max_decoded_bytes": ("9999999", 9_999_999),
    "busy_poll": ("0.001", 0.001),
    "streams_per_connection": ("10", 10),
    "output": ("out.jsonl, parquet:set/", ("out.jsonl", "parquet:set")),
    "output_rotate": ("1h", "1h"),
    "output_keep": ("3", 3),
    "journal": ("journal", Path("journal")),
    "output_rotate_bytes": ("1000", 1000),
    "kafka_properties": ("kafka.properties", Path("kafka.properties")),
    "kafka_commit_interval": ("0.5", 0.5),
    "kafka_commit_records": ("100", 100),
    "kafka_buffer_bytes": ("9999999", 9_999_999),
    "kafka_session_timeout": ("6", 6),
    "group": ("desk-1", "desk-1"),
    "standby": ("hot", "hot"),
    "hot_buffer": ("30", 30),
    "hot_buffer_bytes": ("9999999", 9_999_999),
    "metrics_host": ("0.0.0.0", "0.0.0.0"),
    "metrics_port": ("0", 0),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
    "ca_file": (__file__, Path(__file__)),
    "proxy": ("http://u:p@proxy:3128", SecretStr("http://u:p@proxy:3128")),
    "allow_insecure": ("1", True),
}  # fmt: skip


def problem(**values: Any) -> str:
    """The one-line complaint about the values."""
    with pytest.raises(ConfigError) as error:
        load_settings(**values)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("field", DEFAULTS)
def test_defaults_are_the_documented_ones(field: str) -> None:
    assert getattr(load_settings(), field) == DEFAULTS[field]


def test_every_field_is_explained_and_tested_here() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
    # Shards want an output, too: see test_targets.py; for files, test_config_file.py.
    assert set(Settings.model_fields) - set(GIVEN) == {"shards", "config", "proxy_file"}


@pytest.mark.parametrize("field", GIVEN)
def test_every_field_is_read_from_the_environment(
    field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, meaning = GIVEN[field]
    assert getattr(load_settings(), field) != meaning
    monkeypatch.setenv(ENV_PREFIX + field.upper(), text)
    assert getattr(load_settings(), field) == meaning


@pytest.mark.parametrize("field", GIVEN)
def test_every_field_is_taken_from_code_which_wins(
    field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV_PREFIX + field.upper(), "nonsense, and not looked at")
    _, meaning = GIVEN[field]
    assert getattr(load_settings(**{field: meaning}), field) == meaning


# -- lists ----------------------------------------------------------------------------------------

LISTS = [
    "BTCUSDT,ETHUSDT",
    " btcusdt , ethusdt ,",
    '["BTCUSDT","ETHUSDT"]',
    ' [ "btcusdt" , "ethusdt" ]',
]


@pytest.mark.parametrize("text", LISTS)
def test_lists_with_commas_and_as_json_are_alike(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K2_BINANCE_SYMBOLS", text)
    assert load_settings().symbols == ("BTCUSDT", "ETHUSDT")


@pytest.mark.parametrize(
    "given",
    [
        ["BTCUSDT,ETHUSDT"],
        ["BTCUSDT", "ETHUSDT"],
        ['["BTCUSDT"]', "ETHUSDT"],
        ("BTCUSDT", "ETHUSDT"),
    ],
)
def test_a_repeated_flag_may_hold_lists(given: Any) -> None:
    assert load_settings(symbols=given).symbols == ("BTCUSDT", "ETHUSDT")


def test_an_empty_list_of_failovers_means_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K2_BINANCE_FAILOVER_URLS", "")
    assert load_settings().endpoint_urls == ("wss://stream.binance.com:9443/stream",)


@pytest.mark.parametrize("text", ['["BTCUSDT"', "[" * 100_000, '["BTCUSDT",]'])
def test_broken_json_is_explained(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K2_BINANCE_SYMBOLS", text)
    assert problem().startswith("K2_BINANCE_SYMBOLS: looks like a JSON list but is not one")


def test_an_empty_variable_for_a_file_means_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OUTPUT", "CA_FILE", "STATE", "COVERAGE"):
        monkeypatch.setenv(ENV_PREFIX + name, "")
    settings = load_settings()
    assert settings.output == ("-",)
    assert settings.ca_file is settings.state is settings.coverage is None


# -- bounds ---------------------------------------------------------------------------------------

OUT_OF_BOUNDS: list[tuple[str, Any]] = [
    ("reconnect_delay", 0),
    ("reconnect_delay", -1),
    ("reconnect_delay", math.nan),
    ("reconnect_delay", math.inf),
    ("reconnect_delay", "soon"),
    ("max_reconnect_delay", 1e9),
    ("reconnect_jitter", 0.51),
    ("reconnect_jitter", -0.1),
    ("max_reconnect_attempts", -1),
    ("max_reconnect_attempts", 1.5),
    ("stable_after", -1),
    ("handshake_timeout", 0),
    ("close_timeout", 0),
    ("health_check_interval", 0),
    ("health_check_timeout", -1),
    ("transport_timeout", 0),
    ("failure_threshold", 0),
    ("success_threshold", 0),
    ("recovery_timeout", 0),
    ("redundancy", 3),
    ("rotate_after", 86_401),
    ("rotate_after", math.nan),
    ("rotation_overlap", 0),
    ("arbitration_hold", -1),
    ("max_held_messages", 0),
    ("max_message_bytes", 1),
    ("max_buffered_bytes", 1),
    ("max_buffered_messages", 0),
    ("max_decoded_bytes", 1000),
    ("busy_poll", -0.1),
    ("busy_poll", 1.5),
    ("streams_per_connection", 0),
    ("streams_per_connection", 1025),
    ("output_rotate_bytes", -1),
    ("metrics_port", 65536),
    ("metrics_port", -1),
    ("log_level", "loud"),
    ("log_format", "xml"),
    ("enable_circuit_breaker", "perhaps"),
]


@pytest.mark.parametrize(("field", "value"), OUT_OF_BOUNDS, ids=str)
def test_what_is_out_of_bounds_is_refused_by_name(field: str, value: Any) -> None:
    complaint = problem(**{field: value})
    assert complaint.startswith(f"{ENV_PREFIX}{field.upper()}: ")
    assert f"(got {str(value)!r})" in complaint


TOGETHER: list[tuple[dict[str, Any], str]] = [
    ({"reconnect_delay": 100}, "MAX_RECONNECT_DELAY must be at least RECONNECT_DELAY"),
    ({"symbols": ()}, "name at least one of SYMBOLS or STREAMS"),
    (
        {"health_check_timeout": 10},
        "HEALTH_CHECK_INTERVAL must not exceed HEALTH_CHECK_TIMEOUT",
    ),
    ({"ca_file": "/nowhere.pem"}, "CA_FILE /nowhere.pem is not a file"),
    ({"failover_urls": ["wss://stream.binance.com:9443/stream"]}, "a host and port twice"),
    ({"failover_urls": ["wss://STREAM.binance.com:9443/other/stream"]}, "a host and port twice"),
    ({"failover_urls": ["wss://a.com/stream", "wss://a.com:443/stream"]}, "a host and port twice"),
]


@pytest.mark.parametrize(("values", "complaint"), TOGETHER, ids=[t[1][:40] for t in TOGETHER])
def test_what_does_not_fit_together_is_refused(values: dict[str, Any], complaint: str) -> None:
    assert complaint in problem(**values)


def test_a_health_check_that_is_off_constrains_nothing() -> None:
    assert load_settings(health_check_timeout=0, health_check_interval=60).health_check_timeout == 0


def test_every_wrong_field_has_its_line() -> None:
    with pytest.raises(ConfigError) as error:
        load_settings(metrics_port=-1, symbols="btc/usdt", streams="btcusdt@nothing", log_level="x")
    names = [line.partition(":")[0] for line in str(error.value).splitlines()]
    assert names == [f"K2_BINANCE_{n}" for n in ("SYMBOLS", "STREAMS", "METRICS_PORT", "LOG_LEVEL")]


SLIPS: list[tuple[str, str, str]] = [
    ("symbols", "BTCUSDT;ETHUSDT", "did you mean BTCUSDT,ETHUSDT?"),
    ("symbols", "btcusdt ethusdt", "did you mean BTCUSDT,ETHUSDT?"),
    ("symbols", "btc-usdt", "did you mean BTCUSDT?"),
    ("symbols", "BTC_USDT", "did you mean BTCUSDT?"),
    ("symbols", "BTC/USDT", "did you mean BTCUSDT?"),
    ("symbols", "BTCUSDT@trade", "name streams in STREAMS"),
    ("streams", "aggtrade", "did you mean btcusdt@aggTrade?"),
    ("streams", "ethusdt@aggtrade", "did you mean ethusdt@aggTrade?"),
    ("streams", "BTCUSDT@TRADE", "did you mean btcusdt@trade?"),
    ("streams", "ETHUSDT", "did you mean ethusdt@trade?"),
    ("streams", "btc-usdt@trade", "did you mean btcusdt@trade?"),
    ("streams", "btcusdt@kline1m", "did you mean btcusdt@kline_1m?"),
    ("streams", "btcusdt@depth@250ms", "did you mean btcusdt@depth@100ms?"),
    ("streams", "!miniticker@arr", "did you mean !miniTicker@arr?"),
    ("streams", "btcusdt@trade/ethusdt@trade", "did you mean btcusdt@trade,ethusdt@trade?"),
    ("streams", "btcusdt@nothing", "known are trade, aggTrade, "),
]


@pytest.mark.parametrize(("field", "given", "cure"), SLIPS, ids=[slip[1] for slip in SLIPS])
def test_a_slip_is_an_error_that_says_what_may_have_been_meant(
    field: str, given: str, cure: str
) -> None:
    complaint = problem(**{field: given})
    assert complaint.startswith(f"{ENV_PREFIX}{field.upper()}: {given!r} is not a")
    assert cure in complaint
    if cure.startswith("did you mean"):
        meant = cure.removeprefix("did you mean ").rstrip("?")
        assert getattr(load_settings(**{field: meant}), field) == tuple(meant.split(","))


def test_what_is_too_long_to_have_been_typed_is_not_guessed_at() -> None:
    assert len(problem(symbols="a;" * 50_000)) < 300
    assert len(problem(streams="x" * 100_000)) < 300


WORDINGS: list[tuple[dict[str, Any], str]] = [
    ({"metrics_port": "abc"}, "METRICS_PORT: must be a whole number (got 'abc')"),
    ({"metrics_port": 70000}, "METRICS_PORT: must be at most 65535 (got '70000')"),
    ({"reconnect_delay": "soon"}, "RECONNECT_DELAY: must be a number (got 'soon')"),
    ({"reconnect_delay": 0}, "RECONNECT_DELAY: must be at least 0.01 (got '0')"),
    ({"close_timeout": 0}, "CLOSE_TIMEOUT: must be more than 0 (got '0')"),
    ({"allow_insecure": "perhaps"}, "ALLOW_INSECURE: must be true or false (got 'perhaps')"),
    (
        {"log_format": "xml"},
        "LOG_FORMAT: must be 'console' or 'json' (got 'xml')",
    ),
]


@pytest.mark.parametrize(("values", "complaint"), WORDINGS, ids=[w[1] for w in WORDINGS])
def test_what_is_wrong_is_said_in_words_of_our_own(values: dict[str, Any], complaint: str) -> None:
    assert problem(**values) == f"{ENV_PREFIX}{complaint}"


@pytest.mark.parametrize("name", ["btc/usdt", "btc@usdt", "x" * 41, "btc\nusdt", "a b"])
def test_a_symbol_that_cannot_exist_is_refused(name: str) -> None:
    assert problem(symbols=[name]).startswith("K2_BINANCE_SYMBOLS: ")


def test_a_field_that_does_not_exist_is_refused() -> None:
    assert problem(symbol="BTCUSDT") == (
        "the keyword symbol is not a setting of k2trio; did you mean symbols?"
    )
    assert problem(qqq=1) == "the keyword qqq is not a setting of k2trio"


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        load_settings().metrics_port = 1


# -- the environment ------------------------------------------------------------------------------


def test_unknown_variables_are_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("K2_BINANCE_SYMBOL", "BTCUSDT")
    monkeypatch.setenv("k2_binance_recconect_delay", "1")
    monkeypatch.setenv("K2_BINANCE_XYZZY_PLUGH_99", "secret value")
    with pytest.raises(ConfigError) as error:
        load_settings()
    assert str(error.value).splitlines() == [
        "K2_BINANCE_SYMBOL is not a setting of k2trio; did you mean K2_BINANCE_SYMBOLS?",
        "K2_BINANCE_XYZZY_PLUGH_99 is not a setting of k2trio",
        "k2_binance_recconect_delay is not a setting of k2trio; "
        "did you mean K2_BINANCE_RECONNECT_DELAY?",
    ]


def test_other_programs_variables_are_none_of_our_business() -> None:
    check_environment(environ={"K2_OTHER": "1", "BINANCE_KEY": "2", "PATH": "/bin"})


def test_names_in_lower_case_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("k2_binance_metrics_port", "1234")
    assert load_settings().metrics_port == 1234


KUBERNETES = {
    "K2_BINANCE_SERVICE_HOST": "10.0.0.1",
    "K2_BINANCE_SERVICE_PORT": "443",
    "K2_BINANCE_SERVICE_PORT_HTTP_METRICS": "443",
    "K2_BINANCE_PORT": "tcp://10.0.0.1:443",
    "K2_BINANCE_PORT_443_TCP": "tcp://10.0.0.1:443",
    "K2_BINANCE_PORT_443_TCP_PROTO": "tcp",
    "K2_BINANCE_PORT_443_TCP_PORT": "443",
    "K2_BINANCE_PORT_443_TCP_ADDR": "10.0.0.1",
}


def test_variables_that_kubernetes_makes_for_a_service_of_our_name_are_no_settings() -> None:
    check_environment(environ=KUBERNETES)
    check_environment(environ={name.replace("BINANCE", "BINANCE_A"): "x" for name in KUBERNETES})


@pytest.mark.parametrize("name", ["K2_BINANCE_PORT", "K2_BINANCE_SERVICE_PORT"])
def test_without_a_service_such_a_variable_is_a_typo(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is not a setting of k2trio"):
        check_environment(environ={name: "9090"})


def test_a_service_that_takes_the_name_of_a_setting_is_told_from_the_users_own_value() -> None:
    service = {"K2_BINANCE_METRICS_SERVICE_HOST": "10.0.0.1"}
    check_environment(environ=service | {"K2_BINANCE_METRICS_PORT": "9191"})
    with pytest.raises(ConfigError, match=r"comes from a Kubernetes Service.*enableServiceLinks"):
        check_environment(environ=service | {"K2_BINANCE_METRICS_PORT": "tcp://10.0.0.1:9090"})


# -- URLs -----------------------------------------------------------------------------------------

SECRETS = [
    "wss://user:hunter2@example.com/stream",
    "wss://hunter2@example.com/stream",
    "wss://user:hun/ter2@example.com/stream",
    "wss://user:hunter2@example.com:port/stream",
    "wss://user:hunter2@[::1/stream",
    "https://user:hunter2@example.com/stream",
    "user:hunter2@example.com/stream",
    "wss://user:hunter2@/",
    "wss://us er:hunter2@example.com",
]


@pytest.mark.parametrize("url", SECRETS)
@pytest.mark.parametrize("field", ["websocket_url", "failover_urls", "rest_urls"])
@pytest.mark.parametrize("how", ["code", "text", "json"])
def test_passwords_in_urls_are_refused_and_never_printed(
    url: str, field: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "code":
        values: dict[str, Any] = {field: url if field == "websocket_url" else [url]}
    else:
        values = {}
        text = json.dumps([url]) if how == "json" and field != "websocket_url" else url
        monkeypatch.setenv(ENV_PREFIX + field.upper(), text)
    with pytest.raises(ConfigError, match="must not hold a user name or password") as error:
        load_settings(**values)
    printed = "".join(
        str(part)
        for cause in (error.value, error.value.__cause__)
        for part in traceback.format_exception_only(cause)
    )
    assert "ter2" not in printed


BAD_URLS: list[tuple[str, str]] = [
    ("http://example.com/stream", "must start with wss:// or ws://"),
    ("example.com", "must start with"),
    ("/stream", "must start with"),
    ("wss://", "names no host"),
    ("wss:///stream", "names no host"),
    ("wss://example.com/stream#x", "fragment"),
    (
        "wss://example.com:9443/stream?streams=btcusdt@trade/ETHUSDT@depth",
        "write wss://example.com:9443/stream here, and --streams btcusdt@trade,ethusdt@depth",
    ),
    (
        "wss://example.com/ws/btcusdt@kline_1m@%2B08:00",
        "write wss://example.com/stream here, and --streams btcusdt@kline_1m@+08:00",
    ),
    (
        "ws://127.0.0.1:1/stream?streams=!miniTicker@arr&timeUnit=MICROSECOND",
        "write ws://127.0.0.1:1/stream here, and --streams !miniTicker@arr",
    ),
    ("wss://example.com/stream?streams=btcusdt@nothing", "name streams in STREAMS"),
    ("wss://example.com:9443", "did you mean wss://example.com:9443/stream?"),
    ("wss://example.com:9443/", "did you mean wss://example.com:9443/stream?"),
    ("wss://example.com/other", "does not end in /stream"),
    ("wss://example.com/stream?x=1", "query; name streams in STREAMS"),
    ("wss://example.com:99999/stream", "Port out of range"),
    ("wss://example.com:x/stream", "Port could not be cast"),
    ("wss://[::1/stream", "Invalid IPv6 URL"),
    ("wss://example.com/str\neam", "white space or control"),
    ("wss://example.com/str eam", "white space or control"),
    ("wss://example.com/ws", "is for raw streams"),
    ("wss://example.com/ws/btcusdt", "is for raw streams"),
    ("ws://example.com/stream", "is not encrypted"),
    ("ws://127.0.0.1.example.com/stream", "is not encrypted"),
    ("ws://0.0.0.0/stream", "is not encrypted"),
    ("ws://10.0.0.1/stream", "is not encrypted"),
]


@pytest.mark.parametrize(("url", "complaint"), BAD_URLS, ids=[repr(b[0]) for b in BAD_URLS])
def test_urls_that_cannot_work_are_refused(url: str, complaint: str) -> None:
    assert complaint in problem(websocket_url=url, failover_urls=())
    assert complaint in problem(failover_urls=[url])


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.8.8", "[::1]", "localhost:9000"]
)
def test_no_encryption_is_needed_within_this_machine(host: str) -> None:
    url = f"ws://{host}/stream"
    assert load_settings(websocket_url=url, failover_urls=()).endpoint_urls == (url,)


def test_no_encryption_elsewhere_must_be_asked_for() -> None:
    assert load_settings(websocket_url="ws://10.0.0.1/stream", allow_insecure=True)


def test_rest_urls_are_encrypted_too() -> None:
    assert "is not encrypted" in problem(rest_urls=["http://example.com"])
    assert load_settings(rest_urls=["http://127.0.0.1:1"]).rest_urls == ("http://127.0.0.1:1",)


@pytest.mark.parametrize("host", ["", "localhost.evil.com", "8.8.8.8", "::2", "127.0.0.1.nip.io"])
def test_what_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


# -- the streams ----------------------------------------------------------------------------------


def test_symbols_mean_their_trades_and_streams_replace_them() -> None:
    assert load_settings().stream_names == ("btcusdt@trade", "ethusdt@trade")
    chosen = load_settings(symbols=["BNBUSDT"], streams=["btcusdt@depth", "BTCUSDT@depth"])
    assert chosen.stream_names == ("btcusdt@depth",)
    assert load_settings(symbols=(), streams=["btcusdt@depth"]).stream_names == ("btcusdt@depth",)
    assert load_settings(symbols=["币安人生usdt"]).stream_names == ("币安人生usdt@trade",)


def test_sampled_books_come_beside_the_trades_of_symbols() -> None:
    chosen = load_settings(symbols=["BNBUSDT"], book_levels=20)
    assert chosen.stream_names == ("bnbusdt@trade", "bnbusdt@depth@100ms")
    named = load_settings(streams=["btcusdt@depth", "btcusdt@trade"], book_levels=20)
    assert named.stream_names == ("btcusdt@depth", "btcusdt@trade")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (
            {"streams": ["btcusdt@trade"]},
            "BOOK_LEVELS wants books: add streams that carry them",
        ),
        ({"depth_snapshot_levels": 10}, "DEPTH_SNAPSHOT_LEVELS must be at least BOOK_LEVELS"),
        ({"book_interval": 0.0125}, "BOOK_INTERVAL: must be a whole number of milliseconds"),
    ],
)
def test_books_that_could_not_be_sampled_are_refused(
    values: dict[str, Any], complaint: str
) -> None:
    assert complaint in problem(book_levels=20, **values)


def test_images_of_a_book_need_no_snapshot() -> None:
    streams = ["btcusdt@depth20", "ethusdt@bookTicker"]
    assert load_settings(book_levels=20, depth_snapshot_levels=0, streams=streams)


# -- files ----------------------------------------------------------------------------------------


def test_no_file_has_two_purposes(tmp_path: Path) -> None:
    path, link, hard = (tmp_path / name for name in ("out.jsonl", "link", "hard"))
    path.touch()
    link.symlink_to(path)
    hard.hardlink_to(path)
    for same in (path, link, hard, tmp_path / "x" / ".." / "out.jsonl"):
        for one, other in itertools.permutations(["output", "state", "coverage"], 2):
            with pytest.raises(ConfigError, match="are both"):
                load_settings(**{one: path, other: same})
    for lock in ("output", "coverage"):
        with pytest.raises(ConfigError, match="the lock of STATE are both"):
            load_settings(state=path, **{lock: tmp_path / ".out.jsonl.lock"})
    load_settings(output="/dev/null", coverage="/dev/null")


def test_no_file_has_a_name_that_the_output_may_rotate_to(tmp_path: Path) -> None:
    given = {"output": tmp_path / "out", "state": tmp_path / "out.2"}
    load_settings(**given)
    with pytest.raises(ConfigError, match=r"STATE .* is a name that OUTPUT may rotate to"):
        load_settings(**given, output_rotate_bytes=1000)
