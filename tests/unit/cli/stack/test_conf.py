import configparser
import os
import shlex
import sys
from pathlib import Path

import pytest

from cli.stack import kafka, plan, supervisord_conf
from cli.stack.plan import Settings
from cli.stack.processes import MARKER
from runtime.settings import GatewaySettings, InvalidSettings, ProcessorsSettings, SinkSettings, load
from runtime.settings.stack import StackSettings

PORTS = {
    "STACK_KAFKA_PORT": 1001,
    "STACK_KAFKA_CONTROLLER_PORT": 1002,
    "GATEWAY_GRPC_PORT": 1003,
    "GATEWAY_HTTP_PORT": 1004,
    "SINK_GRPC_PORT": 1005,
    "SINK_HTTP_PORT": 1006,
    "PROCESSORS_HTTP_PORT": 1007,
    "GATEWAY_STATUS_PORT": 1010,
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("STACK_", "GATEWAY_", "SINK_", "PROCESSORS_", "KAFKA_", "CLICKHOUSE_")):
            monkeypatch.delenv(name)


def make(directory: Path, **stack: object) -> Settings:
    return Settings(
        load(StackSettings, dir=directory, **stack),
        load(GatewaySettings, http_host="0.0.0.0"),
        load(ProcessorsSettings, shutdown_seconds=7.5),
        load(SinkSettings),
        load(kafka.LocalKafkaSettings),
    )


