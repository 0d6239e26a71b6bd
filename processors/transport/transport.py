"""The Faust transport ``confluent-batch://``: librdkafka configuration, and which classes play which part."""

from __future__ import annotations

from typing import Any, ClassVar

import confluent_kafka
from faust.exceptions import ImproperlyConfigured
from faust.transport import base

from processors.transport.consumer import Consumer
from processors.transport.options import BatchApp, Options
from processors.transport.producer import Producer

#: Under KIP-848 these are the broker's business, and librdkafka refuses them.
_CLASSIC_ONLY = ("session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy")


class Transport(base.Transport):
    """Entry point ``confluent-batch`` of ``faust.transports``."""

    Consumer: ClassVar[Any] = Consumer
    Producer: ClassVar[Any] = Producer

    default_port = 9092
    driver_version = f"confluent_kafka={confluent_kafka.__version__}"

    @property
    def options(self) -> Options:
        """The app's options. Raises ImproperlyConfigured on an app that has none."""
        if not isinstance(self.app, BatchApp):
            raise ImproperlyConfigured("confluent-batch:// needs processors.transport.BatchApp")
        return self.app.transport_options

    def consumer_config(self) -> dict[str, Any]:
        """librdkafka configuration of the group's consumer."""
        conf = self.app.conf
        if conf.broker_credentials is not None:
            raise ImproperlyConfigured("pass security.* and sasl.* in Options, not broker_credentials")
        config: dict[str, Any] = {
            "client.id": conf.broker_client_id,
            "auto.offset.reset": conf.consumer_auto_offset_reset,
            "session.timeout.ms": int(conf.broker_session_timeout * 1000),
            "heartbeat.interval.ms": int(conf.broker_heartbeat_interval * 1000),
            "max.poll.interval.ms": int(conf.broker_max_poll_interval * 1000),
            "partition.assignment.strategy": "cooperative-sticky",
            # How much librdkafka reads ahead, and so the other half of the memory bound.
            "queued.max.messages.kbytes": 32 * 1024,
            **self.options.consumer,
            "group.id": conf.id,
            # Offsets are committed from the ledger, and from nowhere else.
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
        }
        if conf.consumer_group_instance_id:
            config["group.instance.id"] = conf.consumer_group_instance_id
        if config.get("group.protocol") == "consumer":
            for name in _CLASSIC_ONLY:
                config.pop(name, None)
        return config

    def producer_config(self) -> dict[str, Any]:
        """librdkafka configuration of the producer."""
        return {
            "client.id": self.app.conf.broker_client_id,
            "linger.ms": 2,
            "batch.size": 2**20,
            **self.options.producer,
            "acks": "all",
            "enable.idempotence": True,
            # A record that is given up must not be overtaken by later ones of its partition: the producer stops instead.
            # librdkafka excepts message.timeout.ms from this, so there is none; the stall watchdog bounds the wait.
            "message.timeout.ms": 0,
            "enable.gapless.guarantee": True,
            # The same partition as Java's and Faust's producers choose for a key.
            "partitioner": "murmur2_random",
        }
