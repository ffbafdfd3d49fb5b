"""Log lines and redaction."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.telemetry import KeyValueFormatter, fields, redact


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@host/path?X-Amz-Signature=abc", "https://host/path?X-Amz-Signature=REDACTED"),
        ("https://host/v2/?digest=sha256:1", "https://host/v2/?digest=sha256:1"),
        ("http://host:80/a#fragment", "http://host:80/a"),
        ("http://[bad", "(not a URL)"),
        ("plain/path", "plain/path"),
    ],
)
def test_a_url_is_shown_without_secrets(url: str, shown: str) -> None:
    assert redact(url) == shown


@given(st.text(alphabet="abcdef0123456789", min_size=8))
def test_a_secret_never_shows(secret: str) -> None:
    assert secret not in redact(f"https://user:{secret}@h/x?token={secret}&sig={secret}")


def test_fields_follow_the_message() -> None:
    record = logging.LogRecord("towpath.x", logging.INFO, "", 0, "moved bytes", (), None)
    record.__dict__.update(fields(uri="s3://b/k", why='say "no"\nnow', count=3))

    line = KeyValueFormatter().format(record)

    assert line.endswith('INFO towpath.x moved bytes uri=s3://b/k why="say \\"no\\"\\nnow" count=3')
