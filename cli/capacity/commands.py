"""`plan`: how much of everything a load needs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cli.capacity import costs
from cli.capacity.model import MAX_EVENTS_PER_SECOND, Load
from cli.capacity.model import plan as make_plan
from cli.capacity.render import facts, plan_table, to_json
from cli.render import console
from contracts.topics import MAX_EVENT_BYTES


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(
    events_per_second: Annotated[
        float, typer.Option(min=1, max=MAX_EVENTS_PER_SECOND, metavar="N", help="At peak, of all tenants together.")
    ],
    event_bytes: Annotated[
        int, typer.Option(min=1, max=MAX_EVENT_BYTES, metavar="BYTES", help="Average size of an event, as protobuf.")
    ] = costs.MEASURED_EVENT_BYTES,
    events_per_call: Annotated[
        int,
        typer.Option(min=1, max=1000, metavar="N", help="Events of one request; single events cost ten times as much."),
    ] = 100,
    retention_days: Annotated[int, typer.Option(min=1, max=36_500, metavar="DAYS", help="Kept in ClickHouse.")] = 30,
    kafka_hours: Annotated[int, typer.Option(min=1, max=876_000, metavar="HOURS", help="Kept on Kafka.")] = 72,
    tenants: Annotated[int, typer.Option(min=1, metavar="N", help="For the average of a tenant; costs nothing.")] = 1,
    average: Annotated[
        float | None,
        typer.Option("--average", min=0, metavar="N", help="Events/s over the days, for disks. Default: the peak."),
    ] = None,
    window_seconds: Annotated[
        int, typer.Option(min=1, max=604_800, metavar="SECONDS", help="START and END this far apart still meet.")
    ] = 300,
    headroom: Annotated[
        float, typer.Option(min=1, max=100, metavar="FACTOR", help="Planned capacity over peak load.")
    ] = 2.0,
    kafka_replicas: Annotated[int, typer.Option(min=1, max=9, metavar="N")] = 3,
    store_replicas: Annotated[int, typer.Option(min=1, max=9, metavar="N", help="Of each ClickHouse shard.")] = 2,
    node_cores: Annotated[
        int, typer.Option(min=2, max=512, metavar="N", help="Of a broker and of a ClickHouse node, at most.")
    ] = 16,
    node_disk_tib: Annotated[
        float, typer.Option(min=0.1, max=1000, metavar="TIB", help="Of each; more data needs more nodes.")
    ] = costs.NODE_DISK_BYTES / costs.TIB,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object, bytes and seconds.")] = False,
) -> None:
    """Plan partitions, processes, brokers, shards, disks and memory for a load. Asks nothing and needs nothing running.

    A calculation from figures measured on one machine, with a factor for what they leave out: docs/capacity.md has the model.
    Measure yours (`make bench ONLY=pipeline`) before buying.
    """
    load = Load(
        events_per_second,
        event_bytes,
        events_per_call,
        retention_days,
        kafka_hours,
        tenants,
        average,
        window_seconds,
        headroom,
        kafka_replicas,
        store_replicas,
        node_cores,
        round(node_disk_tib * costs.TIB),
    )
    made = make_plan(load)
    if as_json:
        typer.echo(json.dumps(to_json(made)))
        return
    console.results().print(plan_table(made))
    for fact in facts(made):
        typer.echo(fact)
