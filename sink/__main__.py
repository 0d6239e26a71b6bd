"""``python -m sink [--role all|writer|query] [--migrate-only]``: exit code 0 after a stop, 1 after a failure, 2 for wrong settings.

``python -m sink retention …`` and ``python -m sink hold …``: see :mod:`sink.admin`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import uvloop

from contracts.errors import PermanentError
from runtime import starts
from runtime.logs import configure, obey_signals
from runtime.settings import InvalidSettings, KafkaSettings, SinkSettings, TracingSettings, load
from runtime.settings.sink import SinkRole
from sink import admin, garbage
from sink.dsn import InvalidDsn, parse_dsn
from sink.process import SinkProcess, process_registry
from sink.query.server import check_exposure


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sink until it is told to stop. Blocks."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in admin.COMMANDS:
        return admin.main(given)
    parser = argparse.ArgumentParser(prog="python -m sink", description="Kafka to ClickHouse, and queries.")
    parser.add_argument("--role", choices=[role.value for role in SinkRole], help="overrides SINK_ROLE")
    parser.add_argument("--migrate-only", action="store_true", help="bring the schema up to date and leave")
    options = parser.parse_args(given)
    try:
        settings = load(SinkSettings, **({"role": options.role} if options.role else {}))
        kafka, tracing = load(KafkaSettings), load(TracingSettings)
        parse_dsn(settings.clickhouse_dsn.get_secret_value())
        if settings.role is not SinkRole.WRITER and not options.migrate_only:
            check_exposure(settings)  # before a store is opened
    except (InvalidSettings, InvalidDsn) as error:
        print(error, file=sys.stderr)
        return 2
    obey_signals(configure("sink", settings.log_level, settings.log_format))
    garbage.arrange(writes=settings.role is not SinkRole.QUERY)
    registry = process_registry()
    if not options.migrate_only:
        starts.begin(settings.starts_dir, "sink", registry)
    try:
        status = uvloop.run(SinkProcess(settings, kafka, registry, tracing).run(migrate_only=options.migrate_only))
    except (InvalidSettings, PermanentError, OSError) as error:
        print(error, file=sys.stderr)
        status = 2 if isinstance(error, InvalidSettings) else 1
    starts.note_end(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
