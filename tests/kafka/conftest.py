"""A real Kafka broker (KRaft, one node) from its jars, which Maven fetches; or the one that HEADRACE_TEST_KAFKA names."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded import die_with_parent, free_port

POM = Path(__file__).with_name("pom.xml")
CACHE = Path.home() / ".cache" / "headrace" / "kafka"
PATIENCE = 120.0
"""Seconds for a broker to come up on a busy machine."""
PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""


def jars() -> Path:
    """The folder of the broker's jars, fetched once for each content of pom.xml."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            pytest.fail(
                f"{program} is needed (Debian: default-jre-headless, maven), or HEADRACE_TEST_KAFKA=HOST:PORT"
            )
    folder = CACHE / hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    if not folder.is_dir():
        fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
        command = [
            "mvn",
            "-q",
            "-B",
            "-f",
            str(POM),
            "dependency:copy-dependencies",
            f"-DoutputDirectory={fresh}",
        ]
        subprocess.run(command, check=True, timeout=300)
        if not folder.is_dir():
            fresh.rename(folder)
    return folder


class Broker:
    """One broker on loopback, which can be killed and started again on the same data."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._properties = folder / "server.properties"
        self._properties.write_text(
            PROPERTIES.format(port=self.port, controller=free_port(), data=folder / "data")
        )
        self._java = ["java", "-Xmx384m", "-cp", f"{jars()}/*"]
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        form = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._properties)]
        subprocess.run([*self._java, *form], check=True, timeout=PATIENCE, capture_output=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self._folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._properties)], cwd=self._folder, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, preexec_fn=die_with_parent,
            )  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while not answers(self.port):
            assert self._process.poll() is None, (self._folder / "broker.log").read_text()[-4000:]
            assert time.monotonic() < deadline, "the broker did not come up"
            time.sleep(0.2)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker of our own."""
    made = Broker(tmp_path_factory.mktemp("kafka"))
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> str:
    """Where the brokers are."""
    named = os.environ.get("HEADRACE_TEST_KAFKA")
    return named or request.getfixturevalue("broker").address


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"events-{secrets.token_hex(6)}"
