"""``python -m gateway``: one gateway process, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys

import uvloop

from gateway.app import Gateway
from runtime import logs, starts
from runtime.settings import GatewaySettings, InvalidSettings, KafkaSettings, TracingSettings, load
from runtime.shared_metrics import NameTaken, SharedMetrics

#: New containers that live before the garbage collector looks at them.
_NEW_OBJECTS = 10_000


def main() -> int:
    """Exits with 0 after a graceful stop; 1 when a port or the process's name is taken, 2 when a setting is wrong."""
    try:
        settings, kafka, tracing = load(GatewaySettings), load(KafkaSettings), load(TracingSettings)
    except InvalidSettings as error:
        print(error, file=sys.stderr)
        return 2
    logs.obey_signals(logs.configure("gateway", settings.log_level, settings.log_format))
    shared = None
    if settings.metrics_dir is not None:
        try:
            shared = SharedMetrics(settings.metrics_dir, "gateway", settings.instance)
        except (NameTaken, OSError) as error:
            logs.get_logger(__name__).error("cannot_share_metrics", problem=str(error))
            return 1
    gateway = Gateway(settings, kafka, shared, tracing)
    starts.begin(
        settings.starts_dir, shared.name if shared else "gateway", None if shared else gateway.metrics.registry
    )
    status = uvloop.run(_run(gateway))
    starts.note_end(status)
    return status


async def _run(gateway: Gateway) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await gateway.start()
    except OSError as error:
        logs.get_logger(__name__).error("cannot_listen", problem=str(error))
        return 1
    except InvalidSettings as error:
        print(error, file=sys.stderr)
        return 2
    # Each call leaves a few small cycles behind (grpc's), and the collector looked at everything that is under way for every 700
    # objects: a twentieth of a single event's CPU.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 20, 50)
    await stop.wait()
    await gateway.stop(exiting=True)
    starts.note_end(0)
    logging.shutdown()
    # Not by returning: the gRPC server is open until now (see Gateway.stop), and ending the loop would cancel its calls.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
