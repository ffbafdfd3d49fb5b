"""The official Python client, both generations, against our model registry."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from towpath.testing import running_registry

SCRIPTS = Path(__file__).parent / "registry_clients"

NEWEST = "model-registry>=0.3.18"
OLDER = "model-registry==0.3.14"
"""The newest client that speaks v1alpha3; the others speak v1."""

pytestmark = pytest.mark.timeout(1080)  # the first time, the client is installed


@pytest.fixture
def run(client_venv: Callable[..., Path], tmp_path: Path) -> Callable[..., None]:
    """Runs a script for a client in its environment, and wants it to come to its end."""

    def call(requirement: str, script: str, *arguments: str) -> None:
        python = client_venv(requirement.replace("=", "").replace(">", "-from-"), requirement)
        ran = subprocess.run(
            [str(python), str(SCRIPTS / f"{script}.py"), *arguments],
            capture_output=True,
            text=True,
            timeout=240,
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(tmp_path)},
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-5000:]
        assert ran.stdout.splitlines()[-1] == "done"

    return call


def port(address: str) -> str:
    return str(urlsplit(address).port)


@pytest.mark.parametrize("requirement", [NEWEST, pytest.param(OLDER, marks=pytest.mark.long)])
def test_models(
    requirement: str, registry_url: str, run: Callable[..., None], tmp_path: Path
) -> None:
    with running_registry(tmp_path, "--db", registry_url) as running:
        run(requirement, "models", port(running.url))


def test_experiments(registry_url: str, run: Callable[..., None], tmp_path: Path) -> None:
    with running_registry(tmp_path, "--db", registry_url) as running:
        run(OLDER, "experiments", port(running.url))


@pytest.mark.parametrize("requirement", [NEWEST, OLDER])
def test_every_call_of_the_generated_client(
    requirement: str, registry_url: str, run: Callable[..., None], tmp_path: Path
) -> None:
    with running_registry(tmp_path, "--db", registry_url) as running:
        run(requirement, "generated", port(running.url))


@pytest.mark.long
def test_both_generations_at_once(sqlite: str, run: Callable[..., None], tmp_path: Path) -> None:
    """What one generation wrote, the other reads."""
    with running_registry(tmp_path, "--db", sqlite) as running:
        run(OLDER, "together", port(running.url), "first", "second")
        run(NEWEST, "together", port(running.url), "second", "first")


@pytest.mark.parametrize("requirement", [NEWEST, pytest.param(OLDER, marks=pytest.mark.long)])
def test_tokens(
    requirement: str,
    run: Callable[..., None],
    tmp_path: Path,
) -> None:
    tokens, key, authority = tmp_path / "tokens", tmp_path / "key.pem", tmp_path / "ca.pem"
    tokens.write_text('reading,ann,1,"people"\nwriting,bob,2,"people,scientists"\n')
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    new += [
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=registry",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run([*new, "-keyout", key, "-out", authority], check=True, capture_output=True)
    options = ["--tokens", tokens, "--reader", "people", "--writer", "scientists"]
    options += ["--tls-cert", authority, "--tls-key", key]
    with running_registry(tmp_path, *map(str, options)) as running:
        assert running.url.startswith("https://")
        run(requirement, "doors", running.url, str(authority))
