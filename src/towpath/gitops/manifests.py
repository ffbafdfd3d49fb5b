"""From the files of a folder to the objects they describe; bad input is named by file and line."""

import math
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final, cast

import yaml

from towpath.errors import InvalidError, Reason
from towpath.spec.kube import Object

__all__ = ["objects", "select"]

FILE_BYTES: Final = 1024 * 1024
"""Largest manifest; the API takes no object that is larger."""
FILES: Final = 1000
"""Most manifests of one application."""
TOTAL_BYTES: Final = 8 * 1024 * 1024
"""Most bytes of one application: some seconds of reading YAML."""
NODES: Final = 200_000
"""Most values in one document, counted with every alias written out."""

_SUFFIXES: Final = (".yaml", ".yml", ".json")
_KUSTOMIZE: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: a date is a string."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def select(repository: Mapping[str, bytes], folder: str, *, recurse: bool) -> dict[str, bytes]:
    """The manifests of a folder, by path, sorted.

    Args:
        repository: Files by path.
        folder: As in ``spec.source.path``; ``.`` is the root.
        recurse: Also read the folders in it.

    Raises:
        InvalidError: there is no such folder, it is not plain manifests, or it is too large.
    """
    inside = PurePosixPath(folder or ".")
    if inside.is_absolute() or ".." in inside.parts:
        raise InvalidError(f"path {folder[:200]!r} is not a path inside the repository")
    paths = sorted(p for p in repository if inside in PurePosixPath(p).parents)
    if not paths:
        raise InvalidError(f"path {folder[:200]!r} does not exist in the repository")
    here = [p for p in paths if PurePosixPath(p).parent == inside]
    if any(PurePosixPath(p).name in _KUSTOMIZE for p in here):
        raise InvalidError(
            f"folder {folder[:200]!r} is a kustomization, which is not supported yet",
            hint="Commit the plain manifests: the output of 'kubectl kustomize'.",
        )
    chosen = [p for p in (paths if recurse else here) if p.endswith(_SUFFIXES)]
    if len(chosen) > FILES:
        raise InvalidError(
            f"folder {folder[:200]!r} holds more than {FILES} manifests", reason=Reason.TOO_LARGE
        )
    found: dict[str, bytes] = {}
    total = 0
    for path in chosen:
        found[path] = repository[path]
        total += len(found[path])
        for what, size, limit in (
            (f"manifest {path} is", len(found[path]), FILE_BYTES),
            (f"the manifests of folder {folder[:200]!r} are", total, TOTAL_BYTES),
        ):
            if size > limit:
                raise InvalidError(f"{what} larger than {limit} bytes", reason=Reason.TOO_LARGE)
    return found


def objects(manifests: Mapping[str, bytes]) -> list[Object]:
    """The objects of all documents, in order; a ``List`` is taken apart, an empty document skipped.

    Raises:
        InvalidError: a document is not YAML, or not an object with a kind, a name and metadata
            of the right types.
    """
    found: list[Object] = []
    for path, content in manifests.items():
        for line, document in _documents(path, content):
            where = f"manifest {path}, line {line}"
            _check_json(where, document)
            found += [_object(where, item) for item in _items(where, document)]
    return found


def _items(where: str, document: Any) -> list[Any]:
    if not isinstance(document, dict) or document.get("kind") != "List":
        return [document]
    items = document.get("items") or []
    if not isinstance(items, list):
        raise InvalidError(f"{where}: field items is not a list")
    return items


def _documents(path: str, content: bytes) -> Iterator[tuple[int, Any]]:
    loader = None
    try:
        loader = _Loader(content)
        while loader.check_node():
            node = loader.get_node()
            document = loader.construct_document(node) if node is not None else None
            if node is not None and document is not None:
                yield node.start_mark.line + 1, document
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise InvalidError(f"manifest {path}{where}: {exc.problem or 'not YAML'}") from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise InvalidError(f"manifest {path} is not YAML") from exc
    finally:
        if loader is not None:
            loader.dispose()


def _object(where: str, document: Any) -> Object:
    if not isinstance(document, dict):
        raise InvalidError(f"{where}: not a Kubernetes object")
    metadata = document.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise InvalidError(f"{where}: field metadata is not an object")
    for field, value in (
        ("apiVersion", document.get("apiVersion")),
        ("kind", document.get("kind")),
        ("metadata.name", metadata.get("name")),
    ):
        if not value:
            raise InvalidError(f"{where}: field {field} is missing")
        if not isinstance(value, str):
            raise InvalidError(f"{where}: field {field} is not a string")
    if not isinstance(metadata.get("namespace") or "", str):
        raise InvalidError(f"{where}: field metadata.namespace is not a string")
    for field in ("annotations", "labels"):
        pairs = metadata.get(field) or {}
        if not isinstance(pairs, dict) or not all(isinstance(v, str) for v in pairs.values()):
            raise InvalidError(f"{where}: field metadata.{field} is not an object of strings")
    return cast(Object, document)


def _check_json(where: str, document: Any) -> None:
    """That a document can be written as JSON, also with its aliases written out."""
    left = NODES
    rest = [document]
    while rest:
        value = rest.pop()
        left -= 1
        if left < 0:
            raise InvalidError(f"{where}: the document is too large", reason=Reason.TOO_LARGE)
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise InvalidError(f"{where}: a key is not a string")
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise InvalidError(f"{where}: {value} is not a number that JSON can say")
        elif value is not None and not isinstance(value, str | int | float):
            raise InvalidError(f"{where}: a value of type {type(value).__name__} is not JSON")
