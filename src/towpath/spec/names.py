"""Names that cross stages: distinct types for strings that must not be confused, and their rules.

The rules come from RFC 1035 labels (Kubernetes names), the OCI distribution specification 1.1
("Pulling manifests": repository names and tags) and the OCI image specification 1.1 ("Digests").
"""

import re
from typing import Final, NewType

from towpath.errors import InvalidError

Digest = NewType("Digest", str)
"""``sha256:`` and 64 lower-case hexadecimal digits."""

ImageRef = NewType("ImageRef", str)
"""``host:port/repository@sha256:…``: an image by its digest, never by a tag."""

Revision = NewType("Revision", str)
"""A git commit: 40 lower-case hexadecimal digits."""

Key = NewType("Key", str)
"""``namespace/name`` of a fact, or ``name`` where there is no namespace."""

DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
LABEL: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
REPOSITORY: Final = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")

MAX_SERVICE_NAME: Final = 50
"""A model's name becomes part of process, host and label names, each at most 63 characters long."""

__all__ = [
    "DIGEST",
    "LABEL",
    "MAX_SERVICE_NAME",
    "REPOSITORY",
    "TAG",
    "Digest",
    "ImageRef",
    "Key",
    "Revision",
    "cluster_name",
    "digest",
    "model_name",
    "version_name",
]


def digest(text: str) -> Digest:
    """Check and return a digest.

    Raises:
        InvalidError: ``text`` is not ``sha256:`` and 64 lower-case hexadecimal digits.
    """
    if not DIGEST.fullmatch(text):
        raise InvalidError(
            f"{text[:100]!r} is not a digest",
            hint="A digest is 'sha256:' followed by 64 lower-case hexadecimal digits.",
        )
    return Digest(text)


def model_name(text: str) -> str:
    """Check and return a model's name.

    Raises:
        InvalidError: it cannot name an InferenceService (RFC 1035 label) of at most 50 characters.
    """
    return _label(text, "model name", MAX_SERVICE_NAME)


def cluster_name(text: str) -> str:
    """Check and return a cluster's name.

    Raises:
        InvalidError: it cannot name a namespace (RFC 1035 label) of at most 50 characters.
    """
    return _label(text, "cluster name", MAX_SERVICE_NAME)


def version_name(text: str) -> str:
    """Check and return a model version.

    Raises:
        InvalidError: it cannot be an image tag (OCI distribution specification, "tag").
    """
    if not TAG.fullmatch(text):
        raise InvalidError(
            f"version {text[:130]!r} is not legal",
            hint="A version is also an image tag: 1 to 128 letters, digits, '_', '.' or '-', "
            "and it does not begin with '.' or '-'.",
        )
    return text


def _label(text: str, what: str, longest: int) -> str:
    if not LABEL.fullmatch(text) or len(text) > longest:
        raise InvalidError(
            f"{what} {text[:80]!r} is not legal",
            hint=f"Use 1 to {longest} characters: lower-case letters, digits and '-', beginning "
            "with a letter and ending with a letter or digit.",
        )
    return text
