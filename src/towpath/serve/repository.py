"""The models that a server has loaded, from their folders.

A folder is flat (the model's files lie in it) or has version folders (``1/``, ``2/``, …). A model
that cannot be loaded stays listed with the reason, and the others never notice.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict

from towpath.errors import InvalidError, NotFoundError, TowpathError, UnavailableError
from towpath.serve.backends import Format, Model, find
from towpath.serve.messages import Answer, Inference, decode, encode
from towpath.serve.tensors import Array, Signature
from towpath.spec.inference import ModelMetadata, RepositoryModel, TensorMetadata
from towpath.telemetry import fields

__all__ = ["Description", "Repository", "Served", "Source", "check"]

log = logging.getLogger(__name__)

INLINE_SECONDS: Final = 0.001
INLINE_BYTES: Final = 64 * 1024
"""Below both, an inference runs on the event loop: a thread would cost more than the work does
(measured on two busy cores, one row of the fraud model from body to body: 65 µs on the loop, 240 µs
by a thread). Above, it would keep other requests waiting."""


@dataclass(frozen=True)
class Source:
    """Where a model lies.

    Args:
        name: What clients call it.
        folder: Its folder, flat or with version folders; or its file.
        version: Its version when the folder has no version folders.
    """

    name: str
    folder: Path
    version: str = "1"


class Description(TypedDict):
    """What :func:`check` found."""

    format: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class Served:
    """One version of a model, loaded, and how long it takes."""

    def __init__(self, name: str, version: str, platform: str, model: Model) -> None:
        self.name = name
        self.version = version
        self.platform = platform
        self._model = model
        self._seconds = INLINE_SECONDS  # not quick before it was measured

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self._model.signature

    def quick(self, size: int) -> bool:
        """Whether to answer a request of this many bytes right on the event loop."""
        return size <= INLINE_BYTES and self._seconds < INLINE_SECONDS

    def infer(self, body: bytes, header_length: str | None) -> Answer:
        """Answer one request from body to body (blocking).

        Raises:
            InvalidError: the request or the model's answer to it is at fault.
        """
        inference = decode(body, header_length, self.signature)
        return encode((self.name, self.version), inference, self.predict(inference))

    def predict(self, inference: Inference) -> Mapping[str, Array]:
        """The model's outputs (blocking); their time is remembered.

        Raises:
            InvalidError: the model refuses the inputs.
        """
        begin = time.perf_counter()
        outputs = self._model.predict(inference.inputs)
        taken = time.perf_counter() - begin
        self._seconds += (taken - self._seconds) / 8
        return outputs


class Repository:
    """The models of one server process. Nothing is loaded before :meth:`load`.

    Args:
        sources: The models, each name once.
        threads: Threads of one inference.

    Raises:
        InvalidError: two models have one name.
    """

    def __init__(self, sources: Iterable[Source], threads: int = 1) -> None:
        self._sources: dict[str, Source] = {}
        for source in sources:
            if source.name in self._sources:
                raise InvalidError(f"two models are called {source.name!r}")
            self._sources[source.name] = source
        self._threads = threads
        self._loaded: dict[str, dict[str, Served]] = {name: {} for name in self._sources}
        self._failed: dict[str, dict[str, TowpathError]] = {name: {} for name in self._sources}

    def load(self) -> dict[str, TowpathError]:
        """Load every model (blocking).

        Returns:
            For each model of which a version could not be loaded, the error of the newest one.
        """
        for source in self._sources.values():
            self._load(source)
        return {
            name: failed[max(failed, key=_age)] for name, failed in self._failed.items() if failed
        }

    def get(self, name: str, version: str | None = None) -> Served:
        """A loaded model; without a version the newest loaded one.

        Raises:
            NotFoundError: there is no such model or version.
            UnavailableError: it is known and could not be loaded.
        """
        if name not in self._sources:
            raise NotFoundError(f"there is no model {name[:100]!r}")
        loaded, failed = self._loaded[name], self._failed[name]
        if version is None:
            known = loaded or failed
            if not known:
                raise UnavailableError(f"model {name!r} is not loaded yet", retry_after=1)
            version = max(known, key=_age)
        if served := loaded.get(version):
            return served
        if error := failed.get(version):
            raise UnavailableError(f"model {name!r} version {version!r} is not loaded: {error}")
        raise NotFoundError(f"model {name!r} has no version {version[:100]!r}")

    def names(self) -> list[str]:
        """Every model's name."""
        return sorted(self._sources)

    def metadata(self, name: str, version: str | None = None) -> ModelMetadata:
        """A model's metadata, from the model itself ("Model Metadata Response JSON Object").

        Raises:
            NotFoundError: there is no such model or version.
            UnavailableError: it is known and could not be loaded.
        """
        served = self.get(name, version)
        return {
            "name": name,
            "versions": sorted(self._loaded[name], key=_age),
            "platform": served.platform,
            "inputs": [tensor.metadata() for tensor in served.signature.inputs],
            "outputs": [tensor.metadata() for tensor in served.signature.outputs],
        }

    def index(self) -> list[RepositoryModel]:
        """Every version of every model (model repository extension, "Index")."""
        entries: list[RepositoryModel] = []
        for name in self.names():
            entries += [
                {"name": name, "version": version, "state": "READY", "reason": ""}
                for version in sorted(self._loaded[name], key=_age)
            ]
            entries += [
                {"name": name, "version": version, "state": "UNAVAILABLE", "reason": str(error)}
                for version, error in sorted(self._failed[name].items())
            ]
        return entries

    @property
    def ready(self) -> bool:
        """Whether every model has a version that answers ("Server Ready")."""
        return all(self._loaded.values())

    def _load(self, source: Source) -> None:
        loaded: dict[str, Served] = {}
        failed: dict[str, TowpathError] = {}
        for version, path in _versions(source):
            begin = time.perf_counter()
            try:
                known, model = _open(path, self._threads)
            except InvalidError as error:
                failed[version] = error
                log.error(  # noqa: TRY400 - the sentence says it; the traceback is the backend's
                    "failed to load model",
                    extra=fields(model=source.name, version=version, error=error),
                )
                continue
            loaded[version] = Served(source.name, version, known.platform, model)
            seconds = round(time.perf_counter() - begin, 3)
            log.info(
                "loaded model", extra=fields(model=source.name, version=version, seconds=seconds)
            )
        self._loaded[source.name], self._failed[source.name] = loaded, failed


