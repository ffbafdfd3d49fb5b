"""``oci://``: the files that an image has under ``/models``, read as a folder."""

import io
from dataclasses import dataclass
from typing import Final, Self

from towpath.blob import image, reference, tar, untar
from towpath.blob.digest import verified
from towpath.blob.oci import Client
from towpath.blob.path import relative
from towpath.blob.store import Entry
from towpath.blob.stream import Chunks, closing
from towpath.blob.uri import Uri
from towpath.errors import InvalidError, NotFoundError, Reason
from towpath.settings import Blob
from towpath.spec.kserve import MODELS_DIR
from towpath.spec.oci import DOCKER_LAYER_TAR, LAYER_TAR, Descriptor

__all__ = ["ImageReader"]

_HEAD_BYTES: Final = 64 * 1024
_MEMBERS: Final = 10_000


@dataclass(frozen=True)
class _Place:
    entry: Entry
    layer: Descriptor
    offset: int


class ImageReader:
    """A :class:`towpath.blob.Reader` of the files that an image has under ``/models``.

    Listing reads the headers by range; reading a file streams its whole layer, so that the layer's
    digest is checked.

    Args:
        ref: The image.
        settings: Timeouts and tries.
    """

    def __init__(self, ref: reference.Reference, settings: Blob) -> None:
        self._ref = ref
        self._settings = settings
        self._places: dict[str, _Place] | None = None

    @classmethod
    def open(cls, uri: Uri, settings: Blob) -> Self:
        """The reader of an ``oci`` URI."""
        return cls(reference.parse(f"oci://{uri.authority}{uri.path}"), settings)

    async def list(self) -> list[Entry]:
        """All files, sorted by path.

        Raises:
            NotFoundError: there is no such image.
            InvalidError: its layers are compressed, or hold more than files.
        """
        self._places = await self._find()
        return [place.entry for _, place in sorted(self._places.items())]

    async def _find(self) -> dict[str, _Place]:
        async with Client(self._ref.registry, self._settings) as client:
            _, data = await client.manifest(self._ref.repository, self._ref.target)
            document = image.parse(data)
            if image.is_index(document):
                child = image.chosen(document)["digest"]
                _, data = await client.manifest(self._ref.repository, child)
                document = image.parse(data)
            places: dict[str, _Place] = {}
            for layer in document.get("layers", ()):
                if layer["mediaType"] not in (LAYER_TAR, DOCKER_LAYER_TAR):
                    raise InvalidError(
                        f"{self._ref} has a layer of type {layer['mediaType']!r}, which cannot be "
                        "read as files",
                        hint="Pull the image instead.",
                    )
                await self._find_in(client, layer, places)
        return places

    async def _find_in(self, client: Client, layer: Descriptor, places: dict[str, _Place]) -> None:
        at = 0
        for _ in range(_MEMBERS):
            head = io.BytesIO(await self._head(client, layer, at))
            found = untar.member(head.read)
            if found is None:
                return
            begins = at + head.tell()
            path = untar.inside(found.path, MODELS_DIR)
            if path and found.is_file:
                places[path] = _Place(Entry(path, found.size), layer, begins)
            elif path and not found.is_folder:
                raise InvalidError(f"{path!r} in {self._ref} is not a file")
            at = begins + found.size + -found.size % tar.BLOCK
        raise InvalidError(
            f"a layer of {self._ref} has more than {_MEMBERS} members", reason=Reason.TOO_LARGE
        )

    async def _head(self, client: Client, layer: Descriptor, at: int) -> bytes:
        head = bytearray()
        chunks = client.blob(self._ref.repository, layer, at)
        async with closing(chunks):
            async for chunk in chunks:
                head += chunk
                if len(head) >= _HEAD_BYTES:
                    break
        return bytes(head)

    async def read(self, path: str, offset: int = 0) -> Chunks:
        """A file's bytes from an offset on.

        Raises:
            NotFoundError: there is no such file.
            InvalidError: the layer is not what its digest says.
            UnavailableError: the connection broke off too often.
        """
        if self._places is None:
            await self.list()
        place = (self._places or {}).get(relative(path))
        if place is None:
            raise NotFoundError(f"{path!r} is not in {self._ref}")
        skip, left = place.offset + offset, max(0, place.entry.size - offset)
        async with Client(self._ref.registry, self._settings) as client:
            layer = place.layer
            blob = client.blob(self._ref.repository, layer)
            chunks = verified(blob, layer["digest"], layer["size"])
            async with closing(chunks):
                async for chunk in chunks:
                    kept = chunk[skip : skip + left]
                    skip -= min(skip, len(chunk))
                    left -= len(kept)
                    if kept:
                        yield kept
