"""A file of settings: what it gives, what wins over it, and what is said of one that is wrong."""

from __future__ import annotations

import re
import subprocess
import tomllib
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import COMMAND, PATIENCE_S, environment, k2trio
from pydantic import SecretStr

from k2trio.commands.config import toml_of, toml_value
from k2trio.errors import ConfigError
from k2trio.loading import load_settings
from k2trio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess

pytestmark = pytest.mark.slow

PROXY = "http://user:hunter2@proxy:3128"


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a file of settings."""

    def write(text: str) -> Path:
        path = tmp_path / "k2trio.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def complaints(**values: Any) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load_settings(**values)
    return str(error.value).splitlines()


# -- what it gives --------------------------------------------------------------------------------


def test_every_setting_can_stand_in_it_with_the_types_of_toml(
    config: Callable[[str], Path],
) -> None:
    path = config(
        """
        symbols = ["btcusdt", "SOLUSDT"]
        reconnect_delay = 2          # a whole number of seconds is one too
        repair_hold = 0.5
        allow_insecure = true
        state = "state.json"
        output = ["out.jsonl", "parquet:set"]
        streams = "btcusdt@trade,ethusdt@trade"
        """
    )
    settings = load_settings(config=path)
    assert settings.config == path
    assert settings.symbols == ("BTCUSDT", "SOLUSDT")
    assert (settings.reconnect_delay, settings.repair_hold) == (2, 0.5)
    assert settings.allow_insecure
    assert settings.state == Path("state.json")
    assert settings.output == ("out.jsonl", "parquet:set")
    assert settings.stream_names == ("btcusdt@trade", "ethusdt@trade")


def test_a_keyword_wins_over_a_variable_and_that_over_the_file(
    config: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K2_BINANCE_CONFIG", str(config("repair_hold = 1\nclose_timeout = 1\n")))
    assert load_settings().repair_hold == 1
    monkeypatch.setenv("k2_binance_repair_hold", "2")
    assert load_settings().repair_hold == 2
    assert load_settings(repair_hold=3).repair_hold == 3
    assert load_settings(repair_hold=3).close_timeout == 1
    assert load_settings(config="").close_timeout == 2, "no file, in spite of the variable"


def test_the_product_of_the_file_decides_on_defaults(config: Callable[[str], Path]) -> None:
    settings = load_settings(config=config('product = "usdm"\n'))
    assert settings.websocket_url == load_settings(product="usdm").websocket_url


def test_a_byte_order_mark_is_none_of_our_business(config: Callable[[str], Path]) -> None:
    assert load_settings(config=config("\ufeffrepair_hold = 1\n")).repair_hold == 1


# -- what is wrong with it ------------------------------------------------------------------------

WRONG: list[tuple[str, str]] = [
    ('symbol = ["BTCUSDT"]', "symbol is not a setting of k2trio; did you mean symbols?"),
    ("SYMBOLS = []", "SYMBOLS is not a setting of k2trio; did you mean symbols?"),
    ("K2_BINANCE_STATE = ''", "K2_BINANCE_STATE is not a setting of k2trio; did you mean state?"),
    ("metrics-port = 1", "metrics-port is not a setting of k2trio; did you mean metrics_port?"),
    ("xyzzy = 1", "xyzzy is not a setting of k2trio; k2trio config shows all there are"),
    ("[run]\nsymbols = []", "run is not a setting of k2trio; "),
    ("config = 'x'", "config: a file of settings names no other one; leave it out"),
    ("metrics_port = 70000", "metrics_port: must be at most 65535 (got '70000')"),
    ("metrics_port = true", "metrics_port: must be a whole number (got 'true')"),
    ("repair_hold = nan", "repair_hold: must be a"),
    ("repair_hold = 1979-05-27", "repair_hold: must be a number (got '1979-05-27')"),
    ("state = 3", "state: must be the path of a file (got '3')"),
    ("streams = {a = 1}", "streams: must be a list"),
    ("symbols = [1]", "symbols: must be a text (got '1')"),
    ("symbols = ['btc/usdt']", "symbols: 'btc/usdt' is not a"),
    ("proxy = ['http://u:hunter2@p']", "proxy: must be a text"),
    ("proxy_file = 3", "proxy_file: must be the path of a file (got '3')"),
    (f"proxy_file = '{PROXY}'", "PROXY_FILE names a file; the URL itself goes into PROXY, or into"),
    ("proxy_file = 'u:hunter2@p:3128'", "PROXY_FILE names a file; "),
    ("proxy_file = 'u:hunter2@p/'", "PROXY_FILE names a file; "),
    ('proxy_file = "a\\u0000b"', "PROXY_FILE names a file; "),
    ("[proxy_file]\npassword = 'hunter2'", "proxy_file: must be the path of a file (got a table)"),
    (
        "[kafka_properties]\n'sasl.password' = 'hunter2'",
        "kafka_properties: must be the path of a file (got a table)",
    ),
    (
        "kafka_properties = ['sasl.password=hunter2']",
        "kafka_properties: must be the path of a file (got a list)",
    ),
    ("state = 'https://u:hunter2@h'", "state: must be the path of a file, and is a URL"),
    ('coverage = "a\\u0000b"', "coverage: must be the path of a file, and holds a NUL"),
    ('output = "a\\u0000b"', "output: no name of an output holds a NUL"),
    ("output = {password = 'hunter2'}", "output: must be a list (got a table)"),
    ("output = 'parquet:s3://key:hunter2@bucket'", "output: the URL for 'bucket' must not hold a"),
    ("product = ['usdm']", "product: must be a text (got a list)"),
    ("product = {usdm = 1}", "product: must be a text (got a table)"),
    (
        f"metrics_port = 0x{'F' * 5000}",
        "metrics_port: must be at most 65535 (got a number of very many digits)",
    ),
    ("reconnect_delay = 100", "MAX_RECONNECT_DELAY must be at least RECONNECT_DELAY"),
]


@pytest.mark.parametrize(("text", "complaint"), WRONG, ids=[text for text, _ in WRONG])
def test_what_is_wrong_is_one_line_that_names_the_file_and_the_key(
    text: str, complaint: str, config: Callable[[str], Path]
) -> None:
    path = config(text)
    (line,) = complaints(config=path)
    assert line.startswith(f"{path}: {complaint}")
    assert "hunter2" not in line


def test_every_wrong_line_is_told(config: Callable[[str], Path]) -> None:
    path = config("metrics_port = -1\nclose_timeout = 'x'\n")
    assert [line.split(": ")[1] for line in complaints(config=path)] == [
        "close_timeout",
        "metrics_port",
    ]


def test_a_wrong_value_is_of_whoever_gave_it(
    config: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config("metrics_port = -1\nreconnect_delay = 2\n")
    monkeypatch.setenv("K2_BINANCE_METRICS_PORT", "-2")
    assert complaints(config=path) == ["K2_BINANCE_METRICS_PORT: must be at least 0 (got '-2')"]
    monkeypatch.setenv("K2_BINANCE_METRICS_PORT", "0")
    (line,) = complaints(config=path, max_reconnect_delay=1)
    assert line.startswith(f"{path}: "), "one of the two is of the file"
    (line,) = complaints(config=path, max_reconnect_delay=1, reconnect_delay=3)
    assert line.startswith("MAX_RECONNECT_DELAY"), "none is"


BROKEN: list[tuple[bytes, str]] = [
    (b"symbols = BTCUSDT", "is no TOML: Invalid value (at line 1, column 11); write one setting"),
    (b"a = " + b"[" * 100_000, "is no TOML: "),
    (b"state = '\xff'", "is no text in UTF-8; CONFIG names a TOML file"),
    (b"metrics_port = " + b"9" * 5000, "holds a number of more digits than any setting has; "),
]


@pytest.mark.parametrize(("content", "complaint"), BROKEN, ids=["text", "deep", "bytes", "digits"])
def test_a_file_that_is_no_toml_is_told(content: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "k2trio.toml"
    path.write_bytes(content)
    (line,) = complaints(config=path)
    assert line.startswith(f"{path} {complaint}")
    assert len(line) < 300


def test_a_file_that_is_not_there_or_is_none_is_told(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    it = "it names a TOML file of settings"
    cure = "CONFIG names a TOML file of settings"
    assert complaints(config=missing) == [
        f"{missing} cannot be read: No such file or directory; {cure}"
    ]
    assert complaints(config=tmp_path) == [f"{tmp_path} cannot be read: Is a directory; {cure}"]
    assert complaints(config="a\0b") == [
        f"CONFIG must be the path of a file, and holds a NUL; {it}"
    ]
    assert complaints(config="https://u:hunter2@h/k2trio.toml") == [
        f"CONFIG must be the path of a file, and is a URL; {it}"
    ]
    assert complaints(config=3) == ["K2_BINANCE_CONFIG: must be the path of a file (got '3')"]


def test_no_output_may_be_the_file(config: Callable[[str], Path]) -> None:
    path = config("repair_hold = 1\n")
    (line,) = complaints(config=path, output=path)
    assert "OUTPUT" in line
    assert "CONFIG" in line


# -- the proxy's password -------------------------------------------------------------------------


def test_the_url_of_the_proxy_may_be_in_a_file_of_its_own(
    config: Callable[[str], Path], tmp_path: Path
) -> None:
    secret = tmp_path / "proxy"
    secret.write_text(f"{PROXY}\n")
    settings = load_settings(config=config(f"proxy_file = '{secret}'\n"))
    assert settings.proxy == SecretStr(PROXY)
    assert "hunter2" not in repr(settings)
    secret.write_text("direct")
    assert load_settings(proxy_file=secret).proxy == SecretStr("direct")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "its one line must begin with http://, https:// or socks5://, or be direct"),
        (b"\xff", "its one line must begin with"),
        (b"hunter2@proxy:3128", "its one line must begin with"),
        (b"http://u:hunter2@proxy:3128\nhttp://u:hunter2@proxy:3128", "its one line is not the"),
    ],
)
def test_what_is_wrong_with_it_is_told_without_what_it_holds(
    content: bytes, complaint: str, tmp_path: Path
) -> None:
    secret = tmp_path / "proxy"
    secret.write_bytes(content)
    (line,) = complaints(proxy_file=secret)
    assert line.startswith(f"PROXY_FILE {secret}: {complaint}")
    assert "hunter2" not in line
    secret.unlink()
    assert complaints(proxy_file=secret) == [
        f"PROXY_FILE {secret} cannot be read: No such file or directory"
    ]


@pytest.mark.parametrize("given", [PROXY, Path(PROXY), "user:hunter2@proxy:3128"])
def test_the_url_in_place_of_the_file_is_not_repeated(given: str | Path) -> None:
    with pytest.raises(ConfigError, match="the URL itself goes into PROXY, or into that") as caught:
        load_settings(proxy_file=given)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_the_path_of_the_file_may_be_that_of_a_units_instance(tmp_path: Path) -> None:
    folder = tmp_path / "k2trio@btc.service"
    folder.mkdir()
    (folder / "proxy").write_text(PROXY)
    assert load_settings(proxy_file=folder / "proxy").proxy == SecretStr(PROXY)


def test_one_of_the_two_names_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "proxy"
    secret.write_text(PROXY)
    monkeypatch.setenv("K2_BINANCE_PROXY_FILE", str(secret))
    assert complaints(proxy="direct") == [
        "PROXY and PROXY_FILE are both given; set one of them to nothing"
    ]
    assert load_settings(proxy="direct", proxy_file="").proxy == SecretStr("direct")


# -- the commands ---------------------------------------------------------------------------------


def row(end: CompletedProcess[str], name: str) -> list[str]:
    """Value and origin of a setting, as the table has them."""
    (line,) = [line for line in end.stdout.splitlines() if line.startswith(f"{name} ")]
    return line.split()[1:]


def test_the_command_shows_each_setting_with_where_it_came_from(
    config: Callable[[str], Path], tmp_path: Path
) -> None:
    path = config("repair_hold = 4\nclose_timeout = 1\nstable_after = 1\n")
    secret = tmp_path / "proxy"
    secret.write_text(PROXY)
    symbols = [f"SYMBOL{number}USDT" for number in range(100)]
    variables = {"CONFIG": str(path), "CLOSE_TIMEOUT": "3", "PROXY_FILE": str(secret)}
    end = k2trio("config", "--stable-after=7", SYMBOLS=",".join(symbols), **variables)
    assert (end.returncode, end.stderr) == (0, "")
    assert row(end, "REPAIR_HOLD") == ["4", str(path)]
    assert row(end, "CLOSE_TIMEOUT") == ["3", "K2_BINANCE_CLOSE_TIMEOUT"]
    assert row(end, "STABLE_AFTER") == ["7", "--stable-after"]
    assert row(end, "METRICS_PORT") == ["9090", "default"]
    assert row(end, "SYMBOLS") == [*symbols, "K2_BINANCE_SYMBOLS"], "in one line, for programs"
    assert row(end, "CONFIG") == [str(path), "K2_BINANCE_CONFIG"]
    assert row(end, "PROXY") == ["http://proxy:3128", "K2_BINANCE_PROXY_FILE"]
    assert "hunter2" not in end.stdout


@pytest.mark.parametrize("command", ["run", "check", "config", "book", "heal"])
def test_every_command_that_has_settings_takes_the_file_and_refuses_a_wrong_one(
    command: str, config: Callable[[str], Path]
) -> None:
    path = config("symbol = []\n")
    end = k2trio(command, "--config", str(path))
    assert end.returncode == 2
    assert end.stderr == (
        f"k2trio: {path}: symbol is not a setting of k2trio; did you mean symbols?\n"
    )


GIVEN: list[dict[str, Any]] = [
    {},
    {"product": "usdm", "symbols": ["BTCUSDT"]},
    {"streams": ["btcusdt@depth@100ms"], "output": ['a "b".jsonl', "parquet:ü"], "repair_hold": 0},
    {"allow_insecure": True, "websocket_url": "ws://a.com/stream", "failover_urls": []},
    {"shared_budget": "off", "state": "a\tb\x7fc.json", "output_rotate": "1h", "proxy": "direct"},
    {"proxy": "http://proxy:3128", "enable_circuit_breaker": False, "time_unit": "us"},
]


@pytest.mark.parametrize("values", GIVEN)
def test_the_file_that_it_makes_gives_the_same_settings(
    values: dict[str, Any], tmp_path: Path
) -> None:
    settings = load_settings(**values)
    path = tmp_path / "made.toml"
    path.write_text(toml_of(settings), encoding="utf-8")
    again = load_settings(config=path)
    assert again.model_copy(update={"config": None}) == settings
    assert again.model_fields_set - {"config"} == settings.model_fields_set
    # What is a remark is right, too.
    path.write_text(toml_of(settings).replace("\n#", "\n").replace("\n ", "\n# "), "utf-8")
    again = load_settings(config=path)
    assert again.model_copy(update={"config": None}) == settings


def test_a_file_that_it_makes_tells_every_setting_and_no_password(tmp_path: Path) -> None:
    secret = tmp_path / "proxy"
    secret.write_text(PROXY)
    for values in ({"proxy": PROXY}, {"proxy_file": secret}):
        text = toml_of(load_settings(**values))
        assert "hunter2" not in text
        assert "name a file by proxy_file" in text
        named = [line.partition(" = ")[0].lstrip("#") for line in text.splitlines() if "= " in line]
        assert set(named) >= set(Settings.model_fields) - {"config"}
    assert tomllib.loads(text)["proxy_file"] == str(secret)
    for plain in ("http://proxy:3128", "direct"):  # what a file says is no default
        secret.write_text(plain)
        assert '\n#proxy = ""\n' in toml_of(load_settings(proxy_file=secret))


@given(st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])), st.integers(-(1 << 60), 1 << 60),
    st.floats(allow_nan=False), st.booleans(), st.lists(st.text("a\"\\'\n\x7f\x00é")).map(tuple),
))  # fmt: skip
def test_every_value_is_written_as_toml_reads_it(value: Any) -> None:
    again = tomllib.loads(f"a = {toml_value(value)}")["a"]
    assert (tuple(again) if isinstance(again, list) else again) == value


def test_the_command_prints_that_file(config: Callable[[str], Path], tmp_path: Path) -> None:
    end = k2trio("config", "--toml", "--config", str(config("repair_hold = 4\n")), GROUP="desk")
    assert (end.returncode, end.stderr) == (0, "")
    made = tmp_path / "made.toml"
    made.write_text(end.stdout)
    settings = load_settings(config=made)
    assert (settings.repair_hold, settings.group) == (4, "desk")
    assert settings.model_fields_set >= {"config", "repair_hold", "group"}
    assert "metrics_port" not in settings.model_fields_set


def test_a_pipe_is_a_file_too() -> None:
    script = "exec \"$@\" --config <(echo 'repair_hold = 4')"
    end = subprocess.run(  # noqa: S603 - our own command
        ["bash", "-c", script, "bash", *COMMAND, "config"],  # noqa: S607
        capture_output=True, text=True, timeout=PATIENCE_S, check=True, env=environment(),
    )  # fmt: skip
    value, origin = row(end, "REPAIR_HOLD")
    assert value == "4"
    assert origin.startswith("/dev/fd/")


def test_the_example_of_the_page_is_a_file_of_settings(config: Callable[[str], Path]) -> None:
    page = Path(__file__).parents[1] / "docs" / "howto" / "configuration-file.md"
    (example,) = re.findall(r"```toml\n(.+?)```", page.read_text(), re.DOTALL)
    settings = load_settings(config=config(example))
    assert settings.model_fields_set >= tomllib.loads(example).keys()
    told = re.findall(r"^k2trio: k2trio\.toml: (.+)$", page.read_text(), re.MULTILINE)
    path = config("symbol = []\n")
    assert [line.removeprefix(f"{path}: ") for line in complaints(config=path)] == told[:1]
    path = config("metrics_port = 70000\n")
    assert [line.removeprefix(f"{path}: ") for line in complaints(config=path)] == told[1:]
