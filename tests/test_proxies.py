"""Which proxy leads where: the setting, the environment, and what needs none."""

from __future__ import annotations

import re
import traceback
from typing import Any

import pytest
from processes import k2trio
from proxying import SECRET

from k2trio.errors import ConfigError
from k2trio.loading import load_settings
from k2trio.proxies import DIRECT, Proxies, Proxy, parse_proxy
from k2trio.settings import Settings

pytestmark = pytest.mark.slow

WSS, WS = "wss://stream.binance.com:9443/stream", "ws://stream.binance.com/stream"
REST = "https://api.binance.com/api/v3/time"
HERE = "ws://127.0.0.1:9443/stream"


def of(url: str, **environ: str) -> str | None:
    """The proxy by which the environment leads to a URL."""
    proxy = Proxies(None, environ).of(url)
    return None if proxy is None else str(proxy)


@pytest.mark.parametrize(
    ("text", "shown", "credentials"),
    [
        ("http://p", "http://p:80", None),
        ("https://P.test:1/", "https://p.test:1", None),
        ("socks5://p", "socks5://p:1080", None),
        ("socks5h://p:9", "socks5://p:9", None),
        ("socks://p:9/", "socks5://p:9", None),
        ("HTTP://user:pw@[::1]:3128", "http://[::1]:3128", ("user", "pw")),
        ("http://us%40er:p%3Aw%2F%25@p:1", "http://p:1", ("us@er", "p:w/%")),
        ("http://user:p@w@p:1", "http://p:1", ("user", "p@w")),
        ("http://token@p:1", "http://p:1", ("token", "")),
        ("http://käse:brot@p:1", "http://p:1", ("käse", "brot")),
    ],
)
def test_a_proxy_is_read_from_its_url(
    text: str, shown: str, credentials: tuple[str, str] | None
) -> None:
    proxy = parse_proxy(text)
    assert (str(proxy), proxy.credentials) == (shown, credentials)


