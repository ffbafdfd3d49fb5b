"""Reading manifests: what is taken, and how bad input is named."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towpath.errors import InvalidError
from towpath.gitops.manifests import FILE_BYTES, objects, select

REPOSITORY = {
    "README.md": b"",
    "apps/a/2.yml": b"two",
    "apps/a/1.yaml": b"one",
    "apps/a/3.json": b"three",
    "apps/a/notes.txt": b"no",
    "apps/a/deeper/4.yaml": b"four",
    "apps/ab/5.yaml": b"five",
    "apps/k/kustomization.yaml": b"",
}


def test_a_folder_is_read_in_order_and_not_deeper() -> None:
    chosen = select(REPOSITORY, "apps/a", recurse=False)
    assert list(chosen.values()) == [b"one", b"two", b"three"]
    assert b"four" in select(REPOSITORY, "apps/a/", recurse=True).values()
    assert b"five" in select(REPOSITORY, ".", recurse=True).values()


@pytest.mark.parametrize(
    ("folder", "complaint"),
    [
        ("absent", "does not exist"),
        ("apps/a/1.yaml", "does not exist"),
        ("../apps", "not a path"),
        ("/apps", "not a path"),
        ("apps/k", "kustomization"),
    ],
)
def test_folders_that_are_refused(folder: str, complaint: str) -> None:
    with pytest.raises(InvalidError, match=complaint):
        select(REPOSITORY, folder, recurse=False)


def test_a_large_manifest_is_refused() -> None:
    with pytest.raises(InvalidError, match=r"a/b\.yaml is larger"):
        select({"a/b.yaml": bytes(FILE_BYTES + 1)}, "a", recurse=False)


def test_documents_lists_and_json() -> None:
    found = objects(
        {
            "a.yaml": b"# nothing\n---\nkind: A\napiVersion: v1\nmetadata: {name: x}\n---\n---\n"
            b"kind: List\nitems:\n- {kind: B, apiVersion: v1, metadata: {name: y}}\n",
            "b.json": json.dumps(
                {"kind": "C", "apiVersion": "v1", "metadata": {"name": "z"}}
            ).encode(),
        }
    )
    assert [o["kind"] for o in found] == ["A", "B", "C"]


def test_a_date_stays_text() -> None:
    (found,) = objects(
        {"a.yaml": b"{kind: A, apiVersion: v1, metadata: {name: x}, spec: {at: 2024-01-01}}"}
    )
    assert found["spec"]["at"] == "2024-01-01"


HEAD = b"kind: A\napiVersion: v1\nmetadata:\n  name: x\n"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (HEAD + b"spec: [1,\n", "line 6"),
        (HEAD + b"spec: a: b\n", "line 5"),
        (HEAD + b"---\n- 1\n", r"line 6: not a Kubernetes object"),
        (HEAD + b"---\nkind: B\n", "line 6: field apiVersion"),
        (b"kind: B\napiVersion: v1\nmetadata: {}\n", "field metadata.name"),
        (b"kind: B\napiVersion: v1\nmetadata: x\n", "line 1: field metadata is not an object"),
        (b"kind: B\napiVersion: v1\nmetadata: {name: 5}\n", "metadata.name is not a string"),
        (b"kind: 3\napiVersion: v1\nmetadata: {name: x}\n", "field kind is not a string"),
        (HEAD + b"  namespace: 5\n", "line 1: field metadata.namespace is not a string"),
        (HEAD + b"  annotations: x\n", "line 1: field metadata.annotations is not an object"),
        (HEAD + b"  annotations: {a: 1}\n", "field metadata.annotations"),
        (HEAD + b"  labels: [a]\n", "line 1: field metadata.labels is not an object"),
        (b"kind: List\nitems: 3\n", "field items"),
        (HEAD + b"spec: {1: a}\n", "key is not a string"),
        (HEAD + b"spec: .nan\n", "not a number"),
        (HEAD + b"spec: !!binary aGk=\n", "not JSON"),
        (HEAD + b"spec: !!python/name:os.system\n", "could not determine a constructor"),
        (HEAD + b"spec: &a [*a, *a]\n", "too large"),
        (
            HEAD
            + b"".join(
                b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10 if n else [b"1"]))
                for n in range(9)
            ),
            "too large",
        ),
        (b"\xff\xfe\xfa", "not YAML"),
        (b"[" * 800, "not YAML"),
    ],
)
def test_bad_documents_name_their_file(content: bytes, complaint: str) -> None:
    with pytest.raises(InvalidError, match=complaint) as caught:
        objects({"apps/a/bad.yaml": content})
    assert "apps/a/bad.yaml" in caught.value.message


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_objects_or_a_clear_error(content: bytes) -> None:
    complaint = ""
    try:
        json.dumps(objects({"a.yaml": content}), allow_nan=False)
    except InvalidError as exc:
        complaint = exc.message
    assert not complaint or "a.yaml" in complaint
