"""An edited tree holds what a dictionary edited the same way would hold."""

import pytest
from dulwich.object_store import MemoryObjectStore
from dulwich.objects import Blob, ObjectID, Tree
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from towpath.errors import InvalidError
from towpath.gitops.tree import DamagedError, Files, edited

segments = st.sampled_from(["a", "b", "c.yaml", "ä", "-"])
paths = st.lists(segments, min_size=1, max_size=3).map("/".join)
contents = st.binary(max_size=8)
changes = st.dictionaries(paths, st.none() | contents, max_size=6)


def store_of(files: dict[str, bytes]) -> tuple[MemoryObjectStore, ObjectID]:
    store = MemoryObjectStore()
    tree, objects = edited(store, None, files)
    for obj in objects:
        store.add_object(obj)
    return store, tree


def is_tree(paths: set[str]) -> bool:
    return not any(other.startswith(f"{path}/") for path in paths for other in paths)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(paths, contents, max_size=6), changes)
def test_edits_are_those_of_a_dictionary(
    before: dict[str, bytes], change: dict[str, bytes | None]
) -> None:
    assume(is_tree(set(before)))
    after = {**before, **{p: c for p, c in change.items() if c is not None}}
    after = {p: c for p, c in after.items() if change.get(p, b"") is not None}
    store, tree = store_of(before)
    assert dict(Files(store, tree)) == before
    if not is_tree(set(after)):
        with pytest.raises(InvalidError, match="at once"):
            edited(store, tree, change)
        return
    new, objects = edited(store, tree, change)
    assert (new == tree) == (after == before)
    for obj in objects:
        assert obj.id not in store
        store.add_object(obj)
    assert dict(Files(store, new)) == after
    assert store_of(after)[1] == new


def test_a_name_that_is_not_utf8_is_readable_all_the_same() -> None:
    store = MemoryObjectStore()
    blob, tree = Blob.from_string(b"x"), Tree()
    tree.add(b"caf\xe9.yaml", 0o100644, blob.id)
    for obj in (blob, tree):
        store.add_object(obj)
    assert list(Files(store, tree.id).values()) == [b"x"]


def test_a_missing_object_is_damage_and_a_missing_path_is_not() -> None:
    store, tree = store_of({"a/b": b"x", "c": b"y"})
    files = Files(store, tree)
    assert "b" not in files
    with pytest.raises(KeyError):
        files["a"]
    del store._data[Blob.from_string(b"x").id]
    with pytest.raises(DamagedError):
        files["a/b"]
    assert files["c"] == b"y"


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a//b", "a/./b", ".git/config", "a/.GIT/x", "a\\b", "a\nb"]
)
def test_unsafe_paths_are_refused(path: str) -> None:
    with pytest.raises(InvalidError, match="not a path"):
        edited(MemoryObjectStore(), None, {path: b""})
