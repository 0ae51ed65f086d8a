"""Command lines: a settings model as options, with help and errors that people can read.

Values go to the model as the strings that were typed, so a flag is checked and converted by exactly
the rules that hold for the environment variable of the same name, and wins over it.
"""

from __future__ import annotations

import argparse
import difflib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import ConfigError
from ..loading import make_settings
from ..settings import ENV_PREFIX, Settings
from ..wording import sentences

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

HELP_COLUMN = 36
MAX_HELP_COLUMNS = 100
LIST_WORDS = {
    "symbols": "SYMBOL",
    "streams": "STREAM",
    "ports": "PORT",
    "output": "TARGET",
    "paths": "PATH",
}

_Model = TypeVar("_Model", bound=BaseModel)


class Options(BaseModel):
    """Base of the options of a command that looks at no environment."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, validate_default=True
    )


def split(value: object) -> object:
    """``["a, b", "c"]`` → ``["a", "b", "c"]``, for options that take lists and may be repeated."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list):
        return texts
    return [part.strip() for text in texts for part in str(text).split(",") if part.strip()]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


@dataclass(frozen=True)
class Layout:
    """How a command line differs from one option a field.

    :ivar words: the field that words without an option are of.
    :ivar left_out: fields that are no options.
    """

    words: str | None = None
    left_out: frozenset[str] = frozenset()


BY_FIELD = Layout()
"""One option a field."""


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line as an error of ours: one line, with the nearest option."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            given = unknown.split()[0].partition("=")[0]
            if "://" in given:
                given = given.rpartition("@")[2]  # before it there may be a password
            # Without the dashes, which all have in common.
            known = [name.removeprefix("--") for name in self._option_string_actions]
            near = difflib.get_close_matches(given.lstrip("-").lower(), known, n=1)
            hint = f"did you mean --{near[0]}?" if near else f"see {self.prog} --help"
            message = f"{given} is not an option; {hint}"
        raise ConfigError(message)


def parse(
    model: type[_Model], command: str, arguments: Sequence[str], layout: Layout = BY_FIELD
) -> _Model:
    """Read a command's options from the command line and, where it has settings, all of these.

    :param layout: how the command line differs from one option a field.
    :raises ConfigError: one line per wrong option.
    :raises SystemExit: for ``--help``.
    """
    values = _values(model, command, arguments, layout)

    def called(name: str) -> str:
        return LIST_WORDS[name] if name == layout.words else flag(name)

    if issubclass(model, Settings):
        return make_settings(model, values, called)
    try:
        return model(**values)
    except ValidationError as error:
        lines = [f"{called(name)}: {text}" if name else text for name, text in sentences(error)]
        raise ConfigError("\n".join(lines)) from error


def given(
    model: type[BaseModel], command: str, arguments: Sequence[str], layout: Layout = BY_FIELD
) -> frozenset[str]:
    """The options that a command line names, which :func:`parse` has taken."""
    return frozenset(_values(model, command, arguments, layout))


def _values(
    model: type[BaseModel], command: str, arguments: Sequence[str], layout: Layout
) -> dict[str, Any]:
    parser = make_parser(model, command, layout)
    if layout.words is None:
        return vars(parser.parse_args(arguments))
    return vars(parser.parse_intermixed_args(arguments))


def flag(name: str) -> str:
    """``metrics_port`` → ``--metrics-port``; what would hide a model's own name ends in ``_``."""
    return f"--{name.rstrip('_').replace('_', '-')}"


def make_parser(
    model: type[BaseModel], command: str, layout: Layout = BY_FIELD
) -> argparse.ArgumentParser:
    """The parser of a command: one option a field, with its default and what it means."""
    about = model.__doc__ or ""
    if issubclass(model, Settings) and layout.words is None:
        about = (
            f"Every option is also an environment variable, --symbols is {ENV_PREFIX}SYMBOLS, and "
            "a key of the file that --config names, symbols. Times are seconds."
        )
    words = "" if layout.words is None else f"[{LIST_WORDS[layout.words]} …] "
    parser = _Parser(
        prog=f"python -m k2trio {command}",
        usage=f"%(prog)s {words}[OPTIONS]",
        description=about,
        formatter_class=_formatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    own = model.__annotations__ if model is not Settings else {}
    for name, item in sorted(model.model_fields.items(), key=lambda field: field[0] not in own):
        if name in layout.left_out:
            continue
        about = f"{item.description} {_default(item)}".strip().replace("%", "%%")
        if name == layout.words:
            word = LIST_WORDS[name]
            parser.add_argument(name, nargs="*", metavar=word, help=about)
        elif item.annotation is bool:
            parser.add_argument(
                flag(name), dest=name, action=argparse.BooleanOptionalAction, help=about
            )
        else:
            # A flag of a list may be repeated.
            action = "append" if _is_list(item) else "store"
            parser.add_argument(
                flag(name), dest=name, action=action, metavar=_metavar(name, item), help=about
            )
    return parser


def _formatter(prog: str) -> argparse.HelpFormatter:
    width = min(shutil.get_terminal_size().columns, MAX_HELP_COLUMNS)
    return argparse.HelpFormatter(prog, max_help_position=HELP_COLUMN, width=width)


def _is_list(item: FieldInfo) -> bool:
    kinds = (item.annotation, *get_args(item.annotation))
    return any(get_origin(kind) in (tuple, Sequence) for kind in kinds)


def _metavar(name: str, item: FieldInfo) -> str:
    """What to write after the option: ``SECONDS``, ``URL``, ``PORT[,PORT…]``."""
    kind = item.annotation
    if _is_list(item):
        word = LIST_WORDS.get(name, "URL")
        return f"{word}[,{word}…]"
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    if float in (kind, *get_args(kind)):
        return "SECONDS" if "(s)" in (item.description or "") else "NUMBER"
    if int in (kind, *get_args(kind)):
        return "PORT" if name.endswith("port") else "BYTES" if name.endswith("bytes") else "N"
    if datetime in get_args(kind):
        return "TIME"
    if Path in get_args(kind):
        return "FOLDER" if (item.description or "").startswith("Folder") else "FILE"
    endings = {"url": "URL", "host": "ADDRESS", "proxy": "URL", "rotate": "TIME"}
    return endings.get(name.rpartition("_")[2], "NAME")


def _default(item: FieldInfo) -> str:
    value: Any = item.default
    if value is None or value == ():
        return ""
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, bool):
        return "[on]" if value else "[off]"
    return f"[{value}]"
