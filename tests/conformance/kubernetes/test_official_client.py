"""The official Python client, its typed and its dynamic half, in an environment of its own."""

import ast
import json
import subprocess
from pathlib import Path

import pytest
from tests.conformance.kubernetes.conftest import CLIENTS

SCRIPTS = ("official_typed", "official_dynamic")


def cases() -> list[object]:
    """Each case of the scripts; they are read, not imported, for we have not that client."""
    found = []
    for script in SCRIPTS:
        for node in ast.parse((CLIENTS / f"{script}.py").read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("case_"):
                marks = [
                    getattr(pytest.mark, d.id)
                    for d in node.decorator_list
                    if isinstance(d, ast.Name)
                ]
                name = node.name.removeprefix("case_")
                found.append(pytest.param(script, node.name, id=f"{script}-{name}", marks=marks))
    return found


@pytest.mark.timeout(1080)  # the first time, the client is installed
@pytest.mark.parametrize(("script", "case"), cases())
def test_a_case(
    script: str,
    case: str,
    clients: Path,
    environment: dict[str, str],
    request: pytest.FixtureRequest,
) -> None:
    told = _told(script, clients, environment, request)
    assert told[case] == "", told[case]


def _told(
    script: str, clients: Path, environment: dict[str, str], request: pytest.FixtureRequest
) -> dict[str, str]:
    """What went wrong in each case; all wanted cases of a script run in one process."""
    known: dict[str, dict[str, str]] = request.config.stash.setdefault(_KNOWN, {})
    if script not in known:
        wanted = [
            item.callspec.params["case"]
            for item in request.session.items
            if isinstance(item, pytest.Function)
            and item.originalname == "test_a_case"
            and item.callspec.params["script"] == script
        ]
        ran = subprocess.run(
            [str(clients), str(CLIENTS / f"{script}.py"), *wanted],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
        known[script] = json.loads(ran.stdout)
    return known[script]


_KNOWN = pytest.StashKey[dict[str, dict[str, str]]]()
