"""The program behind a proxy, as its users run it: what it says, and what it never says."""

from __future__ import annotations

import base64
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from processes import LOGGED, Simulator, exporter_url, k2trio, lines_of, simulator, started, stop
from proxying import BOTH, SECRET, USER, RealProxy, free_port, needs, real_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TOKEN = base64.b64encode(f"{USER}:{SECRET}".encode()).decode()


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    with simulator("--rate", "100", "--seed", "1") as running:
        yield running


def secretless(*texts: str) -> bool:
    return not any(secret in text for text in texts for secret in (SECRET, TOKEN))


@pytest.mark.parametrize("scheme", BOTH)
def test_the_password_is_in_nothing_that_a_run_says(
    scheme: str, exchange: Simulator, tmp_path: Path
) -> None:
    with real_proxy(scheme, tmp_path) as proxy:
        variables = exchange.variables() | LOGGED | {"LOG_LEVEL": "debug", "PROXY": proxy.url()}
        with started("run", **variables) as process:
            assert process.stderr is not None
            log = [json.loads(process.stderr.readline())]
            page = exporter_url(process)
            lines = list(lines_of(process, 50))
            told = [
                httpx2.get(f"{page}{path}", trust_env=False).text
                for path in ("/", "/status", "/metrics", "/trends", "/openapi.json", "/readyz")
            ]
            end = stop(process, signal.SIGTERM)
    assert log[0]["event"] == "through_proxy"
    assert log[0]["proxy"] == f"{scheme}://127.0.0.1:{proxy.port}"
    assert log[0]["named_by"] == "PROXY"
    assert (end.code, len(lines)) == (0, 50)
    assert secretless(str(log), *lines, *told, end.err, end.out.decode())


@pytest.mark.parametrize("scheme", BOTH)
def test_a_wrong_password_ends_with_one_line_that_names_the_proxy(
    scheme: str, exchange: Simulator, tmp_path: Path
) -> None:
    variables = exchange.variables() | {"MAX_RECONNECT_ATTEMPTS": "1", "LOG_LEVEL": "debug"}
    with real_proxy(scheme, tmp_path) as proxy:
        end = k2trio("run", **variables, PROXY=proxy.url(f"{SECRET}-wrong"))
    *_, last = end.stderr.splitlines()
    assert end.returncode == 1
    assert last.startswith("k2trio: gave up after 1 reconnect attempts; the last one failed with ")
    assert (
        f"proxy_credentials: the proxy {scheme}://127.0.0.1:{proxy.port} (PROXY) does not" in last
    )
    assert secretless(end.stderr, end.stdout)


def rows(proxy: RealProxy, out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith(f"proxy {proxy.scheme}://")]


@pytest.mark.parametrize("scheme", BOTH)
def test_check_says_which_proxy_is_in_use_and_that_it_lets_through(
    scheme: str, exchange: Simulator, tmp_path: Path
) -> None:
    with real_proxy(scheme, tmp_path) as proxy:
        good = k2trio("check", **exchange.variables(), PROXY=proxy.url())
        bad = k2trio("check", **exchange.variables(), PROXY=proxy.url(f"{SECRET}-wrong"))
    shown = f"{scheme}://127.0.0.1:{proxy.port}"
    (row,) = rows(proxy, good.stdout)
    assert row.split() == ["proxy", shown, "of", "PROXY,", "lets", "through"]
    assert "proxy ms" in good.stdout
    assert any(line.split() == ["PROXY", shown, "K2_BINANCE_PROXY"]
               for line in good.stdout.splitlines())  # fmt: skip
    assert (good.returncode, bad.returncode) == (0, 1)
    (row,) = rows(proxy, bad.stdout)
    assert "of PROXY, lets 0 of 3 through: " in row
    line = f"k2trio: the proxy {shown} (PROXY) does not take the user and the password of PROXY"
    assert [told.partition(" (Username")[0].partition(" (HTTP")[0]
            for told in bad.stderr.splitlines()] == [line] * 2  # fmt: skip
    assert secretless(good.stdout, good.stderr, bad.stdout, bad.stderr)


@needs("http")
def test_a_proxy_that_refuses_the_port_is_told_with_it(exchange: Simulator, tmp_path: Path) -> None:
    port = exchange.urls["rest"].rpartition(":")[2]
    with real_proxy("http", tmp_path, f"ConnectPort {port}") as proxy:
        end = k2trio("check", **exchange.variables("a"), PROXY=proxy.url())
    (row,) = rows(proxy, end.stdout)
    assert "lets 1 of 2 through: " in row
    where = exchange.urls["a"].removeprefix("ws://").removesuffix("/stream")
    assert end.returncode == 1
    assert f"refuses to lead to {where} (HTTP 403): let it allow that host and port\n" in end.stderr


def test_a_proxy_of_the_environment_leads_not_to_this_machine(
    exchange: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{USER}:{SECRET}@127.0.0.1:{free_port()}")
    end = k2trio("check", **exchange.variables())
    assert (end.returncode, end.stderr) == (0, "")
    assert "proxy ms" not in end.stdout
    explicit = k2trio("check", **exchange.variables(), PROXY=f"http://127.0.0.1:{free_port()}")
    assert explicit.returncode == 1
    assert "(PROXY) cannot be reached: " in explicit.stderr


@pytest.mark.parametrize("command", ["run", "check"])
def test_socks_without_its_extra_is_2_and_says_what_to_install(
    command: str, exchange: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = 'import sys\nsys.modules["python_socks"] = None\n'
    (tmp_path / "sitecustomize.py").write_text(hidden)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    end = k2trio(command, **exchange.variables(), PROXY=f"socks5://{USER}:{SECRET}@127.0.0.1:1")
    assert end.returncode == 2
    assert end.stderr == (
        "k2trio: the proxy socks5://127.0.0.1:1 (PROXY) needs the package python-socks: "
        "python -m pip install 'k2trio[socks]'\n"
    )
