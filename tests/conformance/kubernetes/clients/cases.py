"""Runs the cases of a script for an outside client: every function called ``case_…``.

The script is run by the interpreter that has the client. Each case gets a namespace and an API
group of its own; what went wrong is printed as one JSON object, a traceback for each failed case.
"""

import base64
import json
import secrets
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from kubernetes import client, config, dynamic
from kubernetes.client.exceptions import ApiException


def needs_controllers(case: Callable[..., None]) -> Callable[..., None]:
    """A case that needs the controllers of a whole cluster; read from the text by the suite."""
    return case


class World:
    """What a case works with: the client's APIs, a namespace and a group of its own."""

    def __init__(self, name: str) -> None:
        self.client = client.ApiClient()
        self.core = client.CoreV1Api(self.client)
        self.apps = client.AppsV1Api(self.client)
        self.rbac = client.RbacAuthorizationV1Api(self.client)
        self.leases = client.CoordinationV1Api(self.client)
        self.custom = client.CustomObjectsApi(self.client)
        self.extensions = client.ApiextensionsV1Api(self.client)
        self.authentication = client.AuthenticationV1Api(self.client)
        self.authorization = client.AuthorizationV1Api(self.client)
        self.namespace = f"p-{name.replace('_', '-')[:40].rstrip('-')}-{secrets.token_hex(3)}"
        self.group = f"t{secrets.token_hex(4)}.example.com"
        self._dynamic: dynamic.DynamicClient | None = None

    @property
    def dynamic(self) -> dynamic.DynamicClient:
        if self._dynamic is None:
            self._dynamic = dynamic.DynamicClient(self.client)
        return self._dynamic

    def __enter__(self) -> "World":
        self.core.create_namespace({"metadata": {"name": self.namespace}})
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.extensions.list_custom_resource_definition().items:
            if one.spec.group == self.group:
                self.extensions.delete_custom_resource_definition(one.metadata.name)
        self.core.delete_namespace(self.namespace)

    def define(self, schema: Any = None, **version: Any) -> None:
        """A namespaced kind Thing, served when this returns."""
        schema = schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        name = f"things.{self.group}"
        spec = {
            "group": self.group,
            "names": {"plural": "things", "singular": "thing", "kind": "Thing"},
            "scope": "Namespaced",
            "versions": [
                {"name": "v1", "served": True, "storage": True, **version,
                 "schema": {"openAPIV3Schema": schema}}
            ],
        }  # fmt: skip
        self.extensions.create_custom_resource_definition(
            {"metadata": {"name": name}, "spec": spec}
        )

        def established() -> bool:
            status = self.extensions.read_custom_resource_definition(name).status
            conditions = {c.type: c.status for c in (status and status.conditions) or ()}
            return conditions.get("Established") == "True"

        until(established)
        until(lambda: no_error(self.custom.list_cluster_custom_object, self.group, "v1", "things"))

    def things(self) -> Any:
        """The dynamic client's resource of the kind Thing."""
        return self.dynamic.resources.get(api_version=f"{self.group}/v1", kind="Thing")

    def thing(self, name: str, **more: Any) -> dict[str, Any]:
        """An object of the kind Thing."""
        metadata = {"name": name, "namespace": self.namespace, **more.pop("metadata", {})}
        kind = {"apiVersion": f"{self.group}/v1", "kind": "Thing"}
        return {**kind, "metadata": metadata, **more}


def until(holds: Callable[[], Any], seconds: float = 20) -> Any:
    """What ``holds`` gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
    return found


def no_error(call: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a call succeeds."""
    try:
        call(*arguments)
    except ApiException:
        return False
    return True


class Refusal:
    """What a refused call was told."""

    status: dict[str, Any]
    code: int


@contextmanager
def refused(code: int, reason: str, message: str = "") -> Any:
    """Assert that the block is refused, with a Status of that reason and part of a message."""
    refusal = Refusal()
    try:
        yield refusal
    except ApiException as error:
        refusal.code, refusal.status = error.status, json.loads(error.body)
    else:
        raise AssertionError(f"nothing was refused with {code} {reason}")
    status = refusal.status
    assert (refusal.code, status["reason"]) == (code, reason), status
    assert status["kind"] == "Status", status
    assert message in status["message"], status


def claims(token: str) -> dict[str, Any]:
    """What a JWT says, unverified."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def main(module: dict[str, Any]) -> None:
    """Run every case of a script that is named on the command line, or all."""
    config.load_kube_config()
    told: dict[str, str] = {}
    wanted = sys.argv[1:]
    for name, case in module.items():
        if not name.startswith("case_") or (wanted and name not in wanted):
            continue
        try:
            with World(name.removeprefix("case_")) as world:
                case(world)
            told[name] = ""
        except Exception:
            told[name] = traceback.format_exc()[-3000:]
    sys.stdout.write(json.dumps(told))
