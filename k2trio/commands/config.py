"""``k2trio config``: the settings in force, where each came from, or a file of them."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

from pydantic import Field, SecretStr

from .. import __version__
from ..config_file import KEY
from ..proxies import DIRECT, parse_proxy
from ..settings import Settings
from . import effective
from .terminal import put, put_rich

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

COLUMNS = 100
HEAD = """\
# k2trio {version}: every setting. `k2trio run --config FILE` reads this file; options and variables
# win over it. Lines that begin with #name = tell defaults.
"""


class ConfigSettings(Settings):
    """The settings of a run, and how to show them."""

    toml: bool = Field(
        default=False, description="Print them as a file for --config, each with its meaning."
    )


def show(settings: ConfigSettings, named: Collection[str]) -> None:
    """Print all settings; passwords are not shown.

    :param named: the settings that the command line names.
    """
    if settings.toml:
        put(toml_of(settings))
    else:
        put_rich(effective.table(settings, named))


def toml_of(settings: Settings) -> str:
    """A file that gives the same settings; what is a default there is a remark."""
    return "\n\n".join([HEAD.format(version=__version__).rstrip(), *_entries(settings)]) + "\n"


def _entries(settings: Settings) -> Iterator[str]:
    for name, item in Settings.model_fields.items():
        if name == KEY:
            continue
        lines = [f"# {line}" for line in textwrap.wrap(item.description or "", COLUMNS - 2)]
        value = getattr(settings, name)
        given = name in settings.model_fields_set
        if isinstance(value, SecretStr):
            secret = value.get_secret_value()
            hidden = secret != DIRECT and parse_proxy(secret).credentials is not None
            if hidden:
                lines.append("# It has a password, which is not shown: name a file by proxy_file.")
            elsewhere = hidden or settings.proxy_file is not None
            value, given = (None, False) if elsewhere else (secret, given)
        yield "\n".join([*lines, f"{'' if given else '#'}{name} = {toml_value(value)}"])


def toml_value(value: object) -> str:
    """A value as TOML has it; no value is an empty text, which settings take for none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_value, value))}]"  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    # JSON escapes what TOML wants escaped, but for one control character.
    text = json.dumps("" if value is None else str(value), ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")
