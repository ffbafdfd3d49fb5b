"""Where others read how ServiceAccount tokens are checked.

Source: OpenID Connect Discovery 1.0, "Provider Configuration Information"; RFC 7517.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from towpath.apiserver.access.access import Access

__all__ = ["issuer_routes"]


def issuer_routes(access: Access) -> list[Route]:
    """The two documents of an issuer; who may read them is a matter of roles."""

    async def configuration(request: Request) -> Response:
        host, port = request.scope["server"]  # not what the caller says it is called
        name = f"[{host}]" if ":" in host else host
        base = f"https://{name}:{port}" if port else f"https://{name}"
        return JSONResponse(access.configuration(base))

    async def keys(_: Request) -> Response:
        return JSONResponse(access.keys(), media_type="application/jwk-set+json")

    return [
        Route("/.well-known/openid-configuration", configuration),
        Route("/openid/v1/jwks", keys),
    ]
