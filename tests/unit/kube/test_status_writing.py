"""The difference of two documents, as a merge patch."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from towpath.kube.status import difference

leaves = st.one_of(st.booleans(), st.integers(), st.text(max_size=3), st.lists(st.integers()))
documents = st.recursive(
    st.dictionaries(st.text(max_size=2), leaves, max_size=4),
    lambda inner: st.dictionaries(st.text(max_size=2), st.one_of(inner, leaves), max_size=4),
)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


@given(documents, documents)
def test_the_patch_leads_from_old_to_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    before = copy.deepcopy(old)

    assert merged(old, difference(old, new)) == new
    assert old == before


@given(documents)
def test_equal_documents_need_no_patch(document: dict[str, Any]) -> None:
    assert difference(document, copy.deepcopy(document)) == {}