def check(path: Path) -> Description:
    """Load a model once and tell what it is (blocking; keeps nothing).

    Args:
        path: A model file, or a folder as :class:`Repository` takes it.

    Raises:
        InvalidError: it is not a model that this runtime can serve; one sentence says why.
    """
    described = [_open(found, 1) for _, found in _versions(Source("", path))]
    known, model = described[-1]
    return {
        "format": known.name,
        "inputs": [tensor.metadata() for tensor in model.signature.inputs],
        "outputs": [tensor.metadata() for tensor in model.signature.outputs],
    }


def _open(path: Path, threads: int) -> tuple[Format, Model]:
    try:
        known, file = find(path)
        return known, known.load(file, threads)
    except OSError as exc:
        raise InvalidError(
            f"the model file in {path.name!r} cannot be read: {exc.strerror}"
        ) from exc


def _versions(source: Source) -> list[tuple[str, Path]]:
    """Versions and their paths, oldest first; never empty."""
    try:
        folders = [one for one in source.folder.iterdir() if one.is_dir() and _number(one.name)]
    except OSError:  # a file, or not there: opening it tells
        folders = []
    if not folders:
        return [(source.version, source.folder)]
    return sorted(((one.name, one) for one in folders), key=lambda pair: _age(pair[0]))


def _number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _age(version: str) -> tuple[int, str]:
    """Sorts versions by number, others by name before them."""
    return (int(version), "") if _number(version) else (-1, version)
