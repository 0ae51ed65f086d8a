"""One node of Apache Kafka on loopback, broker and controller in one, for tests.

``python tests/kafkanode.py --jars FOLDER`` prints ``127.0.0.1:PORT`` when it is ready, and runs
until SIGTERM. ``.ci/kafka/jars`` prints the folder of jars. Needs nothing but Java 17 or newer.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

START_S = 60.0
"""How long a node may take until it is ready; alone on a machine it takes a few seconds."""
STOP_S = 20.0
"""How long a node may take from SIGTERM to its end."""
POLL_S = 0.02
EXCERPT_LINES = 30
"""So much of its log is told of a node that does not come up."""

HOST = "127.0.0.1"
PORTS = range(20000, 30000)
"""Below those that systems give to clients: else one could have the port of a node that is down."""

READY = b"Kafka Server started"
JAVA = ("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

SETTINGS = """\
process.roles=broker,controller
node.id=1
listener.security.protocol.map=\
PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false

# One of everything.
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1

# Few threads, little memory.
num.network.threads=1
num.io.threads=2
background.threads=2
num.recovery.threads.per.data.dir=1
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.io.buffer.size=65536

# What takes minutes elsewhere takes a second: groups, dead producers, compaction, retention, and
# the return of a node that was killed.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
log.cleaner.backoff.ms=200
log.initial.task.delay.ms=1000
log.retention.check.interval.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""

SECURED = """\
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.ssl.keystore.type=PEM
listener.name.sasl_ssl.ssl.keystore.location={pem}
"""

LOGGING = """\
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
# It says when the node is ready.
logger.ready.name = kafka.server.KafkaRaftServer
logger.ready.level = INFO
"""


class NotStarted(Exception):  # noqa: N818 - an event, not a mistake in the code
    """The node did not come up; the message has the end of its log."""


@dataclass(frozen=True)
class Credentials:
    """What a listener for SASL over TLS takes: one user, by PLAIN or SCRAM-SHA-512.

    :ivar pem: a file with the server's key (PKCS #8), its certificate, and what issued that.
    """

    user: str
    password: str
    pem: Path


