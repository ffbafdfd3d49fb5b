"""The distribution as an ASGI app."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from towpath import web
from towpath.distribution import blobs, manifests
from towpath.distribution.repositories import Repositories
from towpath.settings import Distribution

__all__ = ["app"]


async def _version(_: Request) -> Response:
    """That this is a registry (specification, endpoint 1)."""
    return JSONResponse({}, headers={"Docker-Distribution-API-Version": "registry/2.0"})


def app(root: Path, settings: Distribution | None = None) -> Starlette:
    """An OCI registry over a folder of layouts.

    Args:
        root: The folder; made when first written to.
        settings: Limits.
    """
    repositories = Repositories(root)
    routes = [
        Route("/v2/", _version, methods=["GET"]),
        Route("/v2", _version, methods=["GET"]),
        *manifests.routes(repositories, settings or Distribution()),
        *blobs.routes(repositories),
    ]
    return web.app(routes, web.oci_errors)
