"""Keeps the tests hermetic."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import trustme

from k2trio.settings import ENV_PREFIX

if TYPE_CHECKING:
    from pathlib import Path

PROXY_VARIABLES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}


@pytest.fixture(scope="session", autouse=True)
def heeded_interrupts() -> None:
    """A shell that starts the tests in the background has Ctrl-C ignored by all that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the machine that runs the tests must not change them."""
    for name in list(os.environ):
        if name.upper().startswith(ENV_PREFIX) or name.upper() in PROXY_VARIABLES:
            monkeypatch.delenv(name)
    # A file that other processes of this machine use is outside too, and no virtual time knows it.
    monkeypatch.setenv(f"{ENV_PREFIX}SHARED_BUDGET", "off")


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Issues certificates that nobody else trusts."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate, for the setting."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path
