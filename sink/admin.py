"""What an operator does to the store: ``python -m sink retention …`` and ``python -m sink hold …``.

For a sink that does not run: the embedded engine belongs to one process. ``chaukas-gateway retention`` and
``chaukas-gateway hold`` do the same through a running one (:mod:`sink.store_admin`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from clickhouse_connect.driver.exceptions import ClickHouseError

from contracts.errors import PermanentError
from runtime.settings import InvalidSettings, SinkSettings, load
from sink.dsn import InvalidDsn
from sink.migrate import migrate
from sink.retention import DEFAULT, MAX_DAYS, Hold, Retention
from sink.store import Store
from sink.store_errors import describe

COMMANDS = ("retention", "hold")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sink", description=__doc__)
    groups = parser.add_subparsers(dest="group", required=True)
    retention = groups.add_parser("retention", help="how long events are kept").add_subparsers(
        dest="action", required=True
    )
    retention.add_parser("show", help="days by tenant")
    change = retention.add_parser("set", help="days to keep, counted from receipt; 0: for ever")
    change.add_argument("days", type=int)
    change.add_argument("--tenant", default=DEFAULT, help="without: the default of all tenants")
    retention.add_parser("run", help="drop and delete what has expired, now")
    hold = groups.add_parser("hold", help="legal holds, which retention never crosses").add_subparsers(
        dest="action", required=True
    )
    hold.add_parser("list")
    for name in ("add", "remove", "release"):
        one = hold.add_parser(name)
        one.add_argument("tenant")
        one.add_argument("--session", default="", help="one session; without: the whole tenant")
        one.add_argument("--reason", default="")
    return parser


def main(arguments: Sequence[str]) -> int:
    """0: done; 1: the store cannot be used, or there is no such hold; 2: wrong settings or arguments. Blocks."""
    options = _parser().parse_args(arguments)
    if not 0 <= getattr(options, "days", 0) <= MAX_DAYS:
        print(f"days: 0 (for ever) to {MAX_DAYS}", file=sys.stderr)
        return 2
    try:
        settings = load(SinkSettings)
        store = Store.open(settings.clickhouse_dsn.get_secret_value(), readers=1, ca_file=settings.clickhouse_ca_file)
    except (InvalidSettings, InvalidDsn) as error:
        print(error, file=sys.stderr)
        return 2
    except (PermanentError, ClickHouseError, OSError) as error:
        print(error if isinstance(error, PermanentError) else describe(error), file=sys.stderr)
        return 1
    try:
        migrate(store.settler, cluster=store.cluster)
        return _do(Retention(store.settler, store.cluster, settings.retention_days), options)
    except (PermanentError, ClickHouseError) as error:
        print(error if isinstance(error, PermanentError) else describe(error), file=sys.stderr)
        return 1
    finally:
        store.close()


def _do(retention: Retention, options: argparse.Namespace) -> int:
    if options.group == "hold":
        if options.action == "list":
            for hold in retention.holds():
                print(hold.tenant_id, hold.session_id or "(whole tenant)", hold.reason, sep="\t")
            return 0
        hold = Hold(options.tenant, options.session, options.reason)
        if options.action == "add":
            retention.hold(hold)
        elif not retention.release(hold):
            print("no such hold is in force", file=sys.stderr)
            return 1
    elif options.action == "set":
        retention.set_days(options.tenant, options.days)
    elif options.action == "run":
        report = retention.run()
        print(f"months dropped whole: {report.dropped_months or 'none'}")
        for table, rows in report.deleted.items():
            print(f"{table}: {rows} rows deleted")
    else:
        for tenant, days in retention.days().items():
            print(tenant or "(default)", days or "for ever", sep="\t")
    return 0
