"""Keeps the tests hermetic."""

from __future__ import annotations

import functools
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import trio
import trustme
from cryptography.hazmat.primitives import serialization
from kafkanode import Credentials, KafkaNode

from k2trio.settings import ENV_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

# How busy the machine is must not decide what passes.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
# A mutant is judged by the same examples each time, and that one fails is all that is asked.
hypothesis.settings.register_profile(
    "mutation",
    hypothesis.settings.get_profile("suite"),
    max_examples=10,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
hypothesis.settings.load_profile("suite")

PROXY_VARIABLES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}


LONGEST = (
    "dataset/test_healing.py",
    "test_simulation.py",
    "engine/test_engine.py",
    "commands/test_run_killed.py",
    "dataset/test_sealing_troubles.py",
    "foreign/test_futures_clients.py",
    "deploy/test_brokers.py",
    "kafka/test_sink.py",
    "kafka/test_open_log_troubles.py",
    "commands/test_ops_prometheus.py",
    "commands/test_run_files.py",
    "kafka/test_run_kafka.py",
    "commands/test_demo.py",
    "repair/test_staleness.py",
    "client/test_feed.py",
)
"""Files that one worker needs longest for; begun last, they would be waited for."""


@pytest.hookimpl(optionalhook=True)  # mutants are judged without xdist
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests of sockets and of programs wait more than they work."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    here = Path(__file__).parent
    ranks = {here / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(scope="session", autouse=True)
def heeded_interrupts() -> None:
    """A shell that starts the tests in the background has Ctrl-C ignored by all that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def nothing_found_out_before() -> None:
    """A mutant is judged in a fork of a process that has run tests, and keeps what that found."""
    modules = [module for name, module in sys.modules.items() if name.startswith("k2trio.")]
    for found in [found for module in modules for found in vars(module).values()]:
        if isinstance(found, functools._lru_cache_wrapper):
            found.cache_clear()


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the machine that runs the tests must not change them."""
    for name in list(os.environ):
        if name.upper().startswith(ENV_PREFIX) or name.upper() in PROXY_VARIABLES:
            monkeypatch.delenv(name)
    # A file that other processes of this machine use is outside too, and no virtual time knows it.
    monkeypatch.setenv(f"{ENV_PREFIX}SHARED_BUDGET", "off")


@pytest.fixture
def disk_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a thread does with files is done at once: virtual time does not wait for threads."""

    async def run_sync(work: Any, *arguments: Any, **_: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return work(*arguments)

    monkeypatch.setattr("trio.to_thread.run_sync", run_sync)


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


@pytest.fixture(scope="session")
def kafka_jars() -> Path:
    """The folder of Apache Kafka's jars."""
    folder = os.environ.get("K2TRIO_KAFKA_JARS")
    if not folder:
        pytest.skip("needs Apache Kafka: K2TRIO_KAFKA_JARS=$(.ci/kafka/jars)")
    return Path(folder)


@pytest.fixture(scope="session")
def kafka(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where an Apache Kafka is that all tests share: nobody stops it, names are unique."""
    if address := os.environ.get("K2TRIO_KAFKA"):
        yield address
        return
    jars: Path = request.getfixturevalue("kafka_jars")
    node = KafkaNode(jars, tmp_path_factory.mktemp("kafka"))
    node.start()
    yield node.address
    node.kill()


@pytest.fixture
def own_kafka(kafka_jars: Path, tmp_path: Path) -> Iterator[KafkaNode]:
    """An Apache Kafka of the test's own, running: to be stopped, killed, paused."""
    node = KafkaNode(kafka_jars, tmp_path / "kafka")
    node.start()
    yield node
    node.kill()


@pytest.fixture
def secured_kafka(
    kafka_jars: Path, tmp_path: Path, authority: trustme.CA
) -> Iterator[tuple[KafkaNode, Credentials]]:
    """The same with a listener for SASL over TLS, and who may log in there; see ``ca_file``."""
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,  # the only one that Kafka reads
            serialization.NoEncryption(),
        )
        + b"".join(part.bytes() for part in certificate.cert_chain_pems)
    )
    login = Credentials("k2trio", "s3cret", pem)
    node = KafkaNode(kafka_jars, tmp_path / "kafka", credentials=login)
    node.start()
    yield node, login
    node.kill()
