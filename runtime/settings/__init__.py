"""Settings come from the environment: typed, one class per process, every one documented in ``docs/settings.md``."""

from runtime.settings.base import InvalidSettings, load
from runtime.settings.gateway import GatewaySettings
from runtime.settings.kafka import KafkaSettings
from runtime.settings.processors import ProcessorsSettings
from runtime.settings.sink import SinkSettings
from runtime.settings.tracing import TracingSettings

__all__ = [
    "GatewaySettings",
    "InvalidSettings",
    "KafkaSettings",
    "ProcessorsSettings",
    "SinkSettings",
    "TracingSettings",
    "load",
]
