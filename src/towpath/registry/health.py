"""Health of the registry under the upstream server's paths, which its manifests probe."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import orjson
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from towpath.errors import TowpathError
from towpath.registry import store
from towpath.registry.database import Database
from towpath.registry.kinds import KINDS
from towpath.registry.migrations import revision
from towpath.registry.paging import Paging
from towpath.registry.tables import HEAD
from towpath.spec._wire import JsonObject

__all__ = ["routes"]

PATIENCE_SECONDS: Final = 5


def routes(database: Database) -> list[BaseRoute]:
    """``…/readyz/isDirty`` (the tables are there) and ``…/readyz/health`` (and every kind lists).

    Registry specification 3.3. ``?format=json`` asks for the details.
    """

    def probe(*, listing: bool) -> Callable[[Request], Awaitable[Response]]:
        async def handler(request: Request) -> Response:
            began = time.monotonic()
            checks = await _checks(database, listing=listing)
            failed = [check["Message"] for check in checks.values() if check["Status"] != "pass"]
            status = 503 if failed else 200
            if request.query_params.get("format") != "json":
                return PlainTextResponse(failed[0] if failed else "OK", status)
            details = {
                "check_duration_ms": round((time.monotonic() - began) * 1000),
                "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }
            answer = {
                "status": "fail" if failed else "pass",
                "checks": {**checks, "meta": {"Name": "meta", "Details": details}},
            }
            return Response(orjson.dumps(answer), status, media_type="application/json")

        return handler

    return [
        Route(f"{prefix}/readyz/{name}", probe(listing=listing), methods=["GET"])
        for name, listing in (("isDirty", False), ("health", True))
        for prefix in ("", "/{anything:path}")
    ]


async def _checks(database: Database, *, listing: bool) -> dict[str, JsonObject]:
    def look(tx: Connection) -> str | None:
        found = revision(tx)
        if listing:
            for kind in KINDS.values():
                store.page(tx, (kind,), store.Filter(), Paging(size=1))
        return found

    found: str | None = None
    message = ""
    try:
        with anyio.fail_after(PATIENCE_SECONDS):
            found = await database.read(look, abandon=True)
        if found is None:
            message = "the database has no tables of the registry"
        elif found != HEAD:
            message = f"the database is of version {found.lstrip('0')}, not {HEAD.lstrip('0')}"
    except TowpathError as exc:
        message = exc.message
    except TimeoutError:
        message = "the database is too busy to be looked at"
    names = ("database", "model-registry") if listing else ("database",)
    return {
        name: {
            "Name": name,
            "Status": "fail" if message else "pass",
            "Message": message or "OK",
            "Details": {"schema_version": found and int(found), "schema_dirty": bool(message)},
        }
        for name in names
    }
