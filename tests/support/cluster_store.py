"""The embedded engine as a cluster of one shard: the tables are those of a cluster, Distributed over local ones.

What it has no Keeper for is taken out of the statements: ON CLUSTER and the Replicated engines.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sink import cluster, store
from sink.store import Store

NAME = "gw"
_SERVERS = (
    "<tcp_port>9000</tcp_port><remote_servers><gw><shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard>"
    "</gw></remote_servers></clickhouse>"
)


def without_keeper(statement: str) -> str:
    """`statement` as a node executes it in the end."""
    plain = statement.replace(cluster.on_cluster(NAME), "")
    return re.sub(r"ReplicatedReplacingMergeTree\('[^']*', '[^']*'(?:, )?([^)]*)\)", r"ReplacingMergeTree(\1)", plain)


def open_cluster(directory: Path) -> Store:
    """Not migrated yet: `migrate(opened.settler, cluster=opened.cluster)`."""
    with pytest.MonkeyPatch.context() as patch:
        config = store._engine_config
        patch.setattr(store, "_engine_config", lambda memory: config(memory).replace("</clickhouse>", _SERVERS))
        opened = Store.open(f"chdb:///{directory}", readers=1)
    opened.cluster = NAME
    for client in opened._opened:
        for name, value in cluster.SETTINGS.items():
            if name != "insert_quorum":
                client.set_client_setting(name, value)
        _without_keeper(client)
    return opened


def _without_keeper(client: Any) -> None:
    command = client.command
    client.command = lambda statement, *arguments, **options: command(without_keeper(statement), *arguments, **options)
