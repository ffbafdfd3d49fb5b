"""The named types that built-in kinds are made of: ``PodSpec``, ``Container``, ``ObjectMeta``, …

They lie as data under ``definitions/builtin/PACKAGE/*.yaml``, a file being a map from names to
OpenAPI schemas that point at each other by ``{"$ref": "#/types/Name"}``. The folder is the package
that OpenAPI documents put before the name. A file is read when the first of its types is asked for.

Names, types, list keys, merge keys and defaults are facts of Kubernetes 1.32; the words are ours.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

import yaml

from towpath.apiserver.schema import Schema
from towpath.spec._wire import JsonObject

__all__ = ["REFERENCE", "TYPES", "Types", "schema"]

REFERENCE: Final = "#/types/"
"""What a reference to a named type begins with."""
_NAMED: Final = re.compile(r"^([A-Z]\w*):", re.MULTILINE)
_Loader: Final[type[yaml.SafeLoader]] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Types(Mapping[str, JsonObject]):
    """Named types, read from a folder when they are needed.

    Args:
        folder: Holds a folder for each package.
    """

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder
        self._read: dict[str, JsonObject] = {}

    @cached_property
    def _scanned(self) -> tuple[dict[str, tuple[str, str]], str]:
        """Package and file of every type, and a digest of all files."""
        index: dict[str, tuple[str, str]] = {}
        digest = hashlib.sha256()
        for package in sorted(self._folder.iterdir(), key=lambda entry: entry.name):
            if package.is_dir():
                for file in sorted(package.iterdir(), key=lambda entry: entry.name):
                    if file.name.endswith(".yaml"):
                        text = file.read_text(encoding="utf-8")
                        digest.update(text.encode())
                        for name in _NAMED.findall(text):
                            index[name] = (package.name, file.name)
        return index, digest.hexdigest()

    @property
    def _index(self) -> dict[str, tuple[str, str]]:
        return self._scanned[0]

    @property
    def digest(self) -> str:
        """Changes when any of the types does."""
        return self._scanned[1]

    def package(self, name: str) -> str:
        """The package of a type, such as ``io.k8s.api.core.v1``. Raises KeyError."""
        return self._index[name][0]

    def __getitem__(self, name: str) -> JsonObject:
        if name not in self._read:
            package, file = self._index[name]
            text = self._folder.joinpath(package, file).read_text(encoding="utf-8")
            self._read.update(yaml.load(text, Loader=_Loader))  # noqa: S506 - it is a SafeLoader
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)


TYPES: Final = Types(resources.files("towpath.apiserver") / "definitions" / "builtin")
"""Every named type."""


def schema(name: str) -> Schema:
    """The schema of a named type, read when it is first used."""
    return Schema({"$ref": REFERENCE + name}, TYPES)
