"""What is wrong with settings and options, in sentences of our own, and not of the library's."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pydantic import ValidationError

MAX_GIVEN = 80
"""Characters of a wrong value that are repeated."""
MAX_BITS = 1024
"""Those of a number that is repeated."""

_SENTENCES = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "extra_forbidden": "is no setting",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number, and not so long",
    "int_type": "must be a whole number",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "missing": "must be given",
    "path_type": "must be the path of a file",
    "string_type": "must be a text",
    "string_too_short": "must not be empty",
    "too_long": "must be {max_length} at most",
    "too_short": "must name at least one",
    "tuple_type": "must be a list",
}
"""Per type of error; what the model knows of the bound is filled in."""
_OF_LISTS = frozenset({"too_short", "too_long"})


def sentences(error: ValidationError) -> list[tuple[str, str]]:
    """What is wrong, and with which field; no field where several do not go together."""
    items = error.errors(include_url=False)
    # What is wrong with a list's elements makes the list itself look too short.
    inside = {item["loc"][0] for item in items if len(item["loc"]) > 1}
    found: list[tuple[str, str]] = []
    for item in items:
        where = item["loc"]
        if len(where) == 1 and where[0] in inside and item["type"] in _OF_LISTS:
            continue
        text = _sentence(item["type"], item.get("ctx", {}), item["msg"])
        if item["type"] not in {"value_error", *_OF_LISTS}:
            text += f" (got {_given(item['input'])})"
        found.append((str(where[0]) if where else "", text))
    return found


def _given(value: object) -> str:
    """A wrong value, if it is of a kind that somebody would type here; others may hold a secret."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return "a number of very many digits"  # Python makes no text of the longest
    return repr(str(value)[:MAX_GIVEN])


def _sentence(kind: str, bounds: Mapping[str, Any], message: str) -> str:
    known = _SENTENCES.get(kind)
    if known is None:
        return message.removeprefix("Value error, ")
    return known.format_map(
        {
            name: f"{bound:g}" if isinstance(bound, float) else bound
            for name, bound in bounds.items()
        }
    )


def unknown(given: str, known: Collection[str], what: str) -> str:
    """Says that nothing is called so, and what may have been meant.

    :param what: what it would be, e.g. ``"a setting of k2trio"``.
    """
    near = difflib.get_close_matches(given, sorted(known), n=1)
    return f"{given} is not {what}" + (f"; did you mean {near[0]}?" if near else "")
