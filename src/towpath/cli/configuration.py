"""Settings from outside: the environment over the home's file over the defaults."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from towpath.errors import InvalidError
from towpath.settings import Settings

__all__ = ["FILE", "configured", "origins"]

FILE: Final = "settings.toml"
PREFIX: Final = "TOWPATH_"


def configured(home: Path) -> Settings:
    """The settings of a platform, or of a command that talks to it.

    Args:
        home: Its folder; ``settings.toml`` in it has a table for each slice.

    Raises:
        InvalidError: a setting is not known, or its value not legal.
    """
    settings = Settings().merged(_from_file(home), str(home / FILE))
    return settings.merged(_from_environment(), "environment")


def origins(home: Path) -> dict[str, str]:
    """Where each setting that is no default comes from, by ``slice.field``."""
    found: dict[str, str] = {}
    for source, values in ((FILE, _from_file(home)), ("environment", _from_environment())):
        found |= {f"{name}.{knob}": source for name, knobs in values.items() for knob in knobs}
    return found


def _from_file(home: Path) -> Mapping[str, Any]:
    path = home / FILE
    try:
        return tomllib.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise InvalidError(f"{path} cannot be read: {exc}") from exc


def _from_environment() -> dict[str, dict[str, str]]:
    """``TOWPATH_EDGE_DRAIN_SECONDS=5``; other names with the prefix are not ours to judge."""
    found: dict[str, dict[str, str]] = {}
    for top in fields(Settings):
        for knob in fields(getattr(Settings(), top.name)):
            name = f"{PREFIX}{top.name}_{knob.name}".upper()
            if name in os.environ:
                found.setdefault(top.name, {})[knob.name] = os.environ[name]
    return found
