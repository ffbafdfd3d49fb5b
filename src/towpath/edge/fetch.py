"""Images → model files on this machine, verified, and found by their image's digest.

An image is pulled into a content-addressed layout (which goes on where a dropped link left it) and
unpacked into a folder named by its digest. Only that folder stays: the bytes lie here once.
"""

from pathlib import Path

import anyio

from towpath.blob import oci
from towpath.blob.cas import Layout
from towpath.blob.modelcar import pull
from towpath.blob.reference import parse
from towpath.blob.unpack import manifest_of, unpack
from towpath.settings import Blob
from towpath.spec.names import Digest, ImageRef

__all__ = ["Models"]


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
            if self.folder(digest) is not None:
                return
            async with oci.Client(reference.registry, self._settings) as client:
                await pull(client, reference, self._incoming)
            await unpack(self._incoming, digest, self._place(digest))
            await self._let_go(digest)

    def _place(self, digest: Digest) -> Path:
        return self._folder / digest.replace(":", "-")

    async def _let_go(self, digest: Digest) -> None:
        """Free what only the way here needed."""
        manifest = await manifest_of(self._incoming, digest)
        await self._incoming.delete_manifest(digest)
        for blob in (manifest["config"], *manifest["layers"]):
            await self._incoming.delete(blob["digest"])
