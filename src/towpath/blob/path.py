"""Paths of files inside a model: relative, POSIX, never out of the folder they are joined to."""

from towpath.errors import InvalidError

__all__ = ["relative"]

_LONGEST = 4096


def relative(text: str) -> str:
    """Check and return a file's path inside a model, so that joining it to a folder is safe.

    Raises:
        InvalidError: it is empty, absolute, too long, has an empty, ``.`` or ``..`` part, a control
            character, or is not Unicode.
    """
    parts = text.split("/")
    problem = ""
    if not text or any(part in ("", ".", "..") for part in parts):
        problem = "it must be relative, without empty, '.' or '..' parts"
    elif len(text) > _LONGEST:
        problem = f"it is longer than {_LONGEST} characters"
    elif any(ord(c) < 0x20 or ord(c) == 0x7F for c in text):
        problem = "it has a control character"
    elif any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        problem = "it is not UTF-8"
    if problem:
        raise InvalidError(f"file path {text[:200]!r} is not legal: {problem}")
    return text