class KafkaNode:
    """A node that can be stopped, killed, and started again: same ports, same data.

    Its methods block, and ``start`` and ``stop`` do so for seconds: where a Trio program waits for
    the node, call them in a thread.

    :param jars: the folder of Kafka's jars.
    :param folder: for data, properties and log; made where it is not there.
    :param port: of its plain listener; a free one by default.
    :param credentials: with them it has a second listener, for SASL over TLS.
    """

    def __init__(
        self,
        jars: Path,
        folder: Path,
        port: int | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self._jars = jars
        self._folder = folder
        self._credentials = credentials
        ports = [port] if port is not None else []
        while len(ports) < 3:
            ports.append(free_port(ports))
        self._port, self._controller, self._secured = ports
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Of the plain listener, as ``bootstrap.servers`` takes it."""
        return f"{HOST}:{self._port}"

    @property
    def secured_address(self) -> str:
        """Of the listener for SASL over TLS; its certificate must be for ``127.0.0.1``."""
        assert self._credentials is not None, "a node without credentials has no such listener"
        return f"{HOST}:{self._secured}"

    @property
    def log(self) -> Path:
        """What the node says, of all its starts."""
        return self._folder / "kafka.log"

    @property
    def running(self) -> bool:
        """Whether there is a process, paused or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and return when it serves.

        :raises NotStarted: it ended, or was not ready within :data:`START_S`.
        """
        assert not self.running, "it runs"
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._folder / "data" / "meta.properties").exists():
            self._format()
        with self.log.open("ab") as log:
            before = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - ours
                [*self._java(), "kafka.Kafka", "server.properties"],
                cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            self._await_ready(before)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End it in order (SIGTERM), paused or not; it is killed if it takes too long."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once (SIGKILL), paused or not."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Stop it if it runs, and start it again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Hold it (SIGSTOP): connections stay open, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _java(self) -> list[str]:
        return [*JAVA, "-cp", f"{self._jars.absolute()}/*",
                "-Dlog4j2.configurationFile=log4j2.properties"]  # fmt: skip

    def _format(self) -> None:
        (self._folder / "server.properties").write_text(self._properties())
        (self._folder / "log4j2.properties").write_text(LOGGING)
        # 16 bytes; of a first one of 0 comes no "-", which the tool would take for an option.
        cluster = base64.urlsafe_b64encode(b"\0" + secrets.token_bytes(15)).decode().rstrip("=")
        users = []
        if (login := self._credentials) is not None:
            user = f"SCRAM-SHA-512=[name={login.user},password={login.password}]"
            users = ["--add-scram", user]
        with self.log.open("ab") as log:
            try:
                done = subprocess.run(  # noqa: S603 - ours
                    [*self._java(), "kafka.tools.StorageTool", "format",
                     "--cluster-id", cluster, "--config", "server.properties", *users],
                    cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    timeout=START_S, check=False,
                )  # fmt: skip
            except (OSError, subprocess.TimeoutExpired) as error:
                raise NotStarted(f"no data folder for Kafka: {error}") from error
        if done.returncode:
            raise NotStarted(self._excerpt("no data folder for Kafka"))

    def _properties(self) -> str:
        listeners = [f"PLAINTEXT://{self.address}"]
        secured = ""
        if (login := self._credentials) is not None:
            listeners.append(f"SASL_SSL://{self.secured_address}")
            secured = SECURED.format(user=login.user, password=login.password, pem=login.pem)
        return (
            f"{SETTINGS}\n"
            f"listeners={','.join(listeners)},CONTROLLER://{HOST}:{self._controller}\n"
            f"advertised.listeners={','.join(listeners)}\n"
            f"controller.quorum.voters=1@{HOST}:{self._controller}\n"
            f"log.dirs={(self._folder / 'data').absolute()}\n"
            f"{secured}"
        )

    def _await_ready(self, before: int) -> None:
        """Wait for the line that tells so after the first ``before`` bytes of the log."""
        end = time.monotonic() + START_S
        with self.log.open("rb") as log:
            log.seek(before)
            said = b""
            while READY not in said:
                if not self.running:
                    raise NotStarted(self._excerpt("Kafka ended before it was ready"))
                if time.monotonic() > end:
                    raise NotStarted(self._excerpt(f"Kafka was not ready within {START_S:.0f} s"))
                time.sleep(POLL_S)
                said += log.read()

    def _excerpt(self, problem: str) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-EXCERPT_LINES:]
        return "\n".join([f"{problem}; its log ends so:", *lines])


def free_port(other_than: list[int]) -> int:
    """A port that is free now, and that no client is given by the system."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            if port not in other_than:
                return port


def main() -> None:
    """Run one in the foreground."""
    parser = argparse.ArgumentParser(description="One node of Apache Kafka on loopback.")
    parser.add_argument("--jars", type=Path, required=True, help="folder of Kafka's jars")
    parser.add_argument("--port", type=int, help="a free one by default")
    parser.add_argument("--data", type=Path, help="kept; by default a folder that goes at the end")
    options = parser.parse_args()
    if not any(options.jars.glob("kafka_*.jar")):
        sys.exit(f"--jars {options.jars}: no jars of Kafka there; .ci/kafka/jars fetches them")

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    with tempfile.TemporaryDirectory(prefix="kafka-") as passing:
        node = KafkaNode(options.jars, options.data or Path(passing), options.port)
        try:
            node.start()
            print(node.address, flush=True)  # noqa: T201 - what it is asked for
            while node.running:
                time.sleep(0.2)
            sys.exit(f"Kafka ended by itself; see {node.log}")
        except NotStarted as error:
            sys.exit(str(error))
        except KeyboardInterrupt:
            pass
        finally:
            node.stop()


if __name__ == "__main__":
    main()
