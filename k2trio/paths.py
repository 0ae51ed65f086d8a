"""What can be the path of a file or a dataset; what cannot is not repeated, as it may be secret."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_URL = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*:/")
"""One slash is enough, as a :class:`~pathlib.Path` makes one of two."""


def check_path(path: str | Path) -> None:
    """Refuse what can be no path.

    :raises ValueError: why; never with a part of it.
    """
    if _URL.match(str(path)):
        raise ValueError("must be the path of a file, and is a URL")
    if "\0" in str(path):
        raise ValueError("must be the path of a file, and holds a NUL")


def check_location(url: str) -> None:
    """Refuse the URL of a dataset that has a user name or password in it.

    :raises ValueError: saying so, and where they belong; never with a part of them.
    """
    _, _, rest = url.partition("://")
    authority = rest.partition("/")[0]
    # A secret may have a slash in it, and so may a prefix have an @, behind a bucket's plain name.
    if "@" in authority or (":" in authority and "@" in rest):
        host = rest.rpartition("@")[2].partition("/")[0]
        raise ValueError(
            f"the URL for {host[:80]!r} must not hold a user name or password; for S3, "
            "AWS_SHARED_CREDENTIALS_FILE names a file of them"
        )
