"""URIs, image references and file paths: what is accepted, and what is never shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath import blob
from towpath.blob import reference, uri
from towpath.blob.path import relative
from towpath.errors import InvalidError
from towpath.spec.names import Digest

SHA = "sha256:" + "ab" * 32

plain = st.text(
    st.characters(min_codepoint=0x20, blacklist_characters="\x7f", blacklist_categories=["Cs"]),
    min_size=1,
    max_size=60,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.onnx", ("file", "", "model.onnx")),
        ("/a/b c/m.onnx", ("file", "", "/a/b c/m.onnx")),
        ("~/m.onnx", ("file", "", "~/m.onnx")),
        ("C:model", ("file", "", "C:model")),
        ("file:///a/b%20c", ("file", "", "/a/b c")),
        ("file:/a/b", ("file", "", "/a/b")),
        ("file://localhost/a", ("file", "", "/a")),
        ("HTTP://Host:1/a%20b", ("http", "Host:1", "/a%20b")),
        ("memory://store/a%20b", ("memory", "store", "/a b")),
        ("oci://h:5/team/x@" + SHA, ("oci", "h:5", "/team/x@" + SHA)),
    ],
)
def test_parse(text: str, expected: tuple[str, str, str]) -> None:
    found = uri.parse(text)

    assert expected == (found.scheme, found.authority, found.path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\nb",
        "file://other/a",
        "file:relative",
        "file:///a?b",
        "file:///a#b",
        "http://h:port/",
        "http://[::1",
        "file:///a%00",
        "x" * 9000,
    ],
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(InvalidError):
        uri.parse(text)


def test_no_secret_is_shown() -> None:
    found = uri.parse("https://user:hunter2@host/m.onnx?X-Amz-Signature=hunter3")

    assert "hunter" not in f"{found} {found!r} {[found]}"
    assert str(found) == "https://host/m.onnx?X-Amz-Signature=REDACTED"
    assert "hunter2" in found.with_secrets()
    assert "hunter3" in found.with_secrets()


@given(plain)
def test_plain_path_is_taken_as_it_is(text: str) -> None:
    found = uri.parse("./" + text)

    assert "./" + text == found.path
    assert found == uri.parse(str(found))


@given(plain)
def test_absolute_path_survives_its_uri(text: str) -> None:
    found = uri.parse("/" + text)

    assert str(found)[:8] == "file:///"
    assert found == uri.parse(str(found))


@given(st.text(max_size=40))
def test_parse_never_fails_otherwise(text: str) -> None:
    try:
        found = uri.parse(text)
    except InvalidError:
        return
    assert str(found)


def test_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(InvalidError) as caught:
        blob.reader("ftp://user:hunter2@host/file")

    assert "ftp" in caught.value.message
    assert "hunter2" not in caught.value.message
    assert "file, http, https, oci" in caught.value.hint
    with pytest.raises(InvalidError):
        blob.writer("https://host/file")


label = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
references = st.builds(
    reference.Reference,
    st.sampled_from(
        ["localhost", "127.0.0.1:5000", "reg.example.com", "localhost:1", "[::1]:5000"]
    ),
    st.lists(label, min_size=1, max_size=3).map("/".join),
    st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}", fullmatch=True),
    st.sampled_from([None, Digest(SHA)]),
)


@given(references, st.sampled_from(["", "oci://", "docker://"]))
def test_reference_survives_its_text(ref: reference.Reference, prefix: str) -> None:
    assert ref == reference.parse(prefix + str(ref))


def test_reference_by_digest() -> None:
    ref = reference.parse(f"127.0.0.1:5000/team/fraud@{SHA}")

    assert reference.Reference("127.0.0.1:5000", "team/fraud", "", Digest(SHA)) == ref
    assert ref.target == SHA
    assert f"127.0.0.1:5000/team/fraud@{SHA}" == ref.at(Digest(SHA))
    assert reference.parse("localhost/x").target == "latest"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fraud",
        "team/fraud:1",
        "localhost/",
        "localhost/UPPER",
        "localhost/x:",
        "localhost/x:-a",
        "localhost/x@sha256:1",
        "localhost/x@",
        "localhost/a//b",
        "host:5000/../x",
        "user:hunter2@host/x",
        "oci://user:hunter2@host/x",
        "localhost/" + "a/" * 130 + "a",
    ],
)
def test_reference_refuses(text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        reference.parse(text)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("text", ["a", "a/b.c", ".git/x", "…/ü", "..a", "a.."])
def test_relative(text: str) -> None:
    assert text == relative(text)


@pytest.mark.parametrize(
    "text", ["", "/a", "a//b", "a/", "./a", "a/../b", "..", "a\nb", "a\0", "\ud800", "a" * 5000]
)
def test_relative_refuses(text: str) -> None:
    with pytest.raises(InvalidError):
        relative(text)
