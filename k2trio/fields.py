"""The types of settings: what a text in an environment becomes, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, GetPydanticSchema, SecretStr, ValidationInfo
from pydantic_settings import NoDecode

from .errors import ConfigError
from .kafka_urls import SCHEME
from .market.products import DIALECTS
from .market.streams import parse_stream, parse_symbol
from .paths import check_path
from .proxies import DIRECT, parse_proxy
from .rotation import parse_period
from .targets import parse_target
from .urls import product_by, rest_url, websocket_url

STANDARD_OUTPUT = ("-",)
_GROUP = re.compile(r"[A-Za-z0-9._-]{1,200}\Z")
"""It is part of a topic's name."""


def _split(value: object) -> object:
    """Accept ``a,b`` and ``["a","b"]`` alike, as both are common in environments."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("["):
            try:
                return json.loads(text)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"looks like a JSON list but is not one: {error}") from error
        return [part.strip() for part in text.split(",") if part.strip()]
    if isinstance(value, list | tuple):
        # A command line may repeat the flag, each time with a list.
        parts: list[object] = []
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            split = _split(item) if isinstance(item, str) else item  # pyright: ignore[reportUnknownVariableType]
            parts += split if isinstance(split, list) else [split]
        return parts
    return value


def _split_outputs(value: object) -> object:
    """The same of outputs, which may be paths; none at all is standard output."""
    if isinstance(value, Path):
        return [str(value)]
    if isinstance(value, list | tuple):
        value = [str(item) if isinstance(item, Path) else item for item in value]  # pyright: ignore[reportUnknownVariableType]
    parts = _split(value)  # pyright: ignore[reportUnknownArgumentType]
    if not isinstance(parts, list):
        return STANDARD_OUTPUT if parts is None else parts
    return _with_brokers(parts) or STANDARD_OUTPUT  # pyright: ignore[reportUnknownArgumentType]


def _with_brokers(parts: list[Any]) -> list[Any]:
    """Put the brokers of one Kafka URL together again, which commas part as well."""
    joined: list[Any] = []
    for part in parts:
        if joined and _wants_brokers(joined[-1]) and isinstance(part, str):
            joined[-1] += f",{part}"
        else:
            joined.append(part)
    return joined


def _wants_brokers(part: Any) -> bool:
    """Whether a part is the beginning of a Kafka URL only, up to a comma."""
    return isinstance(part, str) and part.startswith(SCHEME) and "/" not in part[len(SCHEME) :]


def _group(name: str) -> str:
    if not _GROUP.match(name):
        raise ValueError("must be letters, digits, '.', '_' and '-', 200 at most")
    return name


def _empty_is_none(value: object) -> object:
    """Compose files and the like set a variable to nothing where they mean to leave it unset."""
    return None if value == "" else value


def _file(path: Any) -> Any:
    """Refuse what can be no path; what says that there is no file is none either."""
    if isinstance(path, str | Path):
        check_path(path)
    return path


def _secret_proxy(value: object) -> object:
    """Check the URL of a proxy before anything can repeat it: it may hold a password."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if not isinstance(value, str | None):
        raise ValueError("must be a text")  # noqa: TRY004 - pydantic would let TypeError through
    text = (value or "").strip()
    if text and text != DIRECT:
        parse_proxy(text)
    return SecretStr(text) if text else None


def _empty_is_auto(value: object) -> object:
    return "auto" if value == "" else value


def _product(name: str) -> str:
    if name not in DIALECTS:
        raise ValueError(f"{name[:80]!r} is no product; known are {', '.join(DIALECTS)}")
    return name


def _stream(name: str, info: ValidationInfo) -> str:
    try:
        return parse_stream(name, _product_of(info)).name
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _symbol(name: str, info: ValidationInfo) -> str:
    try:
        return parse_symbol(name, _product_of(info))
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _product_of(info: ValidationInfo) -> str:
    """The product of the settings that a value is of, as far as they are valid."""
    return product_by(info.data.get("product"), info.data.get("websocket_url") or "")


def _period(text: str) -> str:
    parse_period(text)
    return text.strip()


def _whole_milliseconds(seconds: float) -> float:
    if seconds != round(seconds, 3):
        raise ValueError("must be a whole number of milliseconds")
    return seconds


WebSocketURL = Annotated[str, AfterValidator(websocket_url)]
RestURL = Annotated[str, AfterValidator(rest_url)]
Symbol = Annotated[str, AfterValidator(_symbol)]
Stream = Annotated[str, AfterValidator(_stream)]

GroupName = Annotated[str, AfterValidator(_group)]
OutputText = Annotated[str, AfterValidator(lambda text: str(parse_target(text)))]

WholeMilliseconds = Annotated[float, AfterValidator(_whole_milliseconds)]
"""A time in seconds."""


def _kept_as(kind: Any) -> GetPydanticSchema:
    """For a field that is checked and kept as one type, of which the annotation promises less."""
    return GetPydanticSchema(lambda _annotation, schema_of: schema_of(kind))


OptionalProduct = Annotated[
    str | None,
    AfterValidator(lambda name: name and _product(name)),
    BeforeValidator(_empty_is_none),
]
AutoFile = Annotated[
    Literal["auto", "off"] | Path, BeforeValidator(_file), BeforeValidator(_empty_is_auto)
]
OptionalFile = Annotated[Path | None, BeforeValidator(_file), BeforeValidator(_empty_is_none)]
OptionalPeriod = Annotated[
    str | None, AfterValidator(lambda text: text and _period(text)), BeforeValidator(_empty_is_none)
]
# Any sequence may be given, also the one text that stands in an environment; it becomes a tuple.
WebSocketURLs = Annotated[
    Sequence[str], _kept_as(tuple[WebSocketURL, ...]), NoDecode, BeforeValidator(_split)
]
RestURLs = Annotated[
    Sequence[str], _kept_as(tuple[RestURL, ...]), NoDecode, BeforeValidator(_split)
]
Symbols = Annotated[Sequence[str], _kept_as(tuple[Symbol, ...]), NoDecode, BeforeValidator(_split)]
StreamNames = Annotated[
    Sequence[str], _kept_as(tuple[Stream, ...]), NoDecode, BeforeValidator(_split)
]
# It may hold a password. A text may be given, and is kept as a secret.
ProxyURL = Annotated[
    str | SecretStr | None, _kept_as(SecretStr | None), BeforeValidator(_secret_proxy)
]
Outputs = Annotated[
    Sequence[str | Path] | Path,
    _kept_as(tuple[OutputText, ...]),
    NoDecode,
    BeforeValidator(_split_outputs),
]
