"""`plan`: from events per second to processes, partitions, brokers, shards, disks and memory (docs/capacity.md)."""

from cli.capacity.commands import register

__all__ = ["register"]
