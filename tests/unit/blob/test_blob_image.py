"""Image assembly and the layout's index, as values."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.blob import image, index
from towpath.blob.digest import of_bytes
from towpath.errors import InvalidError, NotFoundError
from towpath.spec._wire import JsonObject
from towpath.spec.oci import CONFIG, LAYER_TAR_GZIP, MANIFEST, TITLE, Descriptor, Index


def layer(path: str) -> Descriptor:
    return image.layer(path, of_bytes(path.encode()), len(path))


@given(st.permutations(["a", "b/c", "b/a", "z"]), st.permutations([("x", "1"), ("y", "2")]))
def test_order_does_not_matter(paths: list[str], notes: list[tuple[str, str]]) -> None:
    expected = image.assemble(
        [layer(p) for p in ("a", "b/a", "b/c", "z")], annotations={"x": "1", "y": "2"}
    )

    assert expected == image.assemble([layer(p) for p in paths], annotations=dict(notes))


def test_image_of_two_files() -> None:
    built = image.assemble([layer("m.onnx"), layer("cfg/a.json")], annotations={"n": "fraud"})
    manifest, config = json.loads(built.manifest), json.loads(built.config)

    assert of_bytes(built.manifest) == built.descriptor["digest"]
    assert {
        "mediaType": CONFIG,
        "digest": of_bytes(built.config),
        "size": len(built.config),
    } == manifest["config"]
    assert [entry["annotations"][TITLE] for entry in manifest["layers"]] == ["cfg/a.json", "m.onnx"]
    assert [entry["digest"] for entry in manifest["layers"]] == config["rootfs"]["diff_ids"]
    assert len(config["history"]) == len(manifest["layers"])
    assert {"n": "fraud"} == manifest["annotations"] == config["config"]["Labels"]
    assert (config["architecture"], config["os"]) == ("amd64", "linux")
    assert manifest == image.parse(built.manifest)


def test_image_on_a_base() -> None:
    below: Descriptor = {"mediaType": LAYER_TAR_GZIP, "digest": of_bytes(b"base"), "size": 4}
    base = image.Base(
        (below,),
        {
            "architecture": "arm64",
            "os": "linux",
            "config": {"Labels": {"a": "1"}, "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [of_bytes(b"plain")]},
            "history": [{"created_by": "base"}],
        },
    )
    built = image.assemble([layer("m")], base=base, annotations={"b": "2"})
    config = json.loads(built.config)

    assert (below, layer("m")) == built.layers
    assert [of_bytes(b"plain"), of_bytes(b"m")] == config["rootfs"]["diff_ids"]
    assert (config["config"]["Labels"], config["config"]["Cmd"]) == ({"a": "1", "b": "2"}, ["sh"])
    assert (config["architecture"], len(config["history"])) == ("arm64", 2)
    assert base.config["config"] == {"Labels": {"a": "1"}, "Cmd": ["sh"]}


def test_bad_images_are_refused() -> None:
    with pytest.raises(InvalidError):
        image.assemble([])
    with pytest.raises(InvalidError):
        image.assemble([layer("a"), layer("a")])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"schemaVersion": 1, "layers": []}',
        b'{"schemaVersion": 2}',
        b'{"schemaVersion": 2, "layers": []}',
        b'{"schemaVersion": 2, "manifests": [{}]}',
        b'{"schemaVersion": 2, "manifests": ["x"]}',
        b"[" * 100_000,
    ],
)
def test_parse_refuses(data: bytes) -> None:
    with pytest.raises(InvalidError):
        image.parse(data)


GOOD = {"mediaType": MANIFEST, "digest": of_bytes(b"1"), "size": 1}


@pytest.mark.parametrize(
    "more",
    [
        {"subject": "x"},
        {"subject": {}},
        {"annotations": [1]},
        {"annotations": "x"},
        {"annotations": {"a": 1}},
        {"annotations": {"a": "\ud800"}},
        {"artifactType": [1]},
        {"manifests": "x", "config": GOOD, "layers": []},
        {"manifests": [{**GOOD, "platform": "x"}]},
        {"manifests": [{**GOOD, "annotations": [1]}]},
    ],
    ids=str,
)
def test_parse_refuses_what_could_not_be_listed(more: JsonObject) -> None:
    whole = {"schemaVersion": 2, "manifests": [GOOD]}

    assert image.parse(json.dumps(whole).encode()) == whole
    with pytest.raises(InvalidError):
        image.parse(json.dumps({**whole, **more}).encode())


def test_parse_takes_null_for_absent() -> None:
    absent = {"subject": None, "annotations": None, "artifactType": None}
    index = {"schemaVersion": 2, "manifests": [{**GOOD, "platform": None}], **absent}

    assert GOOD["digest"] == image.chosen(image.parse(json.dumps(index).encode()))["digest"]


def test_chosen_passes_attestations_over() -> None:
    good = {"mediaType": MANIFEST, "digest": of_bytes(b"1"), "size": 1}
    attestation = {**good, "digest": of_bytes(b"2"), "platform": {"os": "unknown"}}

    assert good == image.chosen({"manifests": [attestation, good]})
    with pytest.raises(InvalidError):
        image.chosen({"manifests": [attestation]})


TAGS = ("a", "b", "latest")
MANIFESTS: tuple[Descriptor, ...] = tuple(
    {"mediaType": MANIFEST, "digest": of_bytes(data), "size": 1} for data in (b"1", b"2", b"3")
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(MANIFESTS), st.sampled_from(("", *TAGS))),
        st.tuples(st.just("untag"), st.sampled_from(MANIFESTS), st.sampled_from(TAGS)),
        st.tuples(st.just("remove"), st.sampled_from(MANIFESTS), st.just("")),
    ),
    max_size=12,
)


@given(steps)
def test_index_is_a_map_of_tags_and_a_set_of_manifests(
    done: list[tuple[str, Descriptor, str]],
) -> None:
    found: Index = index.EMPTY
    tags: dict[str, str] = {}
    kept: set[str] = set()
    for verb, manifest, tag in done:
        if verb == "add":
            found = index.add(found, manifest, tag)
            kept.add(manifest["digest"])
            if tag:
                tags[tag] = manifest["digest"]
        elif verb == "untag":
            found = index.untag(found, tag)
            tags.pop(tag, None)
        else:
            found = index.remove(found, manifest["digest"])
            kept.discard(manifest["digest"])
            tags = {t: d for t, d in tags.items() if d != manifest["digest"]}

    assert sorted(tags) == index.tags(found)
    assert tags == {tag: index.resolve(found, tag)["digest"] for tag in tags}
    assert kept == {entry["digest"] for entry in index.manifests(found)}
    assert len(found["manifests"]) == len(tags) + len(kept - set(tags.values()))
    assert {
        "schemaVersion": 2,
        "mediaType": index.EMPTY["mediaType"],
        "manifests": [],
    } == index.EMPTY
    with pytest.raises(NotFoundError):
        index.resolve(found, "nobody")
