"""Models as images: a model's files pushed layer by layer, an image pulled into a layout.

Nothing is staged on disk on the way up; on the way down an image appears when it is complete.
"""

from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import suppress
from typing import cast

from towpath.blob import image, reference, tar
from towpath.blob.cas import Layout
from towpath.blob.digest import of_stream
from towpath.blob.oci import Client
from towpath.blob.store import Entry, Reader
from towpath.blob.stream import Chunks, Progress, counted, silent
from towpath.errors import InvalidError, NotFoundError, Reason
from towpath.spec._wire import JsonObject
from towpath.spec.names import ImageRef
from towpath.spec.oci import Descriptor

__all__ = ["pull", "push_model"]


async def push_model(
    reader: Reader,
    client: Client,
    repository: str,
    tag: str,
    *,
    annotations: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> tuple[ImageRef, Descriptor]:
    """Push a model's files as an image: one layer per file, at ``/models/<path>``.

    Each file is read once for its layer's digest, and a second time only when the registry does not
    have that layer. The same files and annotations are the same image.

    Args:
        reader: The files.
        client: The registry.
        repository: Of the registry.
        tag: What to call it.
        annotations: Of the image; the same for every run.
        progress: Told as bytes are sent, or found to be there.

    Returns:
        The image by digest, and its manifest's descriptor.

    Raises:
        InvalidError: there are no files, or the registry refuses them.
        ConflictError: a file was changed meanwhile.
        NotFoundError, DeniedError, UnavailableError: of the source or the registry.
    """
    entries = await reader.list()
    if not entries:
        raise InvalidError("the model has no files")
    total = sum(entry.size for entry in entries)
    done = 0
    layers = []
    for entry in entries:
        before = done

        def count(sent: int, before: int = before) -> None:
            progress(before + sent, total)

        layers.append(await _push_layer(reader, entry, client, repository, count))
        done += entry.size
        progress(done, total)
    built = image.assemble(layers, annotations=annotations)
    await client.push(
        repository,
        lambda: _once(built.config),
        digest=built.config_digest,
        size=len(built.config),
    )
    manifest = await client.put_manifest(
        repository, tag, built.manifest, built.descriptor["mediaType"]
    )
    name = reference.Reference(client.registry, repository)
    return name.at(manifest["digest"]), manifest


async def _push_layer(
    reader: Reader, entry: Entry, client: Client, repository: str, count: Callable[[int], None]
) -> Descriptor:
    member = image.member_path(entry.path)

    def layer(body: AsyncIterable[bytes]) -> Chunks:
        return tar.stream(member, entry.size, body)

    digest, size = await of_stream(layer(reader.read(entry.path)))

    def source() -> Chunks:
        return layer(counted(reader.read(entry.path), count))

    await client.push(repository, source, digest=digest, size=size)
    return image.layer(entry.path, digest, size)


async def _once(data: bytes) -> Chunks:
    yield data


async def pull(
    client: Client, ref: reference.Reference, layout: Layout, *, progress: Progress = silent
) -> Descriptor:
    """Fetch an image into a layout: what is there is not fetched, what was begun is continued.

    Its manifest appears last, so an image in a layout is complete.

    Returns:
        The manifest's descriptor.

    Raises:
        NotFoundError: there is no such image.
        InvalidError: something is not what its digest says.
        DeniedError, UnavailableError: of the registry or the disk.
    """
    descriptor, data = await client.manifest(ref.repository, ref.target)
    document = image.parse(data)
    if image.is_index(document):
        child = image.chosen(document)
        _, child_data = await client.manifest(ref.repository, child["digest"])
        await _pull_blobs(client, ref, layout, image.parse(child_data), progress)
        await layout.put_manifest(child_data, child["mediaType"])
    else:
        await _pull_blobs(client, ref, layout, document, progress)
    return await layout.put_manifest(data, descriptor["mediaType"], ref.tag)


async def _pull_blobs(
    client: Client,
    ref: reference.Reference,
    layout: Layout,
    document: JsonObject,
    progress: Progress,
) -> None:
    if image.is_index(document):
        raise InvalidError(f"{ref} is an index of indexes, which is not supported")
    blobs = {b["digest"]: cast(Descriptor, b) for b in (document["config"], *document["layers"])}
    total = sum(blob["size"] for blob in blobs.values())
    done = 0
    for digest, blob in blobs.items():
        async with layout.exclusive(digest):
            if not await layout.has(digest):
                await _pull_blob(client, ref, layout, blob)
        done += blob["size"]
        progress(done, total)


async def _pull_blob(
    client: Client, ref: reference.Reference, layout: Layout, blob: Descriptor
) -> None:
    """Fetch one blob: on from what an earlier run left, and once anew when that was bad."""

    async def fill(upload: str, begun: int) -> None:
        await layout.append(upload, client.blob(ref.repository, blob, begun), begun)
        await layout.commit(upload, blob["digest"], blob["size"])

    upload = await layout.begin(blob["digest"])
    begun = await layout.offset(upload)
    if 0 < begun <= blob["size"]:
        try:
            return await fill(upload, begun)
        except InvalidError as exc:
            if exc.reason is not Reason.DIGEST_MISMATCH:
                raise
    if begun:
        with suppress(NotFoundError):
            await layout.abort(upload)
        upload = await layout.begin(blob["digest"])
    return await fill(upload, 0)
