"""``index.json`` of an OCI image layout as a value: which manifests there are, under which tags.

Pure: an index goes in, a new one comes out (image specification 1.1, "Image Layout Specification").
A manifest stays reachable by digest when its last tag moves on: it keeps one entry without a tag.
"""

from collections.abc import Iterator
from typing import Final

from towpath.errors import NotFoundError
from towpath.spec.names import Digest
from towpath.spec.oci import INDEX, REF_NAME, Descriptor, Index

__all__ = ["EMPTY", "add", "manifests", "remove", "resolve", "tags", "untag"]

EMPTY: Final[Index] = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}


def _tag(entry: Descriptor) -> str:
    return entry.get("annotations", {}).get(REF_NAME, "")


def _bare(entry: Descriptor) -> Descriptor:
    return {"mediaType": entry["mediaType"], "digest": entry["digest"], "size": entry["size"]}


def _with(index: Index, entries: list[Descriptor]) -> Index:
    return {**index, "manifests": entries}


def manifests(index: Index) -> list[Descriptor]:
    """Every manifest once, without tags."""
    return list({entry["digest"]: _bare(entry) for entry in index["manifests"]}.values())


def tags(index: Index) -> list[str]:
    """All tags, sorted."""
    return sorted({tag for entry in index["manifests"] if (tag := _tag(entry))})


def resolve(index: Index, reference: str) -> Descriptor:
    """The manifest of a tag or a digest. Raises NotFoundError."""
    by_digest = ":" in reference
    for entry in index["manifests"]:
        if (entry["digest"] if by_digest else _tag(entry)) == reference:
            return _bare(entry)
    raise NotFoundError(f"there is no manifest {reference!r}")


def add(index: Index, manifest: Descriptor, tag: str = "") -> Index:
    """The index with a manifest in it; a tag is taken from whatever had it."""
    entries = untag(index, tag)["manifests"] if tag else list(index["manifests"])
    same = [entry for entry in entries if entry["digest"] == manifest["digest"]]
    if tag:
        entries = [entry for entry in entries if entry not in same or _tag(entry)]
        entries.append({**_bare(manifest), "annotations": {REF_NAME: tag}})
    elif not same:
        entries.append(_bare(manifest))
    return _with(index, entries)


def untag(index: Index, tag: str) -> Index:
    """The index without a tag; its manifest stays."""
    return _with(index, list(_without(index, tag)))


def _without(index: Index, tag: str) -> Iterator[Descriptor]:
    for entry in index["manifests"]:
        if _tag(entry) != tag:
            yield entry
        elif sum(other["digest"] == entry["digest"] for other in index["manifests"]) == 1:
            yield _bare(entry)


def remove(index: Index, digest: Digest) -> Index:
    """The index without a manifest and its tags."""
    return _with(index, [e for e in index["manifests"] if e["digest"] != digest])
