"""What the official client offers for models, called as people call it; either generation.

`python models.py PORT [TOKEN]`, run by the interpreter that has the client. It ends with a
traceback where an answer is not what was expected.
"""

import asyncio
import functools
import ssl
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from model_registry import ModelRegistry
from model_registry.exceptions import StoreError
from model_registry.types import DocArtifact, ListOptions, ModelArtifact
from mr_openapi.exceptions import ApiException

ssl.create_default_context = functools.cache(ssl.create_default_context)
"""The client makes one per call, which takes twenty times as long as the call."""

warnings.simplefilter("ignore")
registry = ModelRegistry(
    "http://127.0.0.1",
    int(sys.argv[1]),
    author="me",
    is_secure=False,
    user_token=sys.argv[2] if len(sys.argv) > 2 else None,
)
core = registry._api
wait = asyncio.new_event_loop().run_until_complete

ODD = [
    "model:latest",
    "1:2:3",
    "a_b",
    "axb",
    "100%",
    "%",
    'it\'s "quoted"',
    "`back` \\ slash",
    "漢字 ünï 🚀",
    "Case",
    "case",
    "trailing ",
    "trailing",
    "a/b?c=d&e#f",
    "'; DROP TABLE context; --",
]

METADATA = {
    "text": "x",
    "empty": "",
    "int": -999_999_999,
    "zero": 0,
    "double": 0.1,
    "whole": 2.0,
    "true": True,
    "false": False,
    "odd 'name' %": "1",
}


@contextmanager
def fails(kind: type[Exception], status: int | None = None, told: str = "") -> Iterator[None]:
    caught = None
    try:
        yield
    except kind as error:
        caught = error
    assert caught is not None, f"no {kind.__name__}"
    assert status is None or getattr(caught, "status", None) == status, caught
    assert told in str(caught), caught


def register(name: str, version: str = "1", **more: Any) -> Any:
    return registry.register_model(
        name,
        "s3://bucket/key",
        version=version,
        model_format_name="onnx",
        model_format_version="1",
        **more,
    )


def registering() -> None:
    assert registry.get_registered_model("fraud") is None
    with fails(StoreError, told="does not exist"):
        registry.get_model_version("fraud", "1")

    model = register(
        "fraud",
        metadata=METADATA,
        owner="owner",
        author="author",
        version_description="of the version",
        storage_key="key",
        storage_path="path",
        service_account_name="account",
        model_source_kind="kfp",
        model_source_class="pipelinerun",
        model_source_group="group",
        model_source_id="id",
        model_source_name="source",
    )
    again = registry.get_registered_model("fraud")
    assert again == model
    assert (model.owner, model.state.value) == ("owner", "LIVE")
    version = registry.get_model_version("fraud", "1")
    assert (version.author, version.description) == ("author", "of the version")
    assert version.custom_properties == METADATA
    kinds = {name: type(value) for name, value in version.custom_properties.items()}
    assert kinds == {name: type(value) for name, value in METADATA.items()}
    assert registry.get_model_version("fraud", "2") is None
    artifact = registry.get_model_artifact("fraud", "1")
    assert (artifact.name, artifact.uri) == ("fraud", "s3://bucket/key")
    assert (artifact.model_format_name, artifact.model_format_version) == ("onnx", "1")
    assert (artifact.storage_key, artifact.storage_path) == ("key", "path")
    assert artifact.service_account_name == "account"
    source = [getattr(artifact, f"model_source_{n}") for n in ("kind", "class", "group", "id")]
    assert [*source, artifact.model_source_name] == ["kfp", "pipelinerun", "group", "id", "source"]
    assert artifact.state.value == "UNKNOWN"
    with fails(StoreError, told="already exists"):
        register("fraud")
    assert register("fraud", "2").id == model.id
    assert registry.get_model_version("fraud", "2").author == "me"


def asked_by_id() -> None:
    model = registry.get_registered_model("fraud")
    version = registry.get_model_version("fraud", "1")
    artifact = registry.get_model_artifact("fraud", "1")
    assert wait(core.get_registered_model_by_id(model.id)) == model
    assert wait(core.get_model_version_by_id(version.id)) == version
    assert wait(core.get_model_artifact_by_id(artifact.id)) == artifact
    for get in (
        core.get_registered_model_by_id,
        core.get_model_version_by_id,
        core.get_model_artifact_by_id,
    ):
        assert wait(get("999999999")) is None
    assert wait(core.get_model_artifacts(version.id)) == [artifact]
    assert wait(core.get_model_version_artifacts(version.id)) == [artifact]
    assert artifact in wait(core.get_model_artifacts())
    only = ListOptions(limit=1)
    assert len(wait(core.get_model_artifacts(options=only))) == 1


def updating() -> None:
    artifact = registry.get_model_artifact("fraud", "1")
    artifact.uri = "oci://host/repo@sha256:1"
    artifact.state = type(artifact.state).LIVE
    artifact.custom_properties = {"digest": "sha256:1"}
    changed = registry.update(artifact)
    kept = registry.get_model_artifact("fraud", "1")
    assert kept == changed
    assert (kept.uri, kept.state.value) == ("oci://host/repo@sha256:1", "LIVE")
    assert kept.custom_properties == {"digest": "sha256:1"}
    assert (kept.storage_key, kept.model_format_name) == ("key", "onnx")
    assert int(kept.last_update_time_since_epoch) > int(kept.create_time_since_epoch)

    version = registry.get_model_version("fraud", "1")
    version.description = "new"
    version.external_id = "outside"
    version.custom_properties = {"only": "this"}
    registry.update(version)
    kept = registry.get_model_version("fraud", "1")
    assert (kept.description, kept.author) == ("new", "author")
    assert kept.custom_properties == {"only": "this"}
    assert wait(core.get_model_version_by_params(external_id="outside")) == kept

    model = registry.get_registered_model("fraud")
    model.external_id = "outside"
    with fails(ApiException, 409, "externalId"):
        registry.update(model)
    assert registry.get_registered_model("fraud").external_id is None
    times = []
    for text in ("", "x", "é" * 70_000):
        model = registry.get_registered_model("fraud")
        model.description = text
        registry.update(model)
        kept = registry.get_registered_model("fraud")
        assert kept.description == text
        times.append(int(kept.last_update_time_since_epoch))
    assert times == sorted(set(times))


