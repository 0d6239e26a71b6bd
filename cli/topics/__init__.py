"""The Kafka topics as configuration: `topics ensure|diff|apply`."""

from cli.topics.commands import register

__all__ = ["register"]
