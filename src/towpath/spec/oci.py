"""OCI image specification 1.1 and distribution specification 1.1: media types and shapes."""

from typing import Final, NotRequired, TypedDict

from towpath.spec._wire import Json, JsonObject
from towpath.spec.names import Digest

SPEC_VERSION: Final = "1.1"
LAYOUT_VERSION: Final = "1.0.0"

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER_TAR: Final = "application/vnd.oci.image.layer.v1.tar"
LAYER_TAR_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_TAR: Final = "application/vnd.docker.image.rootfs.diff.tar"
OCTET_STREAM: Final = "application/octet-stream"

MANIFEST_TYPES: Final = (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX)

REF_NAME: Final = "org.opencontainers.image.ref.name"
TITLE: Final = "org.opencontainers.image.title"


class Descriptor(TypedDict):
    """What a blob is, the common coin of every stage (image spec, "Content descriptors")."""

    mediaType: str
    digest: Digest
    size: int
    annotations: NotRequired[dict[str, str]]
    platform: NotRequired[JsonObject]
    artifactType: NotRequired[str]


class Manifest(TypedDict):
    """An image manifest (image specification, "Image manifest")."""

    schemaVersion: int
    mediaType: str
    config: Descriptor
    layers: list[Descriptor]
    annotations: NotRequired[dict[str, str]]
    artifactType: NotRequired[str]
    subject: NotRequired[Json]


class Index(TypedDict):
    """An image index (image specification, "Image index")."""

    schemaVersion: int
    mediaType: NotRequired[str]
    manifests: list[Descriptor]
    annotations: NotRequired[dict[str, str]]
