"""Settings out of the environment and of keywords, with errors that people can read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ParamSpec

from pydantic import ValidationError

from .environment import complaints
from .errors import ConfigError
from .settings import ENV_PREFIX, Settings
from .wording import describe, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic_settings import BaseSettings

Keywords = ParamSpec("Keywords")


def check_environment(
    model: type[BaseSettings] = Settings, environ: Mapping[str, str] | None = None
) -> None:
    """Refuse ``K2_BINANCE_*`` variables that no setting reads: a typo must not pass in silence.

    :raises ConfigError: naming each unknown variable and the nearest known one.
    """
    known = {name.upper() for name in model.model_fields}
    if lines := complaints(os.environ if environ is None else environ, ENV_PREFIX, known):
        raise ConfigError("\n".join(lines))


def _taking_the_keywords_of(
    model: Callable[Keywords, Settings],
) -> Callable[[Callable[..., Settings]], Callable[Keywords, Settings]]:
    """Let editors and type checkers know the keywords of a function by those of a model."""
    return lambda function: function


@_taking_the_keywords_of(Settings)
def load_settings(**values: Any) -> Settings:
    """Build settings from the environment and keyword arguments, with errors people can read.

    :raises ConfigError: one line per wrong field, unknown keyword or unknown variable.
    """
    check_environment()
    known = Settings.model_fields
    if wrong := [name for name in values if name not in known]:
        lines = [unknown(name, known, "a setting of k2trio") for name in wrong]
        raise ConfigError("\n".join(f"the keyword {line}" for line in lines))
    try:
        return Settings(**values)
    except ValidationError as error:
        raise ConfigError(describe(error, ENV_PREFIX)) from error
