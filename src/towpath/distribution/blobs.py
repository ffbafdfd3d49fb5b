"""Blobs and uploads of the distribution: bodies stream between the wire and the layout."""

from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from towpath.blob.cas import Layout
from towpath.distribution.repositories import Repositories
from towpath.distribution.wire import byte_range, codes, content_range, digest_in, uploaded
from towpath.errors import NotFoundError
from towpath.spec.names import Digest
from towpath.spec.oci import OCTET_STREAM

__all__ = ["routes"]


def routes(repositories: Repositories) -> list[Route]:
    """Routes of blobs and uploads (specification, "Endpoints" 2, 4 to 6, 10, 11, 13, 14)."""
    blobs = _Blobs(repositories)
    upload = "/v2/{name:path}/blobs/uploads/{upload}"
    return [
        Route("/v2/{name:path}/blobs/uploads/", blobs.begin, methods=["POST"]),
        Route("/v2/{name:path}/blobs/uploads", blobs.begin, methods=["POST"]),
        Route(upload, blobs.status, methods=["GET"]),
        Route(upload, blobs.append, methods=["PATCH"]),
        Route(upload, blobs.finish, methods=["PUT"]),
        Route(upload, blobs.abort, methods=["DELETE"]),
        Route("/v2/{name:path}/blobs/{digest}", blobs.get, methods=["GET"]),
        Route("/v2/{name:path}/blobs/{digest}", blobs.delete, methods=["DELETE"]),
    ]


class _Blobs:
    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories

    def _layout(self, request: Request) -> tuple[str, Layout]:
        name = request.path_params["name"]
        with codes("NAME_UNKNOWN", "NAME_INVALID"):
            return name, self._repositories.layout(name)

    async def get(self, request: Request) -> Response:
        """A blob or a range of it; HEAD without its bytes."""
        _, layout = self._layout(request)
        digest = digest_in(request.path_params["digest"])
        with codes("BLOB_UNKNOWN", "UNSUPPORTED"):
            size = await layout.stat(digest)
            part = (
                None if request.method == "HEAD" else byte_range(request.headers.get("range"), size)
            )
        start, count = part or (0, size)
        headers = {
            "Content-Type": OCTET_STREAM,
            "Content-Length": str(count),
            "Docker-Content-Digest": digest,
            "Accept-Ranges": "bytes",
            "ETag": f'"{digest}"',
        }
        if request.method == "HEAD":
            return Response(headers=headers)
        if part is not None:
            headers["Content-Range"] = f"bytes {start}-{start + count - 1}/{size}"
        body = layout.open(digest, start, count)
        return StreamingResponse(body, status_code=206 if part else 200, headers=headers)

    async def delete(self, request: Request) -> Response:
        """Delete a blob."""
        _, layout = self._layout(request)
        with codes("BLOB_UNKNOWN", "UNSUPPORTED"):
            await layout.delete(digest_in(request.path_params["digest"]))
        return Response(status_code=202)

    async def begin(self, request: Request) -> Response:
        """Begin an upload, or take a blob whole (``digest``), or from elsewhere (``mount``)."""
        name, layout = self._layout(request)
        query = request.query_params
        if "mount" in query and "from" in query:
            digest = digest_in(query["mount"])
            with codes("NAME_UNKNOWN", "NAME_INVALID"):
                origin = self._repositories.layout(query["from"])
            if await layout.link(digest, origin):
                return _created(name, digest)
        upload = await layout.begin()
        if "digest" in query:
            try:
                return await self._finish(request, name, layout, upload)
            except Exception:
                with suppress(NotFoundError):
                    await layout.abort(upload)  # nobody was told its name
                raise
        return _accepted(name, upload, 0)

    async def status(self, request: Request) -> Response:
        """How far an upload is."""
        name, layout = self._layout(request)
        upload = request.path_params["upload"]
        with codes("BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"):
            size = await layout.offset(upload)
        return _accepted(name, upload, size, status=204)

    async def append(self, request: Request) -> Response:
        """Add a chunk."""
        name, layout = self._layout(request)
        upload = request.path_params["upload"]
        with codes("BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"):
            size = await layout.append(upload, request.stream(), content_range(request))
        return _accepted(name, upload, size)

    async def finish(self, request: Request) -> Response:
        """Take the last chunk, when there is one, and make the upload a blob."""
        name, layout = self._layout(request)
        return await self._finish(request, name, layout, request.path_params["upload"])

    async def _finish(self, request: Request, name: str, layout: Layout, upload: str) -> Response:
        digest = digest_in(request.query_params.get("digest", ""))
        with codes("BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"):
            await layout.append(upload, request.stream(), content_range(request))
            await layout.commit(upload, digest)
        return _created(name, digest)

    async def abort(self, request: Request) -> Response:
        """Give an upload up."""
        _, layout = self._layout(request)
        with codes("BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"):
            await layout.abort(request.path_params["upload"])
        return Response(status_code=204)


def _created(name: str, digest: Digest) -> Response:
    headers = {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
    return Response(status_code=201, headers=headers)


def _accepted(name: str, upload: str, size: int, *, status: int = 202) -> Response:
    headers = {
        "Location": f"/v2/{name}/blobs/uploads/{upload}",
        "Range": uploaded(size),
        "Docker-Upload-UUID": upload,
    }
    return Response(status_code=status, headers=headers)
