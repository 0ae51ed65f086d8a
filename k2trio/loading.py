"""Settings out of keywords, the environment and a file, with errors that people can read."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pydantic import ValidationError

from .config_file import KEY, read_config
from .environment import complaints
from .errors import ConfigError
from .settings import ENV_PREFIX, Settings
from .wording import sentences, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pydantic_settings import BaseSettings

Keywords = ParamSpec("Keywords")
_Settings = TypeVar("_Settings", bound=Settings)
_NAME = re.compile(r"\b[A-Z][A-Z_]+\b")
"""A setting, as sentences about several have it."""


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
    """Build settings from keywords, the environment and a file, with errors people can read.

    :raises ConfigError: one line per wrong field, unknown keyword or unknown variable.
    """
    check_environment()
    known = Settings.model_fields
    if wrong := [name for name in values if name not in known]:
        lines = [unknown(name, known, "a setting of k2trio") for name in wrong]
        raise ConfigError("\n".join(f"the keyword {line}" for line in lines))
    return make_settings(Settings, values, variable)


def make_settings(
    model: type[_Settings], values: Mapping[str, Any], called: Callable[[str], str]
) -> _Settings:
    """Build settings out of values, the environment and the file that these name.

    :param called: what a setting is called where ``values`` has it.
    :raises ConfigError: one line per wrong value, which names where it came from.
    """
    try:
        return model(**values)
    except ValidationError as error:
        where = _Sources(values, called)
        lines = [
            f"{where.of(name)}: {text}" if name else where.told(text)
            for name, text in sentences(error)
        ]
        raise ConfigError("\n".join(lines)) from error


class _Sources:
    """Where wrong values came from: no default is wrong, so they are of one of three."""

    def __init__(self, values: Mapping[str, Any], called: Callable[[str], str]) -> None:
        self._values = values
        self._called = called
        self._file = values.get(KEY, os.environ.get(given_variable(KEY) or ""))

    def of(self, name: str) -> str:
        """What names a value: an option, a variable, or the file and a key."""
        if name in self._values:
            return self._called(name)
        if self._file and given_variable(name) is None:
            return f"{self._file}: {name}"
        return variable(name)

    def told(self, sentence: str) -> str:
        """A sentence on settings that do not go together, with the file if one is of it."""
        names = {name.lower() for name in _NAME.findall(sentence)}
        if not self._file or names.isdisjoint(self._of_file()):
            return sentence
        return f"{self._file}: {sentence}"

    def _of_file(self) -> Collection[str]:
        found = read_config(Path(self._file or ""), Settings.model_fields)
        return {name for name in found if name not in self._values and not given_variable(name)}


def variable(name: str) -> str:
    """The variable that a setting has: ``symbols`` → ``K2_BINANCE_SYMBOLS``."""
    return f"{ENV_PREFIX}{name.upper()}"


def given_variable(name: str) -> str | None:
    """How the environment spells the variable of a setting, if it has it."""
    spelled = (given for given in os.environ if given.upper() == variable(name))
    return next(spelled, None)
