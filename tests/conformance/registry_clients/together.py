"""The official client of one generation, where the other one has been; either generation.

`python together.py PORT MINE THEIRS`: registers models of one name and looks for those of the
other, if they are there.
"""

import functools
import ssl
import sys
import warnings
from typing import Any

from model_registry import ModelRegistry

ssl.create_default_context = functools.cache(ssl.create_default_context)
warnings.simplefilter("ignore")
registry = ModelRegistry("http://127.0.0.1", int(sys.argv[1]), author="me", is_secure=False)
MINE, THEIRS = sys.argv[2:]
METADATA = {"i": 1, "d": 1.5, "s": "x", "b": True}


def register(name: str, version: str) -> Any:
    return registry.register_model(
        name,
        "s3://b/k",
        version=version,
        model_format_name="onnx",
        model_format_version="1",
        metadata=METADATA,
    )


mine = register(MINE, "1")
register("ours", MINE)
names = [one.name for one in registry.get_registered_models().page_size(1)]
if THEIRS in names:
    assert names == [THEIRS, "ours", MINE]
    model = registry.get_registered_model(THEIRS)
    version = registry.get_model_version(THEIRS, "1")
    assert version.custom_properties == METADATA
    assert registry.get_model_artifact(THEIRS, "1").uri == "s3://b/k"
    version.description = "of the other generation"
    assert registry.update(version).custom_properties == METADATA
    assert [one.name for one in registry.get_model_versions("ours")] == [THEIRS, MINE]
else:
    assert names == [MINE, "ours"]
sys.stdout.write("done\n")
