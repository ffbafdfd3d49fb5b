"""The official client before a registry that wants tokens; either generation.

`python doors.py ADDRESS AUTHORITY`, run by the interpreter that has the client, where the tokens
``reading`` and ``writing`` are known and the certificate is signed by the authority in that file.
"""

import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from model_registry import ModelRegistry
from model_registry.exceptions import StoreError
from mr_openapi.exceptions import ForbiddenException, UnauthorizedException

warnings.simplefilter("ignore")
HOST, _, PORT = sys.argv[1].rpartition(":")


def connected(**more: Any) -> ModelRegistry:
    options = {"author": "me", "is_secure": True, "custom_ca": sys.argv[2], **more}
    return ModelRegistry(HOST, int(PORT), **options)


def register(registry: ModelRegistry, name: str) -> Any:
    return registry.register_model(
        name, "s3://b/k", version="1", model_format_name="onnx", model_format_version="1"
    )


def failure(call: Any, *args: Any, **more: Any) -> Exception | None:
    try:
        call(*args, **more)
    except Exception as error:
        return error
    return None


assert isinstance(failure(connected), StoreError)
for wrong in ("nonsense", "reading2", "é", "x" * 5000):
    told = failure(connected, user_token=wrong)
    assert isinstance(told, UnauthorizedException), (wrong[:20], told)
    assert told.status == 401
    assert "Unauthorized" in str(told.body)

reader = connected(user_token="reading")
assert list(reader.get_registered_models()) == []
told = failure(register, reader, "m")
assert isinstance(told, ForbiddenException), told
assert told.status == 403
assert "Forbidden" in str(told.body)

writer = connected(user_token="writing")
made = register(writer, "m")
assert reader.get_registered_model("m") == made
made.description = "changed"
assert isinstance(failure(reader.update, made), ForbiddenException)
assert reader.get_registered_model("m").description is None
assert writer.update(made).description == "changed"

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "token"
    file.write_text("writing")
    os.environ["KF_PIPELINES_SA_TOKEN_PATH"] = str(file)
    register(connected(), "from a file")
    os.environ["MY_TOKEN"] = str(file)
    register(connected(user_token_envvar="MY_TOKEN"), "from a file that is named")
names = [one.name for one in reader.get_registered_models()]
assert names == ["m", "from a file", "from a file that is named"]
sys.stdout.write("done\n")
