"""OpenAPI over HTTP: documents are built when they are asked for and not kept; what is kept is a
digest of each, by which clients keep their own copies.

Source: Kubernetes API concepts, "OpenAPI interface definition"; RFC 9110, conditional requests.
"""

import hashlib
from collections.abc import Callable
from typing import Final

import orjson
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from towpath.apiserver.kinds import Catalogue, Resource, unknown
from towpath.apiserver.openapi import gnostic, v2
from towpath.apiserver.openapi.components import components
from towpath.apiserver.openapi.paths import paths
from towpath.apiserver.structures import TYPES
from towpath.spec._wire import JsonObject

__all__ = ["Documents"]

_TITLE: Final = "Towpath"
_JSON: Final = "application/json"
_PROTOBUF: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""What kubectl asks for has an ``@``, which its own parser of answers refuses."""
_FOREVER: Final = "public, immutable, max-age=31536000"

_Served = tuple[Resource, ...]


class Documents:
    """The OpenAPI documents of what is served.

    Args:
        catalogue: What is served.
        version: Our own version, told in the documents.
    """

    def __init__(self, catalogue: Catalogue, version: str) -> None:
        self._catalogue = catalogue
        self._version = version
        self._digests: dict[str, tuple[_Served, str]] = {}

    def v3(self, group: str, version: str) -> JsonObject:
        """The document of a group version. Raises NotFoundError."""
        served = self._served().get(_place(group, version))
        if not served:
            raise unknown()
        return {
            "openapi": "3.0.0",
            "info": {"title": _TITLE, "version": self._version},
            "paths": paths(served),
            "components": {
                "schemas": components(served),
                "securitySchemes": {
                    "BearerToken": {
                        "type": "apiKey",
                        "name": "authorization",
                        "in": "header",
                        "description": "Bearer token.",
                    }
                },
            },
            "security": [{"BearerToken": []}],
        }

    def v2(self) -> JsonObject:
        """The document of everything, in OpenAPI 2.0."""
        return v2.document(self._catalogue, _TITLE, self._version)

    def index(self) -> JsonObject:
        """``/openapi/v3``: where each group version's document lies; the hash changes with it."""
        found = {
            place: {"serverRelativeURL": f"/openapi/v3/{place}?hash={self._digest(place, served)}"}
            for place, served in self._served().items()
        }
        return {"paths": found}

    async def answer_index(self, request: Request) -> Response:
        """Answer ``/openapi/v3``."""
        data = orjson.dumps(await to_thread.run_sync(self.index))
        return _answered(request, hashlib.sha256(data).hexdigest(), lambda: data, _JSON)

    async def answer_v3(self, request: Request) -> Response:
        """Answer ``/openapi/v3/api/v1`` and ``/openapi/v3/apis/{group}/{version}``.

        Raises:
            NotFoundError: nothing of that group and version is served.
        """
        group, version = request.path_params.get("group", ""), request.path_params["version"]
        place = _place(group, version)
        served = self._served().get(place)
        if not served:
            raise unknown()
        digest = await to_thread.run_sync(self._digest, place, served)
        wanted = request.query_params.get("hash")
        if wanted and wanted != digest:
            return RedirectResponse(f"/openapi/v3/{place}?hash={digest}", 301)

        def built() -> bytes:
            return orjson.dumps(self.v3(group, version))

        answer = await to_thread.run_sync(_answered, request, digest, built, _JSON)
        if wanted:
            answer.headers["Cache-Control"] = _FOREVER
        return answer

    async def answer_v2(self, request: Request) -> Response:
        """Answer ``/openapi/v2``, as JSON or as protobuf."""
        protobuf = "proto-openapi" in request.headers.get("accept", "")

        def answer() -> Response:
            digests = [self._digest(place, served) for place, served in self._served().items()]
            digest = hashlib.sha256("".join((*digests, str(protobuf))).encode()).hexdigest()
            encode: Callable[[JsonObject], bytes] = gnostic.encoded if protobuf else orjson.dumps
            media = _PROTOBUF if protobuf else _JSON
            return _answered(request, digest.upper(), lambda: encode(self.v2()), media)

        return await to_thread.run_sync(answer)

    def _served(self) -> dict[str, _Served]:
        """Kinds by the place of their group version, in order."""
        found: dict[str, list[Resource]] = {}
        for resource in self._catalogue:
            found.setdefault(_place(resource.kind.group, resource.kind.version), []).append(
                resource
            )
        return {place: tuple(served) for place, served in sorted(found.items())}

    def _digest(self, place: str, served: _Served) -> str:
        """Changes whenever the document would; told from what goes into it."""
        known = self._digests.get(place)
        if known is not None and known[0] == served:
            return known[1]
        digest = hashlib.sha256(f"{self._version} {TYPES.digest}".encode())
        digest.update(orjson.dumps(paths(served)))
        for resource in served:
            if resource.custom and resource.schema is not None:
                digest.update(orjson.dumps(resource.schema.document))
        found = digest.hexdigest().upper()
        self._digests[place] = (served, found)
        return found


def _place(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _answered(request: Request, digest: str, build: Callable[[], bytes], media: str) -> Response:
    """The document, or that the client's copy is the same."""
    tag = f'"{digest}"'
    headers = {"ETag": tag, "Vary": "Accept", "Cache-Control": "no-cache, private"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(build(), media_type=media, headers=headers)