def parse(text: str) -> configparser.RawConfigParser:
    """As supervisord reads it (supervisor.options.UnhosedConfigParser)."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(text)
    return parser


def conf(settings: Settings) -> configparser.RawConfigParser:
    directory = settings.stack.dir
    return parse(supervisord_conf.render(directory, directory / "s.sock", plan.programs(settings, PORTS)))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"GATEWAY_HTTP_HOST": "0.0.0.0"}, "GATEWAY_ALLOW_PLAINTEXT"),
        ({"SINK_GRPC_HOST": "0.0.0.0"}, "SINK_ALLOW_PLAINTEXT"),
        ({"GATEWAY_TLS_CERT_FILE": "c", "GATEWAY_TLS_KEY_FILE": "k"}, "a local stack speaks no TLS"),
        ({"SINK_TLS_CERT_FILE": "c", "SINK_TLS_KEY_FILE": "k"}, "a local stack speaks no TLS"),
        ({"GATEWAY_SINK_CA_FILE": "ca"}, "a local stack speaks no TLS"),
    ],
)
def test_what_would_expose_the_stack_is_refused_before_it_starts(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings, match=said):
        Settings.from_environment()


def test_what_is_allowed_to_be_exposed_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_HTTP_HOST", "0.0.0.0")
    monkeypatch.setenv("GATEWAY_ALLOW_PLAINTEXT", "true")
    assert Settings.from_environment().gateway.http_host == "0.0.0.0"


def test_gateways_share_the_quotas(tmp_path: Path) -> None:
    environment = plan.environment(make(tmp_path, gateways=3), PORTS, "t", "a", {})
    assert environment["GATEWAY_QUOTA_PROCESSES"] == "3"
    unasked = make(tmp_path)
    environment = plan.environment(unasked, PORTS, "t", "a", {})
    assert environment["GATEWAY_QUOTA_PROCESSES"] == str(unasked.stack.gateway_processes) != "0"


def test_programs_and_their_order(tmp_path: Path) -> None:
    found = conf(make(tmp_path, gateways=2, processors=3))
    programs = {name.removeprefix("program:"): found[name] for name in found.sections() if ":" in name}
    del programs["rpcinterface:supervisor"]
    assert sorted(programs, key=lambda name: int(programs[name]["priority"])) == [
        "kafka",
        "sink",
        "processors",
        "gateway",
    ]
    assert programs["gateway"]["numprocs"] == "2"
    assert programs["processors"]["numprocs"] == "3"
    assert programs["gateway"]["environment"] == 'GATEWAY_INSTANCE="%(process_num)d"'
    assert programs["processors"]["environment"] == 'PROCESSORS_INSTANCE="%(process_num)d"'
    assert programs["processors"]["stopwaitsecs"] == "13", "its own 7.5 s, rounded up, and a margin"
    assert all(program["autostart"] == "false" for program in programs.values())
    assert all(program["autorestart"] == "true" for program in programs.values())
    assert shlex.split(programs["gateway"]["command"]) == [sys.executable, "-P", "-m", "gateway"]


def test_what_dies_at_once_is_tried_for_ever_with_growing_pauses(tmp_path: Path) -> None:
    found = conf(make(tmp_path, steady_seconds=7))
    for program in ("kafka", "sink", "processors", "gateway"):
        assert found[f"program:{program}"]["startsecs"] == "7"
        # supervisord waits one second more after each try: a month of tries, and never FATAL.
        assert int(found[f"program:{program}"]["startretries"]) ** 2 / 2 > 30 * 86_400


def test_a_directory_with_a_percent_sign_and_a_space_survives(tmp_path: Path) -> None:
    directory = tmp_path / "50% of it"
    found = conf(make(directory))
    written = found["program:kafka"]["command"].replace("%%", "%")
    assert str(directory / "kafka" / "server.properties") in shlex.split(written)
    assert found["supervisord"]["logfile"] == str(directory).replace("%", "%%") + "/logs/supervisord.log"


@pytest.mark.parametrize("name", ["a ;b", "a #b", "a\nb"])
def test_a_directory_supervisord_cannot_be_told_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidSettings, match="STACK_DIR"):
        load(StackSettings, dir=tmp_path / name)


def test_the_configuration_holds_no_secret(tmp_path: Path) -> None:
    settings = make(tmp_path, clickhouse_dsn="clickhouse://u:hidden@h/db")
    text = supervisord_conf.render(tmp_path, tmp_path / "s", plan.programs(settings, PORTS))
    environment = plan.environment(settings, PORTS, "s3cret", "op3rator", {})
    assert environment["SINK_TOKEN"] == environment["GATEWAY_SINK_TOKEN"] == "s3cret"
    assert environment["CLICKHOUSE_DSN"] == "clickhouse://u:hidden@h/db"
    assert environment["SINK_ADMIN_TOKEN"] == "op3rator"
    assert "s3cret" not in text
    assert "op3rator" not in text
    assert "hidden" not in text


def test_the_environment_connects_the_parts(tmp_path: Path) -> None:
    environment = plan.environment(make(tmp_path), PORTS, "token", "operator", {"PATH": "/bin"})
    assert environment["PATH"] == "/bin"
    assert environment["KAFKA_BOOTSTRAP_SERVERS"] == "127.0.0.1:1001"
    assert environment["GATEWAY_SINK_TARGET"] == "127.0.0.1:1005"
    assert environment["GATEWAY_HTTP_PORT"] == "1004"
    assert environment["GATEWAY_STATUS_PORT"] == "1010"
    assert environment["GATEWAY_METRICS_DIR"] == str(tmp_path / "metrics")
    assert environment["CLICKHOUSE_DSN"] == f"chdb:///{tmp_path}/clickhouse"
    assert environment["GATEWAY_KEYS_FILE"] == str(tmp_path / "keys.json")
    assert environment[MARKER]


def test_what_the_caller_says_of_other_systems_stays_out(tmp_path: Path) -> None:
    caller = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_BOOTSTRAP_SERVERS": "production:9092",
        "CLICKHOUSE_DSN": "clickhouse://production",
        "SINK_TOKEN": "theirs",
        "SINK_ADMIN_TOKEN": "theirs",
        "KAFKA_TOPIC_PARTITIONS": "3",
        "GATEWAY_LINGER_MS": "5",
    }
    environment = plan.environment(make(tmp_path), PORTS, "ours", "operators", caller)
    assert not any("production" in value or value in ("SASL_SSL", "theirs") for value in environment.values())
    assert environment["KAFKA_TOPIC_PARTITIONS"] == "3"
    assert environment["GATEWAY_LINGER_MS"] == "5"


def test_the_local_broker_is_reached_without_the_callers_security(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    assert "security.protocol" not in load(kafka.LocalKafkaSettings).client_config()


def test_status_pages_are_asked_on_an_address_that_can_be_reached(tmp_path: Path) -> None:
    programs = {program.name: program for program in plan.programs(make(tmp_path, gateways=2, processors=2), PORTS)}
    assert programs["gateway"].ready_urls == ["http://127.0.0.1:1010/readyz", "http://127.0.0.1:1011/readyz"]
    assert programs["processors"].ready_urls == ["http://127.0.0.1:1007/readyz", "http://127.0.0.1:1008/readyz"]
    assert programs["processors"].instance_names() == ["processors-0", "processors-1"]
    assert programs["kafka"].ready_urls == []


def test_a_long_path_gets_its_socket_elsewhere(tmp_path: Path) -> None:
    short, long = Path("/srv/stack"), Path("/srv") / ("ö" * 50)
    assert supervisord_conf.socket_path(short, tmp_path) == short / "supervisor.sock"
    assert supervisord_conf.socket_path(long, Path("/tmp/x")) == Path("/tmp/x/supervisor.sock")


def test_the_broker_listens_on_the_loopback_address_only() -> None:
    lines = dict(line.split("=", 1) for line in kafka.properties(Path("/d"), 1, 2).splitlines())
    assert lines["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert lines["controller.quorum.voters"] == "1@127.0.0.1:2"
    assert lines["auto.create.topics.enable"] == "false"


def test_the_class_path_survives_spaces(tmp_path: Path) -> None:
    kafka.write_configuration(tmp_path, [Path("/a b/one.jar"), Path("/two.jar")], 1, 2)
    assert (tmp_path / "classpath.args").read_text() == '-cp "/a b/one.jar:/two.jar"\n'


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8), (64, 8)])
def test_gateways_are_half_of_the_cores_unless_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, expected: int
) -> None:
    monkeypatch.setattr("runtime.settings.stack.cores", lambda: cores)
    assert conf(make(tmp_path))["program:gateway"]["numprocs"] == str(expected)
    assert conf(make(tmp_path, gateways=3))["program:gateway"]["numprocs"] == "3"
