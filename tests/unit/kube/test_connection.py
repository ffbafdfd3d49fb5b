"""Kubeconfigs: what is read from them, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from towpath.errors import DeniedError, InvalidError, NotFoundError
from towpath.kube import Client, from_kubeconfig, in_cluster
from towpath.spec.kube import NAMESPACE

pytestmark = pytest.mark.anyio


def kubeconfig(folder: Path, cluster: Any = None, user: Any = None, **more: Any) -> Path:
    """A kubeconfig with two contexts, ``one`` (current) and ``two``."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [
            {"name": "one", "cluster": {"server": "https://127.0.0.1:1", **(cluster or {})}},
            {"name": "two", "cluster": {"server": "https://127.0.0.1:2"}},
        ],
        "users": [{"name": "me", "user": user if user is not None else {"token": "t"}}],
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": "me"}} for name in ("one", "two")
        ],
        **more,
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


def test_the_current_context_or_the_one_that_is_named(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path)

    assert from_kubeconfig(path).config.cluster.server == "https://127.0.0.1:1"
    assert from_kubeconfig(path, "two").config.cluster.server == "https://127.0.0.1:2"


def test_a_proxy_is_used(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, {"proxy-url": "http://127.0.0.1:3128"})

    assert from_kubeconfig(path).proxy == "http://127.0.0.1:3128"
    assert from_kubeconfig(path, "two").proxy is None


def test_a_certificate_goes_unchecked_only_where_the_file_says_so(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, {"insecure-skip-tls-verify": True})

    assert from_kubeconfig(path).config.cluster.insecure
    assert not from_kubeconfig(path, "two").config.cluster.insecure


def test_a_token_file_lies_beside_the_kubeconfig(tmp_path: Path) -> None:
    user = from_kubeconfig(kubeconfig(tmp_path, user={"tokenFile": "here/token"})).config.user

    assert user is not None
    assert user.token_file == str(tmp_path / "here/token")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "expected"),
        ("[]", "not a kubeconfig"),
        ("clusters: []\ncontexts: []\n", "No current context"),
        ("clusters: []\ncontexts: []\ncurrent-context: x\n", "'x' not found"),
        ("clusters: [{name: a}]\ncontexts: []\n", "'cluster' is missing"),
    ],
)
def test_what_is_no_kubeconfig(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    with pytest.raises(InvalidError, match=words):
        from_kubeconfig(path)


def test_what_is_not_supported_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="tls-server-name"):
        from_kubeconfig(kubeconfig(tmp_path, {"tls-server-name": "api.example.org"}))
    with pytest.raises(InvalidError, match="auth-provider"):
        Client(kubeconfig(tmp_path, user={"auth-provider": {"name": "gcp"}}))
    with pytest.raises(InvalidError, match="no server"):
        from_kubeconfig(kubeconfig(tmp_path, {"server": ""}))


def test_what_the_file_names_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        from_kubeconfig(tmp_path / "absent")
    with pytest.raises(InvalidError, match="cannot be used"):
        Client(kubeconfig(tmp_path, {"certificate-authority": "absent.crt"}))
    with pytest.raises(InvalidError, match="cannot be used"):
        Client(kubeconfig(tmp_path, {"proxy-url": "gopher://127.0.0.1"}))


def test_a_pod_knows_its_cluster(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        in_cluster("10.0.0.1", 443, tmp_path)
    (tmp_path / "token").write_text("secret")
    (tmp_path / "namespace").write_text("models\n")
    found = in_cluster("fd00::1", 443, tmp_path).config

    assert found.cluster.server == "https://[fd00::1]:443"
    assert found.namespace == "models"
    assert found.user is not None
    assert found.user.token_file == str(tmp_path / "token")


async def test_a_plugin_is_asked_in_its_own_version(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = tmp_path / "plugin"
    script.write_text(
        f'#!/bin/sh\nprintf %s "$KUBERNETES_EXEC_INFO" > {seen}\necho denied >&2\nexit 1\n'
    )
    script.chmod(0o700)
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(script)}
    async with Client(kubeconfig(tmp_path, user={"exec": plugin})) as client:
        with pytest.raises(DeniedError, match="denied"):
            await client.get(NAMESPACE, "default")

    asked = json.loads(seen.read_text())
    assert asked["apiVersion"] == "client.authentication.k8s.io/v1"
    assert asked["kind"] == "ExecCredential"


async def test_a_plugin_that_is_not_there(tmp_path: Path) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "/absent/plugin"}
    async with Client(kubeconfig(tmp_path, user={"exec": plugin})) as client:
        with pytest.raises(DeniedError, match="/absent/plugin"):
            await client.get(NAMESPACE, "default")
