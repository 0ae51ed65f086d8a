"""The environment: variables that look like settings and are none, by a slip or by Kubernetes."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_SERVICE_LINK = re.compile(
    r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$"
)
"""How the names of the variables end that Kubernetes makes for each Service."""


def complaints(environ: Mapping[str, str], prefix: str, known: Collection[str]) -> list[str]:
    """One line per variable that begins like a setting and cannot be one.

    :param known: the names of the settings, without the prefix, in upper case.
    """
    names = {name.upper() for name in environ}
    lines: list[str] = []
    for name in sorted(environ):
        given = name.upper().removeprefix(prefix)
        if not name.upper().startswith(prefix):
            continue
        if _is_service_link(name.upper(), names):
            # One that the pod sets itself wins over the Service's, which is a URL.
            if given in known and "://" in environ[name]:
                lines.append(
                    f"{name}={environ[name]} comes from a Kubernetes Service, not from you; "
                    "rename the Service, or set enableServiceLinks: false in the pod"
                )
        elif given not in known:
            near = difflib.get_close_matches(given, sorted(known), n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else ""
            lines.append(f"{name} is not a setting of k2trio{hint}")
    return lines


def _is_service_link(name: str, names: Collection[str]) -> bool:
    """Whether Kubernetes made a variable for a Service whose name begins like our variables.

    Source: Kubernetes docs, "Service", "Environment variables".
    """
    link = _SERVICE_LINK.search(name)
    return link is not None and f"{name[: link.start()]}_SERVICE_HOST" in names
