"""Do all settings load, and is every variable one that somebody reads?"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

from confluent_kafka import KafkaException
from pydantic_settings import BaseSettings

from cli.doctor.findings import Finding, Severity
from cli.doctor.site import Site
from runtime.kafka import admin
from runtime.settings import GatewaySettings, KafkaSettings, ProcessorsSettings, SinkSettings, TracingSettings
from runtime.settings.base import env_name
from runtime.settings.stack import StackSettings

NAME = "configuration"

_CLASSES: tuple[type[BaseSettings], ...] = (
    GatewaySettings,
    ProcessorsSettings,
    SinkSettings,
    StackSettings,
    KafkaSettings,
    TracingSettings,
)
#: Of others: KAFKA_ is not among them, because librdkafka says itself what it does not know.
_PREFIXES = ("GATEWAY_", "PROCESSORS_", "SINK_", "STACK_", "TRACING_")
#: Read by the commands, beside the settings.
_COMMANDS = re.compile(r"GATEWAY_ENDPOINT(_\w+)?")
#: What Kubernetes and container links put there for services that are named like our prefixes.
_LINKS = re.compile(r"\w+?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_(ADDR|PORT|PROTO))?)?)")


def check(site: Site) -> Iterator[Finding]:
    """Loads nothing anew: the site has tried. Opens no connection that is waited for."""
    for title, problem in site.problems.items():
        for line in problem.splitlines():
            yield Finding(NAME, title, Severity.ERROR, line, "correct the variable; docs/settings.md lists all")
    if not site.problems:
        yield Finding(NAME, "settings", Severity.OK, f"{len(known())} settings load")
    yield from unknown(site.environment)
    if site.kafka is not None:
        try:
            admin(site.kafka)
        except KafkaException as error:
            message = f"librdkafka refuses a KAFKA_ variable: {error.args[0].str()}"
            remedy = "KAFKA_<NAME> is passed on as <name> with dots for underscores; docs/settings.md"
            yield Finding(NAME, "Kafka client", Severity.ERROR, message, remedy)


def known() -> set[str]:
    """Every variable that is a setting."""
    return {env_name(cls, name, field) for cls in _CLASSES for name, field in cls.model_fields.items()}


def unknown(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Variables with our prefixes that nobody reads. Values are not shown."""
    names = known()
    for name in sorted(environment):
        if not name.startswith(_PREFIXES) or name in names or _COMMANDS.fullmatch(name):
            continue
        if _LINKS.fullmatch(name) and not _ours(name, names):
            continue
        near = difflib.get_close_matches(name, names, 1, cutoff=0.8)
        remedy = f"did you mean {near[0]}?" if near else "remove it, or see docs/settings.md"
        yield Finding(NAME, name, Severity.WARNING, "no setting has this name: it does nothing", remedy)


def _ours(name: str, names: set[str]) -> bool:
    """A mistyped setting that ends in _PORT, not a link: its closest setting ends like it."""
    near = difflib.get_close_matches(name, names, 1, cutoff=0.9)
    return bool(near) and near[0].endswith("_PORT")
