"""Reads and writes bytes by URI; every byte is checked by its digest.

A scheme is one file, imported when a URI names it. Stores of files are reached by :func:`reader`
and :func:`writer`; images by :class:`towpath.blob.oci.Client`; content by digest, on disk, by
:class:`towpath.blob.cas.Layout`.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final, cast

from towpath.blob.store import Entry, Reader, Writer
from towpath.blob.uri import Uri, parse
from towpath.errors import InvalidError
from towpath.settings import Blob

__all__ = ["Entry", "Reader", "Uri", "Writer", "parse", "reader", "writer"]

_READERS: Final[Mapping[str, str]] = {
    "file": "towpath.blob.file:FileReader.open",
    "http": "towpath.blob.http:HttpReader",
    "https": "towpath.blob.http:HttpReader",
    "memory": "towpath.blob.memory:opened",
    "oci": "towpath.blob.tree:ImageReader.open",
}
_WRITERS: Final[Mapping[str, str]] = {
    "file": "towpath.blob.file:FileWriter.open",
    "memory": "towpath.blob.memory:opened",
}


def reader(uri: str, settings: Blob | None = None) -> Reader:
    """Who reads from a URI or a path. Nothing is opened yet.

    Raises:
        InvalidError: the URI is malformed, or its scheme is not supported for reading.
    """
    return cast(Reader, _opened(_READERS, uri, settings, "read from"))


def writer(uri: str, settings: Blob | None = None) -> Writer:
    """Who writes into the folder that a URI or a path names. Nothing is made yet.

    Raises:
        InvalidError: the URI is malformed, or its scheme is not supported for writing.
    """
    return cast(Writer, _opened(_WRITERS, uri, settings, "written to"))


def _opened(table: Mapping[str, str], text: str, settings: Blob | None, verb: str) -> object:
    uri = parse(text)
    place = table.get(uri.scheme)
    if place is None:
        raise InvalidError(
            f"scheme {uri.scheme!r} of {uri} cannot be {verb}",
            hint=f"Supported: {', '.join(sorted(set(table) - {'memory'}))}, or a path.",
        )
    module, _, attribute = place.partition(":")
    found: object = import_module(module)
    for name in attribute.split("."):
        found = getattr(found, name)
    return cast(Callable[[Uri, Blob], object], found)(uri, settings or Blob())
