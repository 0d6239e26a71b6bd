"""``StoreAdminService``: retention, legal holds and erasure of a running sink, for whoever shows SINK_ADMIN_TOKEN (docs/adr/0015).

The gateway does not forward it: an API key is bound to one tenant, and what takes audit events away is nobody's within it.
``python -m sink retention|hold`` (:mod:`sink.admin`) does the same to the store of a sink that does not run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from contracts.errors import FieldViolation, InvalidInput
from contracts.v1 import store_admin_pb2 as messages
from contracts.validation import id_problem
from runtime.logs import get_logger
from sink.erase import Eraser, Report, Target
from sink.query.engine import Deadline, Reads
from sink.query.errors import of_store
from sink.retention import DEFAULT, MAX_DAYS, Hold, Retention
from sink.store_errors import StoreUnavailable, describe
from sink.tombstones import Erasures

T = TypeVar("T")

ADMIN_SERVICE = "chaukas.gateway.v1.StoreAdminService"
_MAX_REASON_BYTES = 4_096
MAX_SUBJECT_BYTES = 1_024

log = get_logger(__name__)


class StoreAdmin:
    """Answers the service's calls with the store's reading clients; the calls are made by an operator, so nothing is scoped."""

    def __init__(
        self,
        store: Reads,
        cluster: str,
        default_days: int,
        erasures: Erasures | None = None,
        subject_paths: Sequence[str] = (),
    ) -> None:
        self._erasures = erasures
        self._subject_paths = subject_paths
        self._store = store
        self._cluster = cluster
        self._default_days = default_days
        #: A run, and a hold that waits for one, keep a reading client busy: never more than one.
        self._long = asyncio.Lock()

    def methods(self) -> dict[str, tuple[Any, Callable[[None, Any, Deadline], Awaitable[bytes]]]]:
        """Request class and answer by method."""
        return {
            "GetRetention": (messages.GetRetentionRequest, self.get_retention),
            "SetRetention": (messages.SetRetentionRequest, self.set_retention),
            "RunRetention": (messages.RunRetentionRequest, self.run_retention),
            "ListHolds": (messages.ListHoldsRequest, self.list_holds),
            "AddHold": (messages.AddHoldRequest, self.add_hold),
            "RemoveHold": (messages.RemoveHoldRequest, self.remove_hold),
            "Erase": (messages.EraseRequest, self.erase),
        }

    async def get_retention(self, _: None, request: messages.GetRetentionRequest, deadline: Deadline) -> bytes:
        """Days by tenant."""
        days = await self._do(Retention.days)
        answer = messages.GetRetentionResponse(default_days=days.pop(DEFAULT))
        answer.tenants.extend(messages.TenantRetention(tenant_id=tenant, days=kept) for tenant, kept in days.items())
        return answer.SerializeToString()

    async def set_retention(self, _: None, request: messages.SetRetentionRequest, deadline: Deadline) -> bytes:
        """Raises InvalidInput for impossible days or an impossible tenant."""
        _check(tenant_id=request.tenant_id)
        if not 0 <= request.days <= MAX_DAYS:
            raise InvalidInput.of("days", f"must be within 0 (for ever) to {MAX_DAYS}")
        await self._do(lambda retention: retention.set_days(request.tenant_id, request.days))
        log.info("retention set", tenant_id=request.tenant_id or "(default)", days=request.days)
        return messages.SetRetentionResponse().SerializeToString()

    async def run_retention(self, _: None, request: messages.RunRetentionRequest, deadline: Deadline) -> bytes:
        """What a run did; it waits for one that is under way."""
        async with self._long:
            report = await self._do(Retention.run)
        answer = messages.RunRetentionResponse(dropped_months=report.dropped_months)
        answer.deleted.extend(messages.DeletedRows(table=table, rows=rows) for table, rows in report.deleted.items())
        return answer.SerializeToString()

    async def list_holds(self, _: None, request: messages.ListHoldsRequest, deadline: Deadline) -> bytes:
        """Holds in force."""
        answer = messages.ListHoldsResponse()
        for hold in await self._do(Retention.holds):
            made = answer.holds.add(tenant_id=hold.tenant_id, session_id=hold.session_id, reason=hold.reason)
            made.set_at.FromNanoseconds(hold.set_ns)
        return answer.SerializeToString()

    async def add_hold(self, _: None, request: messages.AddHoldRequest, deadline: Deadline) -> bytes:
        """Raises InvalidInput without a tenant."""
        _check(required="tenant_id", tenant_id=request.tenant_id, session_id=request.session_id)
        _check_reason(request.reason)
        hold = Hold(request.tenant_id, request.session_id, request.reason)
        async with self._long:
            await self._do(lambda retention: retention.hold(hold))
        log.info("legal hold set", tenant_id=hold.tenant_id, session_id=hold.session_id)
        return messages.AddHoldResponse().SerializeToString()

    async def remove_hold(self, _: None, request: messages.RemoveHoldRequest, deadline: Deadline) -> bytes:
        """Raises InvalidInput when there is no such hold."""
        _check(required="tenant_id", tenant_id=request.tenant_id, session_id=request.session_id)
        hold = Hold(request.tenant_id, request.session_id)
        if not await self._do(lambda retention: retention.release(hold)):
            raise InvalidInput.of("session_id" if hold.session_id else "tenant_id", "no such hold is in force")
        log.info("legal hold removed", tenant_id=hold.tenant_id, session_id=hold.session_id)
        return messages.RemoveHoldResponse().SerializeToString()

    async def erase(self, _: None, request: messages.EraseRequest, deadline: Deadline) -> bytes:
        """Raises InvalidInput without a tenant, without one session or subject, and for what is under a legal hold."""
        ids = {"tenant_id": request.tenant_id, "project_id": request.project_id, "session_id": request.session_id}
        _check(required="tenant_id", **ids)
        if bool(request.session_id) == bool(request.subject):
            raise InvalidInput.of("session_id", "name either a session_id or a subject")
        if len(request.subject.encode()) > MAX_SUBJECT_BYTES:
            raise InvalidInput.of("subject", f"must have at most {MAX_SUBJECT_BYTES} bytes")
        _check_reason(request.reason)
        target = Target(request.tenant_id, request.project_id, request.session_id, request.subject)

        def run(client: Client) -> Report:
            eraser = Eraser(client, self._cluster, self._erasures, self._subject_paths)
            return eraser.erase(target, request.reason, dry_run=request.dry_run)

        async with self._long:
            report = await self._read(run)
        answer = messages.EraseResponse(erasure_id=report.erasure_id, session_ids=report.sessions)
        if report.erasure_id:
            answer.erased_at.FromNanoseconds(report.erased_ns)
        answer.erased.extend(messages.DeletedRows(table=table, rows=rows) for table, rows in report.rows.items())
        return answer.SerializeToString()

    async def _do(self, job: Callable[[Retention], T]) -> T:
        """Run `job` on a thread of the store's. Raises errors in our own classes."""

        def run(client: Client) -> T:
            return job(Retention(client, self._cluster, self._default_days))

        return await self._read(run)

    async def _read(self, run: Callable[[Client], T]) -> T:
        try:
            return await self._store.read(run)
        except ClickHouseError as error:
            log.warning("administration failed", error=describe(error))
            raise of_store(error) from None
        except OSError as error:
            log.warning("administration failed", error=type(error).__name__)
            raise StoreUnavailable("the store does not answer") from None


def _check_reason(reason: str) -> None:
    if len(reason.encode()) > _MAX_REASON_BYTES:
        raise InvalidInput.of("reason", f"must have at most {_MAX_REASON_BYTES} bytes")


def _check(required: str = "", **ids: str) -> None:
    problems = [FieldViolation(name, problem) for name, value in ids.items() if (problem := id_problem(value))]
    if required and not ids[required]:
        problems.append(FieldViolation(required, "is required"))
    if problems:
        raise InvalidInput(problems)