WRONG = [
    "none",
    "off",
    f"u:{SECRET}@p:1",
    f"ftp://u:{SECRET}@p:1",
    f"socks4://u:{SECRET}@p:1",
    f"http://u:{SECRET}/@p:1",
    f"http://u:{SECRET}#@p:1",
    f"http://u:{SECRET}?@p:1",
    f"http://u:{SECRET}@",
    f"http://u:{SECRET}@p:99999",
    f"http://u:{SECRET}@p:one",
    f"http://u:{SECRET}@[::1",
    f"http://u:{SECRET} x@p:1",
    f"http://u:{SECRET}\n@p:1",
    f"http://u:{SECRET}@p:1/path",
    f"http://a%3Ab:{SECRET}@p:1",
    f"http://u:{SECRET}\u2100@p:1",
    f"socks5://u:{SECRET}ß@p:1",
    f"socks5://{SECRET}@p:1",
    f"socks5://u:{SECRET * 43}@p:1",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_proxy_is_told_with_a_cure_and_without_the_secret(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(proxy=text)
    told = "".join(traceback.format_exception(caught.value))
    assert re.match(r"K2_BINANCE_PROXY: .+", str(caught.value))
    assert SECRET not in told
    with pytest.raises(ConfigError) as caught:
        Proxies(None, {"HTTPS_PROXY": text if "://" in text else f"ftp://{text}"}).of(WSS)
    told = "".join(traceback.format_exception(caught.value))
    assert str(caught.value).startswith("HTTPS_PROXY ")
    assert str(caught.value).endswith("; PROXY=direct is for who wants none")
    assert SECRET not in told


@pytest.mark.parametrize("value", [f"http://u:{SECRET}@p:1", f"socks5://u:{SECRET}@p:1"])
def test_no_text_of_the_settings_holds_the_secret(value: str) -> None:
    settings = Settings(proxy=value)
    texts = [repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()]
    proxy = Proxies(value).of(WSS)
    texts += [repr(proxy), str(proxy), f"{proxy}"]
    assert all(SECRET not in text for text in texts)


@pytest.mark.parametrize("value", [7, [f"http://u:{SECRET}@p:1"], {SECRET: 1}, SECRET.encode()])
def test_what_is_no_text_is_not_repeated_either(value: Any) -> None:
    with pytest.raises(ConfigError, match="K2_BINANCE_PROXY: must be a text") as caught:
        load_settings(proxy=value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_wrong_variable_is_one_line_without_the_secret() -> None:
    for command in ("run", "check"):
        end = k2trio(command, PROXY=f"htpp://user:{SECRET}@proxy.test:3128")
        assert end.returncode == 2
        cure = "must begin with http://, https:// or socks5://, or be direct"
        assert end.stderr == f"k2trio: K2_BINANCE_PROXY: {cure}\n"


def test_a_proxy_that_was_given_without_its_option_is_refused_without_the_secret() -> None:
    end = k2trio("run", f"http://user:{SECRET}@proxy.test:3128")
    assert end.returncode == 2
    assert end.stderr.startswith("k2trio: proxy.test:3128 is not an option; ")


def test_encrypted_and_plain_have_a_variable_each_and_all_proxy_serves_the_rest() -> None:
    https, http = {"HTTPS_PROXY": "http://s:1"}, {"HTTP_PROXY": "http://p:1"}
    assert (of(WSS, **https), of(REST, **https), of(WS, **https)) == ("http://s:1",) * 2 + (None,)
    assert (of(WSS, **http), of(WS, **http)) == (None, "http://p:1")
    everything = {"ALL_PROXY": "socks5://a:1"}
    assert (of(WSS, **everything), of(WS, **everything)) == ("socks5://a:1",) * 2
    assert of(WSS, **https, **everything) == "http://s:1"
    assert of(WSS) is None


def test_lower_case_wins_and_empty_unsets() -> None:
    upper = {"HTTPS_PROXY": "http://upper:1"}
    assert of(WSS, https_proxy="http://lower:1", **upper) == "http://lower:1"
    assert of(WSS, https_proxy="", **upper) is None
    assert of(WSS, NO_PROXY="*", no_proxy="", **upper) == "http://upper:1"


def test_what_a_client_of_a_cgi_program_sent_as_a_header_is_no_proxy() -> None:
    assert of(WS, HTTP_PROXY="http://evil:1", REQUEST_METHOD="GET") is None
    assert of(WS, http_proxy="http://p:1", REQUEST_METHOD="GET") == "http://p:1"


def test_a_variable_may_leave_out_the_scheme_and_is_named() -> None:
    proxy = Proxies(None, {"https_proxy": "proxy.test:3128"}).of(WSS)
    assert proxy == Proxy("http", "proxy.test", 3128, "https_proxy")


@pytest.mark.parametrize("url", [HERE, "wss://localhost:1/stream", "https://[::1]:1/x"])
def test_this_machine_is_behind_no_proxy_of_the_environment(url: str) -> None:
    variables = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://p:1")
    assert of(url, **variables) is None


@pytest.mark.parametrize(
    ("exempt", "url", "is_exempt"),
    [
        ("*", WSS, True),
        ("a.test, *", WSS, True),
        ("binance.com", WSS, True),
        (".binance.com", WSS, True),
        ("*.binance.com", WSS, True),
        ("BINANCE.com.", WSS, True),
        ("stream.binance.com", WSS, True),
        ("nance.com", WSS, False),
        ("api.binance.com", WSS, False),
        ("a.test b.test,stream.binance.com", WSS, True),
        ("stream.binance.com:9443", WSS, True),
        ("stream.binance.com:443", WSS, False),
        ("api.binance.com:443", REST, True),
        ("10.0.0.0/8", "wss://10.1.2.3/stream", True),
        ("10.0.0.0/8", "wss://11.1.2.3/stream", False),
        ("10.1.2.3", "wss://10.1.2.3/stream", True),
        ("10.1.2.3:8443", "wss://10.1.2.3/stream", False),
        ("2001:db8::/32", "wss://[2001:db8::7]/stream", True),
        ("2001:db8::7", "wss://[2001:db8::7]/stream", True),
        ("[2001:db8::7]:443", "wss://[2001:db8::7]/stream", True),
        ("[2001:db8::7]:444", "wss://[2001:db8::7]/stream", False),
        ("0.0.0.0/0", WSS, False),
        (" , ,.,", WSS, False),
    ],
)
def test_no_proxy_names_hosts_domains_ports_and_networks(
    exempt: str, url: str, is_exempt: bool
) -> None:
    found = of(url, HTTPS_PROXY="http://p:1", NO_PROXY=exempt)
    assert found == (None if is_exempt else "http://p:1")


def test_the_setting_wins_over_the_environment_in_everything() -> None:
    environ = {"HTTPS_PROXY": "http://environment:1", "NO_PROXY": "*"}
    by_setting = Proxies("http://setting:1", environ)
    assert [str(by_setting.of(url)) for url in (WSS, REST, WS, HERE)] == ["http://setting:1"] * 4
    assert [Proxies(DIRECT, environ).of(url) for url in (WSS, REST, HERE)] == [None] * 3


def test_a_variable_that_nothing_asks_for_may_be_anything() -> None:
    assert of(WSS, HTTP_PROXY="nonsense://", HTTPS_PROXY="http://p:1") == "http://p:1"
