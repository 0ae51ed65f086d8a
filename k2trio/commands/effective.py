"""The settings that count, and where each came from: an option, a variable, or the default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import SecretStr
from rich.table import Table

from ..proxies import DIRECT, parse_proxy
from ..settings import ENV_PREFIX, Settings
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
    if name in named:
        return flag(name)
    return f"{ENV_PREFIX}{name.upper()}" if name in settings.model_fields_set else "default"


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
