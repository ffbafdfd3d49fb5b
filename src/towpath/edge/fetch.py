"""Images → model files on this machine, verified, and found by their image's digest.

An image is pulled into a content-addressed layout (which goes on where a dropped link left it) and
unpacked into a folder named by its digest. Only that folder stays: the bytes lie here once.
"""

import logging
from contextlib import suppress
from pathlib import Path

import anyio

from towpath.blob import oci
from towpath.blob.cas import Layout
from towpath.blob.modelcar import pull
from towpath.blob.reference import parse
from towpath.blob.unpack import manifest_of, unpack
from towpath.errors import NotFoundError, TowpathError
from towpath.settings import Blob
from towpath.spec.names import Digest, ImageRef
from towpath.telemetry import fields

__all__ = ["Models"]

log = logging.getLogger(__name__)


class Models:
    """The model files of a cluster.

    Args:
        folder: Holds ``sha256-<hex>/…`` for each image, and the layout that images pass through.
        settings: For the transfers.
    """

    def __init__(self, folder: Path, settings: Blob) -> None:
        self._folder = folder
        self._settings = settings
        self._incoming = Layout(folder / ".incoming", settings.chunk_bytes)
        self._one_at_a_time = anyio.Lock()

    def folder(self, digest: Digest) -> Path | None:
        """Where an image's model files lie; None when they are not here."""
        place = self._place(digest)
        return place if place.is_dir() else None

    async def fetch(self, image: ImageRef) -> None:
        """Bring an image's model files here. What is here already is not fetched.

        Raises:
            NotFoundError: there is no such image.
            InvalidError: it is not what its digest says, holds no model, or is not safe to unpack.
            UnavailableError: the registry does not answer, or the disk is full.
        """
        reference = parse(image)
        digest = Digest(reference.target)
        async with self._one_at_a_time:
            if self.folder(digest) is None:
                async with oci.Client(reference.registry, self._settings) as client:
                    await pull(client, reference, self._incoming)
                await unpack(self._incoming, digest, self._place(digest))
            await self._let_go()

    def _place(self, digest: Digest) -> Path:
        return self._folder / digest.replace(":", "-")

    async def _let_go(self) -> None:
        """Free what only the way here needed: of the image that came, and of earlier ones whose
        fetch was killed at its end. What cannot be freed now is for the next fetch."""
        try:
            for manifest in await self._incoming.manifests():
                if self.folder(manifest["digest"]) is not None:
                    await self._free(manifest["digest"])
        except TowpathError as exc:
            log.warning("failed to free what an image came in", extra=fields(error=exc.message))

    async def _free(self, digest: Digest) -> None:
        """Delete an image's blobs and manifests; its own manifest last, which leads to them all."""
        with suppress(NotFoundError):  # an index whose image is gone already
            own, manifest = await manifest_of(self._incoming, digest)
            for blob in {part["digest"] for part in (manifest["config"], *manifest["layers"])}:
                with suppress(NotFoundError):
                    await self._incoming.delete(blob)
            if own != digest:
                await self._incoming.delete_manifest(own)
        await self._incoming.delete_manifest(digest)
