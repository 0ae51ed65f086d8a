"""Extras: packages that a capability needs and a plain installation does not bring."""

from __future__ import annotations

import importlib.util

from .errors import ConfigError


def require(module: str, extra: str, what: str) -> None:
    """Refuse what cannot work, before its module is imported.

    :param extra: what brings the module, as ``pyproject.toml`` names it.
    :param what: asks for it, e.g. ``"--tls"``.
    :raises ConfigError: if the module is not installed; it says what to install.
    """
    if importlib.util.find_spec(module) is None:
        package = module.replace("_", "-")
        raise ConfigError(
            f"{what} needs the package {package}: python -m pip install 'k2trio[{extra}]'"
        )
