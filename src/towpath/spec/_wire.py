"""The only place where ``Any`` has a name: JSON as it came off a wire."""

from typing import Any, TypeAlias

Json: TypeAlias = Any
JsonObject: TypeAlias = dict[str, Any]

__all__ = ["Json", "JsonObject"]
