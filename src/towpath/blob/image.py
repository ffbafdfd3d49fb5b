"""A model image as a value: a base and one layer per file in, configuration and manifest out.

Pure and deterministic: no clock, no host, keys in one order, so the same files, base and
annotations are the same digest everywhere (OCI image specification 1.1, "Image Manifest" and
"Image Configuration").
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from towpath.blob.digest import of_bytes
from towpath.errors import InvalidError
from towpath.spec._wire import JsonObject
from towpath.spec.kserve import MODELS_DIR
from towpath.spec.names import DIGEST, Digest
from towpath.spec.oci import (
    CONFIG,
    DOCKER_MANIFEST,
    LAYER_TAR,
    MANIFEST,
    TITLE,
    Descriptor,
    Manifest,
)

__all__ = [
    "SCRATCH",
    "Base",
    "Image",
    "assemble",
    "chosen",
    "is_index",
    "layer",
    "member_path",
    "parse",
]

_EPOCH: Final = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class Base:
    """What an image stands on.

    Attributes:
        layers: Its layers, lowest first.
        config: Its configuration; ``rootfs`` and ``history`` match the layers.
    """

    layers: tuple[Descriptor, ...] = ()
    config: JsonObject = field(
        default_factory=lambda: {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": []},
            "history": [],
        }
    )


SCRATCH: Final = Base()
"""Nothing: for whoever mounts the image, or reads its files."""


@dataclass(frozen=True)
class Image:
    """An image without its layers' bytes.

    Attributes:
        config: Bytes of the configuration.
        config_digest: Their digest.
        manifest: Bytes of the manifest.
        descriptor: Media type, digest and size of the manifest.
        layers: All layers, the base's first.
    """

    config: bytes
    config_digest: Digest
    manifest: bytes
    descriptor: Descriptor
    layers: tuple[Descriptor, ...]


def member_path(path: str) -> str:
    """Where a model's file lies in an image."""
    return f"{MODELS_DIR}/{path}"


def layer(path: str, digest: Digest, size: int) -> Descriptor:
    """The descriptor of the layer that holds one model file; its title is the file's path."""
    return {
        "mediaType": LAYER_TAR,
        "digest": digest,
        "size": size,
        "annotations": {TITLE: path},
    }


def assemble(
    layers: Sequence[Descriptor],
    *,
    base: Base = SCRATCH,
    annotations: Mapping[str, str] | None = None,
) -> Image:
    """Put an image together.

    Args:
        layers: From :func:`layer`, in any order.
        base: What they lie on.
        annotations: Of the manifest, and labels of the configuration; nothing that varies between
            runs belongs here.

    Raises:
        InvalidError: there is no layer, or two have the same path.
    """
    own = sorted(layers, key=_title)
    titles = [_title(descriptor) for descriptor in own]
    if not own:
        raise InvalidError("an image of a model needs at least one file")
    if len(set(titles)) != len(titles):
        raise InvalidError("two files of the model have the same path")
    noted = dict(sorted((annotations or {}).items()))
    config = _json(_config(base, own, noted))
    every = (*base.layers, *own)
    manifest: Manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": of_bytes(config), "size": len(config)},
        "layers": list(every),
    }
    if noted:
        manifest["annotations"] = noted
    data = _json(cast(JsonObject, manifest))
    return Image(
        config=config,
        config_digest=of_bytes(config),
        manifest=data,
        descriptor={"mediaType": MANIFEST, "digest": of_bytes(data), "size": len(data)},
        layers=every,
    )


def _title(descriptor: Descriptor) -> str:
    return descriptor.get("annotations", {}).get(TITLE, "")


def _config(base: Base, own: Sequence[Descriptor], labels: Mapping[str, str]) -> JsonObject:
    below = base.config
    settings = below.get("config") or {}
    merged = {**(settings.get("Labels") or {}), **labels}
    if merged:
        settings = {**settings, "Labels": merged}
    history = [
        {"created": _EPOCH, "created_by": f"towpath {member_path(_title(descriptor))}"}
        for descriptor in own
    ]
    diff_ids = [descriptor["digest"] for descriptor in own]  # uncompressed, so both are the same
    rootfs = below.get("rootfs") or {}
    return {
        **below,
        "created": _EPOCH,
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [*(rootfs.get("diff_ids") or ()), *diff_ids]},
        "history": [*(below.get("history") or ()), *history],
    }


def _json(value: JsonObject) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parse(data: bytes) -> JsonObject:
    """A manifest or index, checked as far as reading it and listing it needs.

    Raises:
        InvalidError: it is not JSON, lacks sound descriptors, or has annotations, a platform or an
            artifact type of another kind than the specification's.
    """
    try:
        found = json.loads(data)
        json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair cannot be passed on
    except (ValueError, RecursionError) as exc:
        raise InvalidError("a manifest is not JSON") from exc
    if not isinstance(found, dict) or found.get("schemaVersion") != 2:
        raise InvalidError("a manifest has not schemaVersion 2")
    listed = found.get("manifests" if is_index(found) else "layers")
    if not isinstance(listed, list):
        raise InvalidError("a manifest has neither layers nor manifests")
    descriptors = [*listed] if is_index(found) else [found.get("config"), *listed]
    if found.get("subject") is not None:
        descriptors.append(found["subject"])
    if not all(_sound(descriptor) for descriptor in descriptors):
        raise InvalidError("a manifest has a descriptor without mediaType, sha256 digest or size")
    for part in (found, *descriptors):
        _check_notes(part)
    return found


def _check_notes(part: JsonObject) -> None:
    """Check what a manifest and its descriptors may say besides. Raises InvalidError."""
    annotations = part.get("annotations")
    if annotations is not None and not (
        isinstance(annotations, dict) and all(isinstance(v, str) for v in annotations.values())
    ):
        raise InvalidError("a manifest has annotations that are not a map of strings")
    if not isinstance(part.get("platform") or {}, dict):
        raise InvalidError("a manifest has a platform that is not a map")
    if not isinstance(part.get("artifactType") or "", str):
        raise InvalidError("a manifest has an artifactType that is not a string")


def _sound(descriptor: Any) -> bool:
    if not isinstance(descriptor, dict):
        return False
    size = descriptor.get("size")
    digest = descriptor.get("digest")
    return (
        isinstance(descriptor.get("mediaType"), str)
        and isinstance(digest, str)
        and DIGEST.fullmatch(digest) is not None
        and isinstance(size, int)
        and not isinstance(size, bool)
        and size >= 0
    )


def chosen(index: JsonObject) -> Descriptor:
    """The image of an index to take a model from: the first one, since the files are the same for
    every architecture; attestations (platform ``unknown``) are no images.

    Raises:
        InvalidError: it holds no image.
    """
    for descriptor in index["manifests"]:
        platform = descriptor.get("platform") or {}
        if (
            descriptor["mediaType"] in (MANIFEST, DOCKER_MANIFEST)
            and platform.get("os", "linux") != "unknown"
        ):
            return cast(Descriptor, descriptor)
    raise InvalidError("an image index holds no image")


def is_index(document: JsonObject) -> bool:
    """Whether a parsed document is an index rather than a manifest."""
    return "manifests" in document
