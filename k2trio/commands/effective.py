"""The settings that count, and where each came from: option, variable, file, or default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import SecretStr
from rich.table import Table

from ..loading import given_variable, variable
from ..proxies import DIRECT, parse_proxy
from ..settings import Settings
from .options import flag

if TYPE_CHECKING:
    from collections.abc import Collection


def table(settings: Settings, named: Collection[str]) -> Table:
    """All settings, in the order of their model.

    :param named: the settings that the command line names.
    """
    rows = Table(box=None, pad_edge=False)
    rows.add_column("setting")
    rows.add_column("value", overflow="fold")
    rows.add_column("from")
    for name in Settings.model_fields:
        rows.add_row(name.upper(), _text(getattr(settings, name)), _origin(settings, name, named))
    return rows


def _origin(settings: Settings, name: str, named: Collection[str]) -> str:
    if name not in settings.model_fields_set:
        return "default"
    if name == "proxy" and settings.proxy_file is not None:
        name = "proxy_file"
    if name in named:
        return flag(name)
    return variable(name) if given_variable(name) else str(settings.config)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "-"  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return secret if secret == DIRECT else str(parse_proxy(secret))
    return "-" if value is None else str(value)
