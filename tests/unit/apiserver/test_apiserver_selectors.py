"""Label and field selectors."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.apiserver import selectors
from towpath.apiserver.record import Address
from towpath.errors import InvalidError, Reason

keys = st.sampled_from(["app", "tier", "example.com/part"])
texts = st.sampled_from(["a", "b", "c-1", ""])
found = st.dictionaries(keys, texts)


@given(found, keys, texts)
def test_equality(labels: dict[str, str], key: str, value: str) -> None:
    assert selectors.labels(f"{key}={value}")(labels) == (labels.get(key) == value)
    assert selectors.labels(f"{key}=={value}")(labels) == (labels.get(key) == value)
    assert selectors.labels(f"{key}!={value}")(labels) != (labels.get(key) == value)


@given(found, keys, st.lists(texts, min_size=1, max_size=3))
def test_sets(labels: dict[str, str], key: str, values: list[str]) -> None:
    inside = key in labels and labels[key] in values
    listed = ", ".join(values)
    assert selectors.labels(f"{key} in ({listed})")(labels) == inside
    assert selectors.labels(f"{key} notin ({listed})")(labels) != inside


@given(found, keys)
def test_existence(labels: dict[str, str], key: str) -> None:
    assert selectors.labels(key)(labels) == (key in labels)
    assert selectors.labels(f"!{key}")(labels) != (key in labels)


@given(found, st.lists(st.tuples(keys, texts), min_size=1, max_size=3))
def test_all_requirements_hold_together(
    labels: dict[str, str], wanted: list[tuple[str, str]]
) -> None:
    text = ",".join(f"{key}={value}" for key, value in wanted)
    assert selectors.labels(text)(labels) == all(labels.get(k) == v for k, v in wanted)


def test_order() -> None:
    assert selectors.labels("size>3")({"size": "4"})
    assert not selectors.labels("size>3")({"size": "3"})
    assert not selectors.labels("size<3")({"size": "many"})


@pytest.mark.parametrize(
    "text", ["=a", "a=b=c", "a in b", "a in (b", "a,,b", "a,", "a b", "!", "-a", "a in (*)", ","]
)
def test_what_is_no_label_selector(text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        selectors.labels(text)
    assert caught.value.reason is Reason.BAD_REQUEST


@given(st.text(max_size=30))
def test_any_text_is_a_selector_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidError):
        selectors.labels(text)({})
    with contextlib.suppress(InvalidError):
        selectors.fields(text, ("metadata.name",))


def matches(text: str, obj: dict[str, Any] | None = None) -> bool:
    allowed = ("metadata.name", "metadata.namespace", "spec.on", "type")
    selector = selectors.Selector(None, tuple(selectors.fields(text, allowed)))
    return selector.matches(Address("things", "space", "one"), lambda: obj or {})


def test_fields() -> None:
    assert matches("metadata.name=one,metadata.namespace!=other")
    assert not matches("metadata.name!=one")
    assert matches("type=a", {"type": "a"})
    assert matches("spec.on=true", {"spec": {"on": True}})
    assert matches("type=", {})
    with pytest.raises(InvalidError, match=r"field label not supported: spec\.x"):
        matches("spec.x=1")


def test_an_object_is_not_decoded_for_its_name() -> None:
    selector = selectors.Selector(None, (("metadata.name", True, "one"),))
    assert selector.matches(Address("things", "", "one"), lambda: pytest.fail("decoded"))
