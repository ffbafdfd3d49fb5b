"""Manifests, tags and referrers of the distribution."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from towpath.blob import image
from towpath.blob.cas import Layout
from towpath.blob.digest import of_bytes
from towpath.distribution.repositories import Repositories, next_page, page
from towpath.distribution.wire import coded, codes, digest_in
from towpath.errors import InvalidError, NotFoundError, Reason
from towpath.settings import Distribution
from towpath.spec._wire import JsonObject
from towpath.spec.names import TAG, Digest
from towpath.spec.oci import INDEX, MANIFEST_TYPES, Descriptor
from towpath.web import body

__all__ = ["references", "referrer", "routes"]


def routes(repositories: Repositories, settings: Distribution) -> list[Route]:
    """Routes of manifests, tags, referrers and the catalogue of repositories."""
    manifests = _Manifests(repositories, settings)
    manifest = "/v2/{name:path}/manifests/{reference}"
    return [
        Route("/v2/_catalog", manifests.catalog, methods=["GET"]),
        Route(manifest, manifests.get, methods=["GET"]),
        Route(manifest, manifests.put, methods=["PUT"]),
        Route(manifest, manifests.delete, methods=["DELETE"]),
        Route("/v2/{name:path}/tags/list", manifests.tags, methods=["GET"]),
        Route("/v2/{name:path}/referrers/{digest}", manifests.referrers, methods=["GET"]),
    ]


def references(document: JsonObject) -> list[Digest]:
    """What must be there before a manifest: its config and layers, or its manifests.

    Layers with ``urls`` lie elsewhere; the ``subject`` may come later.
    """
    if image.is_index(document):
        return [entry["digest"] for entry in document["manifests"]]
    layers = [layer["digest"] for layer in document["layers"] if not layer.get("urls")]
    return [document["config"]["digest"], *layers]


def referrer(manifest: Descriptor, document: JsonObject) -> JsonObject:
    """The entry of a manifest in its subject's list (specification, "Listing Referrers")."""
    config = {} if image.is_index(document) else document["config"]
    kind = document.get("artifactType") or config.get("mediaType", "")
    noted: Mapping[str, Any] = document.get("annotations") or {}
    return {
        **manifest,
        **({"artifactType": kind} if kind else {}),
        **({"annotations": noted} if noted else {}),
    }


class _Manifests:
    def __init__(self, repositories: Repositories, settings: Distribution) -> None:
        self._repositories = repositories
        self._limit: Final = settings.manifest_bytes

    def _layout(self, request: Request) -> tuple[str, Layout]:
        name = request.path_params["name"]
        with codes("NAME_UNKNOWN", "NAME_INVALID"):
            return name, self._repositories.layout(name)

    async def get(self, request: Request) -> Response:
        """A manifest by tag or digest; HEAD without its bytes."""
        _, layout = self._layout(request)
        reference = _reference(request)
        with codes("MANIFEST_UNKNOWN", "MANIFEST_INVALID"):
            found = await layout.resolve(reference)
            headers = {
                "Content-Type": found["mediaType"],
                "Content-Length": str(found["size"]),
                "Docker-Content-Digest": found["digest"],
                "ETag": f'"{found["digest"]}"',
            }
            if request.method == "HEAD":
                return Response(headers=headers)
            return Response(await layout.manifest(found["digest"]), headers=headers)

    async def put(self, request: Request) -> Response:
        """Keep a manifest under a tag or its digest."""
        name, layout = self._layout(request)
        reference = _reference(request)
        data = await body(request, self._limit)
        if ":" in reference and of_bytes(data) != reference:
            raise InvalidError(
                f"the manifest has digest {of_bytes(data)}, not {reference}",
                reason=Reason.DIGEST_MISMATCH,
            )
        with codes("MANIFEST_INVALID", "MANIFEST_INVALID"):
            document = image.parse(data)
            media_type = _media_type(request, document)
        await self._check_references(layout, document)
        tag = "" if ":" in reference else reference
        put = await layout.put_manifest(data, media_type, tag)
        headers = {
            "Location": f"/v2/{name}/manifests/{put['digest']}",
            "Docker-Content-Digest": put["digest"],
        }
        if subject := document.get("subject"):
            headers["OCI-Subject"] = subject["digest"]
        return Response(status_code=201, headers=headers)

    async def _check_references(self, layout: Layout, document: JsonObject) -> None:
        for digest in references(document):
            if not await layout.has(digest):
                missing = InvalidError(
                    f"the manifest needs {digest}, which is not in this repository",
                    hint="Push it first.",
                )
                raise coded(missing, "MANIFEST_BLOB_UNKNOWN")

    async def delete(self, request: Request) -> Response:
        """Take a tag away, or delete a manifest with its tags."""
        _, layout = self._layout(request)
        reference = _reference(request)
        with codes("MANIFEST_UNKNOWN", "MANIFEST_INVALID"):
            if ":" in reference:
                await layout.delete_manifest(digest_in(reference))
            else:
                await layout.untag(reference)
        return Response(status_code=202)

    async def tags(self, request: Request) -> Response:
        """All tags, in pages."""
        name = request.path_params["name"]
        with codes("NAME_UNKNOWN", "NAME_INVALID"):
            layout = await self._repositories.existing(name)
        tags = await layout.tags()
        shown = page(tags, request.query_params.get("n"), request.query_params.get("last"))
        headers = next_page(f"/v2/{name}/tags/list", tags, shown)
        return JSONResponse({"name": name, "tags": shown}, headers=headers)

    async def catalog(self, request: Request) -> Response:
        """All repositories, in pages; what other registries call ``_catalog``."""
        names = await self._repositories.names()
        shown = page(names, request.query_params.get("n"), request.query_params.get("last"))
        return JSONResponse(
            {"repositories": shown}, headers=next_page("/v2/_catalog", names, shown)
        )

    async def referrers(self, request: Request) -> Response:
        """The manifests whose subject is a digest: an empty index when there are none."""
        _, layout = self._layout(request)
        subject = digest_in(request.path_params["digest"])
        wanted = request.query_params.get("artifactType")
        found = []
        for manifest in await layout.manifests():
            try:
                document = image.parse(await layout.manifest(manifest["digest"]))
            except (NotFoundError, InvalidError):
                continue  # deleted meanwhile, or kept by whoever checked less
            if (document.get("subject") or {}).get("digest") == subject:
                found.append(referrer(manifest, document))
        if wanted:
            found = [entry for entry in found if entry.get("artifactType") == wanted]
        headers = {"OCI-Filters-Applied": "artifactType"} if wanted else {}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found}
        return JSONResponse(index, headers=headers, media_type=INDEX)


def _reference(request: Request) -> str:
    """A tag or digest from the path. Raises InvalidError."""
    text: str = request.path_params["reference"]
    if ":" in text:
        return digest_in(text)
    if not TAG.fullmatch(text):
        raise coded(InvalidError(f"tag {text[:140]!r} is not legal"), "MANIFEST_INVALID")
    return text


def _media_type(request: Request, document: JsonObject) -> str:
    """The media type to keep: the header's, which must agree with the document's own."""
    declared = request.headers.get("content-type", "").partition(";")[0].strip()
    own = document.get("mediaType", declared)
    if declared != own and declared:
        raise InvalidError(
            f"header Content-Type says {declared[:100]!r}, the manifest {str(own)[:100]!r}"
        )
    if own not in MANIFEST_TYPES:
        raise InvalidError(f"manifests of type {str(own)[:100]!r} are not supported")
    return str(own)
