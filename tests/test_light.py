"""What an import brings: the library is light, and what only some need comes when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from processes import python

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

HEAVY = {
    "the web server": {"hypercorn", "starlette", "k2trio.web"},
    "what HTTP servers the metrics' library has": {"prometheus_client", "http.server", "wsgiref"},
    "the terminal": {"rich", "k2trio.commands"},
    "the program's log": {"structlog"},
    "the simulator": {"k2trio.simulator"},
    "certificates for tests": {"trustme", "cryptography"},
    "what datasets are made with": {"pyarrow", "numpy", "zstandard"},
    "the client of Kafka": {"confluent_kafka"},
}
"""What a program that imports the library does not need for that."""


def loaded_by(module: str) -> set[str]:
    """All modules that are there after an import, in a process of its own."""
    done = python(f"import sys, {module}; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def modules() -> set[str]:
    return loaded_by("k2trio")


@pytest.mark.parametrize("what", HEAVY)
def test_importing_the_library_does_not_load(what: str, modules: set[str]) -> None:
    assert modules & HEAVY[what] == set()


def test_a_simulator_without_tls_needs_no_certificates() -> None:
    assert loaded_by("k2trio.simulator") & HEAVY["certificates for tests"] == set()


def test_without_the_extra_tls_is_refused_in_one_line_that_says_what_to_install(
    tmp_path: Path,
) -> None:
    arguments = ["simulate", "--tls", "--ca-file", str(tmp_path / "ca.pem")]
    done = python(
        "import sys; sys.modules['trustme'] = None; "
        f"from k2trio.commands.main import main; sys.exit(main({arguments}))"
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "k2trio: --tls needs the package trustme: python -m pip install 'k2trio[certificates]'\n"
    )
