"""`dlq list|show|replay|accept`: dead letters, read from and answered on Kafka itself.

So they work while the store is away and while a flood keeps the processes down: that is when they are needed.
"""

from cli.dlq.commands import register

__all__ = ["register"]
