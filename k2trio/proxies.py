"""Which proxy leads to which server: that of the setting, or that of the environment.

The setting goes for everything, this machine included. The environment is read as curl and Go read
it: ``HTTPS_PROXY`` for encrypted connections, ``HTTP_PROXY`` for plain ones, ``ALL_PROXY`` for what
has none, lower case first, and ``NO_PROXY`` for what needs none. As in Go and in browsers, and not
as in curl, this machine needs none in any case: a proxy elsewhere could not reach it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from .errors import ConfigError
from .loopback import is_loopback
from .paths import check_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DIRECT = "direct"
"""The value of the setting that says: by no proxy at all."""
MAX_SOCKS_CREDENTIAL = 255
"""Bytes of a user name, and of a password (RFC 1929)."""

_SCHEMES = {
    "http": ("http", 80),
    "https": ("https", 443),
    "socks5": ("socks5", 1080),
    "socks5h": ("socks5", 1080),  # curl's word for names that the proxy resolves: here it always is
    "socks": ("socks5", 1080),  # what GNOME writes into ALL_PROXY
}
_FORM = (
    "is not the URL of a proxy, such as http://user:password@host:3128; in user and password, write"
    " %40 for @, %3A for :, %2F for /, %23 for #, %25 for %"
)
_NO_FILE = "PROXY_FILE names a file; the URL itself goes into PROXY, or into that file"
_ENCRYPTED = frozenset({"wss", "https"})


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy. Its text and its representation show no credentials.

    :ivar scheme: ``"http"``, ``"https"`` (HTTP over TLS) or ``"socks5"``.
    :ivar source: the setting or variable that names it.
    :ivar credentials: user name and password, if it was given any.
    """

    scheme: str
    host: str
    port: int
    source: str
    credentials: tuple[str, str] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_proxy(text: str, source: str = "PROXY") -> Proxy:
    """Read the URL of a proxy.

    :raises ValueError: what is wrong; never with a part of the text, which may be a secret.
    """
    scheme, found, _ = text.partition("://")
    if not found or scheme.lower() not in _SCHEMES:
        raise ValueError(f"must begin with http://, https:// or socks5://, or be {DIRECT}")
    kind, port = _SCHEMES[scheme.lower()]
    located = _locate(text)
    if located is None:
        raise ValueError(_FORM)
    host, given_port, user, password = located
    credentials = None if user is None else (user, password)
    if credentials is not None and kind == "socks5":
        if any(not part.isascii() or not 0 < len(part) <= MAX_SOCKS_CREDENTIAL
               for part in credentials):  # fmt: skip
            raise ValueError(
                "user and password of a SOCKS proxy must both be given, in ASCII, with at most "
                f"{MAX_SOCKS_CREDENTIAL} characters each"
            )
    elif user is not None and ":" in user:
        raise ValueError("a user name must not hold a colon (RFC 7617)")
    return Proxy(kind, host, port if given_port is None else given_port, source, credentials)


def read_proxy_file(path: str | Path) -> str:
    """The URL of a proxy, or :data:`DIRECT`, that a file holds; it is checked.

    :raises ValueError: what is wrong; never with a part of what the file holds, nor of a URL that
        was given in place of its path.
    """
    try:
        check_path(path)
    except ValueError:
        raise ValueError(_NO_FILE) from None
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        # A path may hold an @, as that of a unit's instance does; but so does user:password@host.
        cannot = f"PROXY_FILE {path} cannot be read: {error.strerror}"
        raise ValueError(_NO_FILE if "@" in str(path) else cannot) from None
    except UnicodeDecodeError:
        text = ""
    try:
        if text != DIRECT:
            parse_proxy(text)
    except ValueError as error:
        complaint = str(error)
    else:
        return text
    raise ValueError(f"PROXY_FILE {path}: its one line {complaint}")


def _locate(text: str) -> tuple[str, int | None, str | None, str] | None:
    """Host, port, user and password; None if that is not what the text consists of."""
    if not text.isprintable() or " " in text:
        return None
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:  # its text holds a part of ours
        return None
    if not host or "%" in host or parts.path not in ("", "/") or "?" in text or "#" in text:
        return None
    user = None if parts.username is None else unquote(parts.username)
    return host, port, user, unquote(parts.password or "")


class Proxies:
    """The one rule for all connections.

    :param setting: the URL of a proxy, or :data:`DIRECT`; None leaves it to the environment.
    :param environ: the environment.
    """

    def __init__(
        self, setting: str | None = DIRECT, environ: Mapping[str, str] | None = None
    ) -> None:
        self._always = None if setting in (None, DIRECT) else parse_proxy(str(setting))
        self._environ = (environ or {}) if setting is None else {}

    def of(self, url: str) -> Proxy | None:
        """The proxy that leads to a WebSocket or REST URL; None: it is dialled itself.

        :raises ConfigError: if the environment names one that cannot be.
        """
        if self._always is not None or not self._environ:
            return self._always
        parts = urlsplit(url)
        host, encrypted = parts.hostname or "", parts.scheme in _ENCRYPTED
        port = parts.port or (443 if encrypted else 80)
        _, exempt = self._variable("no_proxy")
        if is_loopback(host) or _is_exempt(host, port, exempt):
            return None
        for variable in ("https_proxy" if encrypted else "http_proxy", "all_proxy"):
            name, text = self._variable(variable)
            if text:
                return _of_environment(name, text)
        return None

    def of_all(self, urls: Iterable[str]) -> list[Proxy]:
        """Those that lead to any of the URLs, each once.

        :raises ConfigError: if the environment names one that cannot be.
        """
        found = dict.fromkeys(map(self.of, urls))
        return [proxy for proxy in found if proxy is not None]

    def _variable(self, name: str) -> tuple[str, str]:
        """A variable and its value; in lower case it wins, and unsets the other if it is empty."""
        if name in self._environ:
            return name, self._environ[name].strip()
        if name == "http_proxy" and "REQUEST_METHOD" in self._environ:
            return name, ""  # under CGI, HTTP_PROXY is what a client sent as a header
        return name.upper(), self._environ.get(name.upper(), "").strip()


def _of_environment(name: str, text: str) -> Proxy:
    try:
        return parse_proxy(text if "://" in text else f"http://{text}", name)
    except ValueError as error:
        complaint = str(error).replace(f", or be {DIRECT}", "")
    raise ConfigError(f"{name} {complaint}; PROXY={DIRECT} is for who wants none")


def _is_exempt(host: str, port: int, exempt: str) -> bool:
    """Whether ``NO_PROXY`` speaks of a server: by ``*``, name, domain, address or network."""
    host = host.rstrip(".").lower()
    address = _address(host)
    for entry in filter(None, re.split(r"[\s,]+", exempt.lower())):
        if entry == "*":
            return True
        name, named_port = _split_port(entry)
        if named_port not in (None, port):
            continue
        if address is not None:
            network = _network(name)
            if network is not None and address in network:
                return True
            continue
        domain = name.removeprefix("*").strip(".")
        if domain and (host == domain or host.endswith(f".{domain}")):
            return True
    return False


def _split_port(entry: str) -> tuple[str, int | None]:
    """``host:443`` and ``[::1]:443``; the colons of a bare IPv6 address are its own."""
    match = re.fullmatch(r"\[(?P<six>[^\]]*)\](?::(?P<p6>\d+))?|(?P<name>[^:]*):(?P<p>\d+)", entry)
    if match is None:
        return entry, None
    port = match["p6"] or match["p"]
    return match["six"] or match["name"] or "", None if port is None else int(port)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
