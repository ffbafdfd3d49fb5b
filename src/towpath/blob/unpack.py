"""From an image in a layout to the model's files in a folder: all of them, or no folder."""

import gzip
import io
import os
import shutil
import zlib
from pathlib import Path
from typing import Final, cast

from anyio import to_thread

from towpath.blob import disk, image, untar
from towpath.blob.cas import Layout
from towpath.errors import InvalidError
from towpath.files import sync_folder
from towpath.spec.kserve import MODELS_DIR
from towpath.spec.names import Digest
from towpath.spec.oci import DOCKER_LAYER, DOCKER_LAYER_TAR, LAYER_TAR, LAYER_TAR_GZIP, Manifest

__all__ = ["manifest_of", "unpack"]

_GZIP: Final = (LAYER_TAR_GZIP, DOCKER_LAYER)
_PLAIN: Final = (LAYER_TAR, DOCKER_LAYER_TAR)
_MOST_RATIO: Final = 64
_MOST_EXTRA: Final = 64 * 1024 * 1024
"""All layers unpacked may be this many times as large as stored, and this much more: weights do not
shrink below a 64th, archives made to fill a disk do."""


async def manifest_of(layout: Layout, digest: Digest) -> tuple[Digest, Manifest]:
    """The image manifest of a digest, and its own digest; of an index, of the image chosen from it.

    Raises:
        NotFoundError: it is not in the layout.
        InvalidError: it is not a manifest.
    """
    document = image.parse(await layout.manifest(digest))
    if image.is_index(document):
        digest = image.chosen(document)["digest"]
        document = image.parse(await layout.manifest(digest))
    if image.is_index(document):
        raise InvalidError(f"manifest {digest} is an index of indexes, which is not supported")
    return digest, cast(Manifest, document)


async def unpack(layout: Layout, digest: Digest, folder: Path) -> None:
    """Put the files that an image has under ``/models`` into a folder, which appears complete.

    A folder that is there already is taken as done: name it by the digest.

    Args:
        layout: Holds the image.
        digest: Of its manifest.
        folder: Its parent is made when missing.

    Raises:
        NotFoundError: the image, or a part of it, is not in the layout.
        InvalidError: it has no model files, or a layer is not safe to unpack.
        UnavailableError: the disk is full (reason ``NoSpace``).
    """
    _, manifest = await manifest_of(layout, digest)
    async with layout.exclusive(f"unpack {folder}"):
        with disk.errors(f"folder {folder}"):
            await to_thread.run_sync(_unpack, layout, manifest, folder)


def _unpack(layout: Layout, manifest: Manifest, folder: Path) -> None:
    if folder.is_dir():
        return
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of an attempt that was killed
    part.mkdir(parents=True)
    try:
        left = _stored(layout, manifest) * _MOST_RATIO + _MOST_EXTRA
        for layer in manifest["layers"]:
            left -= _layer(layout.file(layer["digest"]), layer["mediaType"], part, left)
        untar.check_links(part)
        _check_not_empty(part)
        for path, _, _ in os.walk(part):
            sync_folder(Path(path))
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    sync_folder(folder.parent)


def _stored(layout: Layout, manifest: Manifest) -> int:
    """Bytes of the layers as they lie here: what a manifest says of its sizes need not be true."""
    total = 0
    for digest in {layer["digest"] for layer in manifest["layers"]}:
        with disk.errors(f"layer {digest}"):
            total += layout.file(digest).stat().st_size
    return total


def _check_not_empty(folder: Path) -> None:
    if not any(item.is_file() for item in folder.rglob("*")):
        raise InvalidError(f"the image has no files under /{MODELS_DIR}")


def _layer(path: Path, media_type: str, folder: Path, limit: int) -> int:
    with disk.errors(f"layer sha256:{path.name}"):
        raw = path.open("rb")
    with raw:
        if media_type in _GZIP:
            source: io.BufferedIOBase = gzip.GzipFile(fileobj=raw)
        elif media_type in _PLAIN:
            source = raw
        else:
            raise InvalidError(f"a layer has media type {media_type!r}, which is not supported")
        try:
            return untar.extract(source.read, folder, MODELS_DIR, limit)
        except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
            raise InvalidError("a compressed layer is damaged") from exc
