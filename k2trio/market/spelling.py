"""What a wrong name of a stream or a symbol may have been meant to be.

Names are written in many ways: with the separators of other exchanges, all in one case, several in
one. Nothing is corrected in silence; the error says what to write.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_BETWEEN_NAMES = re.compile(r"[;|+\s]+")
"""What people put between several names instead of commas."""
_BETWEEN_STREAMS = re.compile(r"[;|+/\s]+")
"""And instead of those; the slash is the exchange's own, in URLs."""
_INSIDE_SYMBOL = re.compile(r"[-_./:]")
"""What other exchanges put between the two assets of a symbol."""
MAX_TEXT = 500
"""Characters of a text that is looked into; a peer may send longer ones."""
MAX_SYMBOL = 40


def near_symbols(text: str) -> str | None:
    """The symbols that were meant, as a comma list; None if that cannot be told."""
    parts = [_INSIDE_SYMBOL.sub("", part).upper() for part in _parts(_BETWEEN_NAMES, text)]
    return _list(parts) if all(map(_looks_like_symbol, parts)) else None


def near_streams(text: str, suffixes: Sequence[str], whole: Sequence[str]) -> str | None:
    """The names of streams that were meant, as a comma list; None if that cannot be told.

    :param suffixes: what may stand after the ``@`` of a symbol.
    :param whole: names of streams without a symbol.
    """
    parts = [_near_stream(part, suffixes, whole) for part in _parts(_BETWEEN_STREAMS, text)]
    return _list([part for part in parts if part]) if all(parts) else None


def _parts(between: re.Pattern[str], text: str) -> list[str]:
    """The names in a text; none if it is too long to have been typed."""
    return [part for part in between.split(text) if part] if len(text) <= MAX_TEXT else []


def _list(parts: Sequence[str]) -> str | None:
    return ",".join(parts) or None


def _looks_like_symbol(text: str) -> bool:
    return text.isalnum() and 1 < len(text) <= MAX_SYMBOL


def _near_stream(name: str, suffixes: Sequence[str], whole: Sequence[str]) -> str | None:
    if name.startswith("!"):
        return _nearest(name, whole)
    symbol, at, suffix = name.partition("@")
    if not at:
        kind = _nearest(symbol, suffixes, cutoff=1)
        return f"btcusdt@{kind}" if kind else _with_symbol(symbol, "trade")
    return _with_symbol(symbol, _nearest(suffix, suffixes))


def _with_symbol(symbol: str, suffix: str | None) -> str | None:
    plain = _INSIDE_SYMBOL.sub("", symbol).lower()
    return f"{plain}@{suffix}" if suffix and _looks_like_symbol(plain) else None


def _nearest(text: str, known: Sequence[str], cutoff: float = 0.6) -> str | None:
    """The one that differs only in case, or else the one that is most alike."""
    if text in known:
        return text
    for name in known:
        if name.lower() == text.lower():
            return name
    near = difflib.get_close_matches(text, known, cutoff=cutoff)
    return near[0] if near else None
