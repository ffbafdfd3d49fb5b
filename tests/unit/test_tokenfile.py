"""A file of static tokens: read as Kubernetes reads it, refused by line and without its secrets."""

from pathlib import Path

import pytest

from towpath.auth import Identity, tokens_in
from towpath.errors import InvalidError


def test_lines_become_callers(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text(
        '# who may call\n\nt1,ada,7,"registry-admins, staff"\n t2 , bob , 8\n"t,3",eve,,one\n'
    )
    assert tokens_in(path) == [
        ("t1", Identity("ada", frozenset({"registry-admins", "staff"}), "7")),
        ("t2", Identity("bob", frozenset(), "8")),
        ("t,3", Identity("eve", frozenset({"one"}))),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hunter2,ada", "line 1 .* has 2 fields"),
        ("# x\nhunter2,ada,1,a,b", "line 2 .* has 5 fields"),
        (",ada,1", "has no token"),
        ("hunter2,,1", "has no user"),
        ('hunter2,ada,1,"a', "is not CSV"),
        ("hunter2,ada,1\nhunter2,bob,2", "line 2 .* stands above already"),
        ("hunter2 x,ada,1", "no header can carry"),
        ("hunter2é,ada,1", "no header can carry"),
        ("hunter2,system:admin,1", "begins with system:"),
        ("", "holds no token"),
        ("# none", "holds no token"),
    ],
)
def test_a_wrong_line_is_named_and_not_quoted(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text(text)
    with pytest.raises(InvalidError, match=says) as caught:
        tokens_in(path)
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"


def test_what_is_no_file_of_tokens(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="cannot be read"):
        tokens_in(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidError, match="no UTF-8"):
        tokens_in(tmp_path / "bytes")
    (tmp_path / "large").write_text("x,y,z\n" * 300_000)
    with pytest.raises(InvalidError, match="larger than"):
        tokens_in(tmp_path / "large")
