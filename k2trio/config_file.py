"""A TOML file of settings, one key each: ``metrics_port = 9090``."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from .errors import ConfigError
from .paths import check_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

KEY = "config"
"""The setting that names the file, and the only one that cannot stand in it."""


class ConfigFile(PydanticBaseSettingsSource):
    """What the file says, for settings that no keyword, option or variable gives.

    It has to come after these among the sources, as they name the file.

    :param fields: the settings that may stand in it.
    """

    def __init__(self, settings_cls: type[BaseSettings], fields: Mapping[str, FieldInfo]) -> None:
        super().__init__(settings_cls)
        self._fields = fields

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """One setting, as pydantic-settings asks for it: value, name, and that it is no JSON."""
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All that the file says; nothing if none is named.

        :raises ConfigError: see :func:`read_config`.
        """
        named: object = self.current_state.get(KEY)
        if not named or not isinstance(named, str | Path):
            return {}  # of the wrong type: the model says so
        return read_config(Path(named), self._fields)


def read_config(path: Path, fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """Read a file of settings, and refuse what is none.

    :param fields: the settings that may stand in it.
    :raises ConfigError: naming the file and, line by line, what is wrong with it and what to write.
    """
    try:
        check_path(path)
    except ValueError as error:
        raise ConfigError(f"CONFIG {error}; it names a TOML file of settings") from None
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}; CONFIG names a TOML file of settings"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text in UTF-8; CONFIG names a TOML file") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(
            f'{path} is no TOML: {error}; write one setting a line, as in symbols = ["BTCUSDT"]'
        ) from error
    except ValueError as error:  # of int(), which tomllib lets through
        raise ConfigError(
            f"{path} holds a number of more digits than any setting has; write one that is in its "
            "bounds"
        ) from error
    if lines := [f"{path}: {line}" for name in found if (line := _refusal(name, fields))]:
        raise ConfigError("\n".join(lines))
    return {name: _as_typed(value, fields[name]) for name, value in found.items()}


def _refusal(name: str, fields: Mapping[str, FieldInfo]) -> str | None:
    if name == KEY:
        return f"{name}: a file of settings names no other one; leave it out"
    if name in fields:
        return None
    # Whoever knows the variables may write their names.
    near = difflib.get_close_matches(name.lower().removeprefix("k2_binance_"), sorted(fields), n=1)
    cure = f"did you mean {near[0]}?" if near else "k2trio config shows all there are"
    return f"{name} is not a setting of k2trio; {cure}"


def _as_typed(value: object, field: FieldInfo) -> object:
    """For a number, true and false are as wrong as they are in a variable, and no 1 and 0."""
    kind: object = field.annotation
    if isinstance(value, bool) and (kind is int or kind is float):
        return str(value).lower()
    return value