def archiving() -> None:
    model = registry.get_registered_model("fraud")
    model.state = type(model.state).ARCHIVED
    registry.update(model)
    kept = registry.get_registered_model("fraud")
    assert kept.state.value == "ARCHIVED"
    kept.description = "edited in the archive"
    registry.update(kept)
    kept = registry.get_registered_model("fraud")
    assert (kept.state.value, kept.description) == ("ARCHIVED", "edited in the archive")
    assert registry.get_model_version("fraud", "1").state.value == "LIVE"
    assert "fraud" in [one.name for one in registry.get_registered_models()]
    kept.state = type(kept.state).LIVE
    registry.update(kept)
    assert registry.get_registered_model("fraud").state.value == "LIVE"
    version = registry.get_model_version("fraud", "2")
    version.state = type(version.state).ARCHIVED
    registry.update(version)
    assert registry.get_model_version("fraud", "2").state.value == "ARCHIVED"
    with fails(StoreError, told="already exists"):
        register("fraud", "2")


def odd_names() -> None:
    ids = {}
    for name in ODD:
        ids[name] = register(name, name, metadata={name: name}).id
    assert len(set(ids.values())) == len(ODD)
    for name in ODD:
        model = registry.get_registered_model(name)
        assert (model.id, model.name) == (ids[name], name)
        version = registry.get_model_version(name, name)
        assert (version.name, version.custom_properties) == (name, {name: name})
        assert registry.get_model_artifact(name, name).name == name
    for missing in ("A_B", "a%", "_", "mod%", "10", "CASE", " trailing", "atest", ":latest"):
        assert registry.get_registered_model(missing) is None, missing


def documents() -> None:
    version = registry.get_model_version("fraud", "1")
    made = wait(
        core.upsert_model_version_artifact(DocArtifact(name="card", uri="s3://doc"), version.id)
    )
    assert (made.name, made.uri, made.state.value) == ("card", "s3://doc", "UNKNOWN")
    made.description = "read me"
    merged = wait(core.upsert_model_version_artifact(made, version.id))
    assert (merged.id, merged.description, merged.uri) == (made.id, "read me", "s3://doc")
    both = wait(core.get_model_version_artifacts(version.id))
    assert [type(one).__name__ for one in both] == ["ModelArtifact", "DocArtifact"]
    with fails(ApiException, 409, "card already exists"):
        wait(core.upsert_model_version_artifact(DocArtifact(name="card", uri="u"), version.id))

    alone = wait(core.upsert_model_artifact(ModelArtifact(name="alone", uri="s3://a")))
    attached = wait(core.upsert_model_version_artifact(alone, version.id))
    assert attached.id == alone.id
    assert wait(core.get_model_artifact_by_params("alone", version.id)).id == alone.id
    alone.external_id = "alone"
    wait(core.upsert_model_artifact(alone))
    assert wait(core.get_model_artifact_by_params(external_id="alone")).id == alone.id


def paging() -> None:
    names = [f"m{n:02}" for n in range(7)]
    for name in names:
        register(name)
    pager = registry.get_registered_models
    every = [one.name for one in pager()]
    assert every == ["fraud", *ODD, *names]
    for size in (1, 5, len(every), len(every) + 1, 10_000):
        forward = [one.name for one in pager().page_size(size)]
        assert forward == every
    for ordered in ("order_by_id", "order_by_creation_time", "order_by_update_time"):
        up = [one.name for one in getattr(pager().page_size(3), ordered)().ascending()]
        down = [one.name for one in getattr(pager().page_size(4), ordered)().descending()]
        assert up == every
        assert down == every[::-1]
    model = registry.get_registered_model("m03")
    model.description = "touched"
    registry.update(model)
    latest = next(iter(pager().page_size(2).order_by_update_time().descending()))
    assert latest.name == "m03"
    one = pager().page_size(2)
    assert [entity.name for entity in one.next_page()] == every[:2]
    assert [entity.name for entity in one.next_page()] == every[2:4]
    assert [one.name for one in registry.get_model_versions("fraud").page_size(1)] == ["1", "2"]
    down = registry.get_model_versions("fraud").order_by_creation_time().descending()
    assert [one.name for one in down] == ["2", "1"]


def refused() -> None:
    with fails(ApiException, 400, "longer than 255"):
        register("n" * 256)
    assert registry.get_registered_model("n" * 250) is None
    register("n" * 250, "v" * 250)
    assert registry.get_model_version("n" * 250, "v" * 250).name == "v" * 250
    assert registry.get_model_artifact("n" * 250, "v" * 250).name == "n" * 250
    with fails(ApiException, 400, "NUL"):
        registry.get_registered_model("a\0b")
    with fails(ApiException, 400):
        wait(core.get_registered_model_by_id("x"))
    with fails(ApiException, 404):
        wait(core.upsert_model_version_artifact(DocArtifact(name="d", uri="u"), "999999999"))


for step in (
    registering,
    asked_by_id,
    updating,
    archiving,
    odd_names,
    documents,
    paging,
    refused,
):
    step()
sys.stdout.write("done\n")
