"""The rules of the account book, as rules."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.errors import InvalidError, Reason
from towpath.registry.kinds import (
    ARTIFACTS,
    DOC_ARTIFACT,
    INFERENCE_SERVICE,
    KINDS,
    MODEL_ARTIFACT,
    MODEL_VERSION,
    REGISTERED_MODEL,
)
from towpath.registry.properties import plain, wire
from towpath.registry.records import (
    MissingFieldError,
    Record,
    accept,
    decode,
    document,
    drafted,
    identifier,
    kind_of_artifact,
    merged,
    require,
)
from towpath.spec.registry import RegisteredModel

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)


def model(**fields: Any) -> Record:
    accepted = accept(REGISTERED_MODEL, {"name": "m", **fields}, REGISTERED_MODEL.creatable)
    return drafted(REGISTERED_MODEL, accepted, 1000, parent=None, spare="spare")


def patched(record: Record, now: int = 2000, **fields: Any) -> Record:
    return merged(record, accept(record.kind, fields, record.kind.updatable), now)


def prop(value: Any) -> Any:
    return {"customProperties": {"p": value}}


def integer(text: Any) -> Any:
    return prop({"metadataType": "MetadataIntValue", "int_value": text})


def struct(text: Any) -> Any:
    return prop({"metadataType": "MetadataStructValue", "struct_value": text})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"name": NaN}', "not JSON"),
        (b'{"name": "\\ud800"}', "not JSON"),
        (b'{"name": "\xff"}', "not JSON"),
        (b'{"name": "a\\u0000"}', "NUL"),
        (b'{"name": "a\x00"}', "NUL"),
        (b'{"customProperties": {"\\u0000": {}}}', "NUL"),
    ],
)
def test_a_body_must_be_a_json_object_without_nul(data: bytes, message: str) -> None:
    with pytest.raises(InvalidError, match=message) as caught:
        decode(data)
    assert caught.value.reason is Reason.BAD_REQUEST


@pytest.mark.parametrize("text", ["", "x", "1.0", "1e3", "٣", " 1", "2147483648", "1" * 40, "\x00"])
def test_an_id_is_a_32_bit_integer(text: str) -> None:
    with pytest.raises(InvalidError, match="invalid registered model ID: "):
        identifier(text, "registered model")


def test_ids_that_are_integers() -> None:
    assert [identifier(t, "x") for t in ("1", "-5", "0", "2147483647")] == [1, -5, 0, 2147483647]


def test_unknown_fields_are_refused_by_name() -> None:
    with pytest.raises(InvalidError) as caught:
        model(bogus=1)
    assert caught.value.message == 'json: unknown field "bogus"'


def test_unknown_fields_of_polymorphic_bodies_are_left_out() -> None:
    body = {"artifactType": "doc-artifact", "bogus": 1, "modelFormatName": 2, "id": "4"}
    kind = kind_of_artifact(ARTIFACTS, body["artifactType"])
    assert kind is DOC_ARTIFACT
    assert accept(kind, body, kind.creatable, lenient=True) == {"artifactType": "doc-artifact"}


@pytest.mark.parametrize("artifact_type", [None, 1, "", "metrics", "Model-Artifact"])
def test_an_artifact_type_that_is_not_served(artifact_type: object) -> None:
    with pytest.raises(InvalidError, match="artifactType is") as caught:
        kind_of_artifact(ARTIFACTS, artifact_type)
    assert "model-artifact, doc-artifact" in caught.value.hint


@pytest.mark.parametrize(
    "fields",
    [
        {"description": 1},
        {"state": "live"},
        {"state": ""},
        {"language": "en"},
        {"language": ["en", 1]},
        {"customProperties": []},
        prop("text"),
        prop({"string_value": "no type"}),
        prop({"metadataType": "MetadataStringValue"}),
        prop({"metadataType": "MetadataStringValue", "string_value": 1}),
        prop({"metadataType": "MetadataBoolValue", "bool_value": "true"}),
        prop({"metadataType": "MetadataDoubleValue", "double_value": True}),
        prop({"metadataType": "MetadataProtoValue", "type": "t", "proto_value": "eA=="}),
        prop({"metadataType": "MetadataOtherValue"}),
        integer(7),
        integer(""),
        integer("1234567890"),
        integer("1.5"),
        struct("not base64!"),
        struct(base64.b64encode(b"[1]").decode()),
        struct("{broken"),
        {"customProperties": {"n" * 256: {"metadataType": "MetadataIntValue", "int_value": "1"}}},
        {"name": "n" * 256},
        {"externalId": "e" * 256},
    ],
)
def test_values_of_the_wrong_type_are_a_bad_request(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidError) as caught:
        model(**fields)
    assert caught.value.reason is Reason.BAD_REQUEST
    assert not isinstance(caught.value, MissingFieldError)
    assert caught.value.message.endswith(": bad request")
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("name", [None, "", "absent"])
def test_a_required_field_is_not_empty(name: str | None) -> None:
    body = {} if name == "absent" else {"name": name}
    with pytest.raises(MissingFieldError) as caught:
        require(REGISTERED_MODEL, accept(REGISTERED_MODEL, body, REGISTERED_MODEL.creatable))
    assert caught.value.message == "required field 'name' is zero value."
    assert caught.value.status == 422


def test_defaults_of_a_create() -> None:
    assert document(model()) == {
        "id": "0",
        "name": "m",
        "state": "LIVE",
        "customProperties": {},
        "createTimeSinceEpoch": "1000",
        "lastUpdateTimeSinceEpoch": "1000",
    }
    artifact = drafted(MODEL_ARTIFACT, {"name": ""}, 1, parent=4, spare="uuid")
    assert (artifact.name, artifact.scope, artifact.body["state"]) == ("uuid", "4", "UNKNOWN")
    service = drafted(INFERENCE_SERVICE, {}, 1, parent=4, spare="uuid")
    assert (service.name, service.body["desiredState"]) == ("uuid", "DEPLOYED")


def test_times_and_ids_are_not_taken_from_a_create() -> None:
    for field in ("id", "createTimeSinceEpoch", "lastUpdateTimeSinceEpoch"):
        assert all(field not in kind.creatable | kind.updatable for kind in KINDS.values())


@pytest.mark.parametrize(("parent", "longest"), [(None, 255), (1, 253), (123456789, 245)])
def test_the_longest_name(parent: int | None, longest: int) -> None:
    kind = REGISTERED_MODEL if parent is None else MODEL_VERSION
    name = "é" * longest
    assert drafted(kind, {"name": name}, 1, parent=parent, spare="s").name == name
    with pytest.raises(InvalidError, match=f"longer than {longest} characters"):
        drafted(kind, {"name": name + "é"}, 1, parent=parent, spare="s")


def test_an_update_keeps_what_it_does_not_name() -> None:
    before = patched(model(description="d", owner="o", externalId="e"), state="ARCHIVED")
    after = patched(before, description="new", owner=None, externalId=None)
    assert after.body == {**before.body, "description": "new"}
    assert (after.body["state"], after.external_id) == ("ARCHIVED", "e")


def test_an_update_replaces_properties_and_lists_as_a_whole() -> None:
    before = model(**integer("1"), language=["en", "de"], tasks=["a"])
    one = {"metadataType": "MetadataStringValue", "string_value": "x"}
    after = patched(before, customProperties={"q": one}, language=["fr"])
    assert document(after)["customProperties"] == {"q": one}
    assert (after.body["language"], after.body["tasks"]) == (["fr"], ["a"])
    assert document(patched(after, customProperties={}))["customProperties"] == {}


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.type)
def test_what_no_update_changes(kind: Any) -> None:
    for field in ("id", "name", "registeredModelId", "servingEnvironmentId", "experimentId"):
        with pytest.raises(InvalidError, match=f'json: unknown field "{field}"'):
            accept(kind, {field: "1"}, kind.updatable)


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=20))
def test_the_time_of_update_grows_strictly_whatever_the_clock_does(clock: list[int]) -> None:
    record = model()
    for now in clock:
        before, record = record, patched(record, now)
        assert record.updated > before.updated
        assert record.updated >= now
    assert record.created == 1000


@given(st.text("+-0123456789", min_size=1, max_size=12))
def test_an_integer_property_is_answered_as_clients_can_read_it(text: str) -> None:
    try:
        record = model(**integer(text))
    except InvalidError:
        return
    stored = document(record)["customProperties"]["p"]["int_value"]
    assert int(stored) == int(text)
    assert stored == str(int(stored))
    assert len(stored.lstrip("-")) <= 9


@given(st.dictionaries(texts, texts | st.integers(-5, 5) | st.booleans(), max_size=4))
def test_a_struct_survives_read_and_write(content: dict[str, Any]) -> None:
    raw = json.dumps(content, ensure_ascii=False)
    once = document(model(**struct(raw)))["customProperties"]
    again = document(model(customProperties=once))["customProperties"]
    assert once == again
    assert json.loads(base64.b64decode(once["p"]["struct_value"])) == content


@given(
    st.dictionaries(
        texts,
        texts
        | st.integers(-(2**53), 2**53)
        | st.booleans()
        | st.floats(allow_nan=False, allow_infinity=False),
        max_size=5,
    )
)
def test_plain_values_survive_the_wire(values: dict[str, Any]) -> None:
    sent = {name: value.model_dump() for name, value in wire(values).items()}
    kept = document(model(customProperties=sent))["customProperties"]
    shape = RegisteredModel.model_validate_json(json.dumps({"customProperties": kept}))
    assert plain(shape.customProperties) == values


def test_an_integer_that_cannot_be_kept_exactly() -> None:
    with pytest.raises(InvalidError, match="too large"):
        wire({"n": 2**60})


@given(st.dictionaries(texts, st.none() | st.booleans() | st.integers() | texts, max_size=5))
def test_any_body_is_accepted_or_refused_in_our_words(body: dict[str, Any]) -> None:
    known = dict(zip(RegisteredModel.model_fields, body.values(), strict=False))
    for candidate in (body, known):
        try:
            fields = accept(REGISTERED_MODEL, candidate, REGISTERED_MODEL.creatable)
        except InvalidError:
            continue
        assert set(fields) <= set(candidate)
        assert None not in fields.values()


def test_shapes_keep_fields_they_do_not_know() -> None:
    entity = {"name": "m", "newField": {"a": [1]}}
    assert RegisteredModel.model_validate(entity).model_dump(exclude_none=True) == entity
